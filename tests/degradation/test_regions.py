"""Random regions: exact masks, areas as asked, drifting or independent, and a naive loop that agrees."""

from __future__ import annotations

import math

import pytest
import torch

from novakit.degradation import SHAPE_KINDS, RegionConfig, random_regions
from novakit.errors import NovaError


def draw(seed: int = 0, **settings):
    config = RegionConfig(**settings)
    return random_regions(6, 4, 40, 60, torch.Generator().manual_seed(seed), config)


@pytest.mark.parametrize("kind", SHAPE_KINDS)
def test_masks_are_exact_and_have_the_area_that_was_drawn(kind):
    regions = draw(kinds=(kind,), area=(0.1, 0.3))
    assert regions.masks.shape == (6, 1, 4, 40, 60)
    assert set(regions.masks.unique().tolist()) == {0.0, 1.0}
    measured = regions.masks.mean((1, 3, 4))
    one_line = 2 * 60 / (40 * 60)  # a box may be a line of pixels larger on both sides
    assert (measured >= regions.areas - 0.001).all()
    assert (measured <= regions.areas + one_line).all()
    assert regions.areas.min() >= 0.1 and regions.areas.max() <= 0.3


def test_drifting_regions_follow_one_object_and_independent_ones_do_not():
    def overlap(masks):
        first, second = masks[:, :, :-1].bool(), masks[:, :, 1:].bool()
        return ((first & second).sum() / (first | second).sum()).item()

    drifting, independent = draw(drift_prob=1.0), draw(drift_prob=0.0)
    assert all(drifting.drifts) and not any(independent.drifts)
    assert all(len(set(kinds)) == 1 for kinds in drifting.kinds)
    assert overlap(drifting.masks) > 0.6 > 0.4 > overlap(independent.masks)
    assert not torch.equal(drifting.masks[:, :, 0], drifting.masks[:, :, 1])


def test_a_naive_loop_over_pixels_draws_the_same_ellipses():
    regions = draw(kinds=("ellipse",), elongation=(1.0, 1.0), area=(0.02, 0.05), drift_prob=0.5)
    wrong = 0
    for clip in range(6):
        for frame in range(4):
            x0, y0 = (regions.centres[clip, frame] * torch.tensor([60.0, 40.0])).tolist()
            if min(x0, y0, 60 - x0, 40 - y0) < 8:
                continue  # cut by the border: the region grows there to keep its area
            radius = math.sqrt(regions.areas[clip, frame].item() * 40 * 60 / math.pi)
            for y in range(40):
                for x in range(60):
                    inside = math.hypot(x + 0.5 - x0, y + 0.5 - y0) <= radius
                    wrong += inside != bool(regions.masks[clip, 0, frame, y, x])
    assert wrong <= 6 * 4 * 3  # pixels that the outline runs through


def test_boxes_are_upright():
    for mask in draw(kinds=("box",)).masks.flatten(0, 2):
        rows, columns = mask.amax(1).bool(), mask.amax(0).bool()
        assert mask.sum() == rows.sum() * columns.sum()


def test_same_seed_same_regions_and_global_random_state_is_untouched():
    before = torch.get_rng_state()
    first, again, other = draw(5), draw(5), draw(6)
    assert torch.equal(first.masks, again.masks) and first.kinds == again.kinds
    assert not torch.equal(first.masks, other.masks)
    assert torch.equal(before, torch.get_rng_state())


def test_bad_settings_say_what_is_known():
    with pytest.raises(NovaError, match="circle.*box, ellipse, brush, sprite"):
        RegionConfig(kinds=("circle",))
    with pytest.raises(NovaError, match="area"):
        RegionConfig(area=(0.5, 0.1))
    with pytest.raises(NovaError, match="probability"):
        RegionConfig(drift_prob=1.5)
    with pytest.raises(NovaError, match="torch.Generator"):
        random_regions(1, 1, 8, 8, None)
    with pytest.raises(NovaError, match="at least 1"):
        random_regions(1, 0, 8, 8, torch.Generator())
