"""SR against a known truth: what passes, what fails on which of its conditions, and where there is no answer."""

from dataclasses import replace

import pytest
import torch

from novakit.errors import NovaError
from novakit.evaluation.metrics import edit_success
from novakit.evaluation.metrics.success import MARGIN, region_distance
from novakit.evaluation.scoring import held_out_scenes


@pytest.fixture(scope="module")
def scenes():
    whole = held_out_scenes(list(range(5)))  # one of every kind of edit
    return replace(whole, **{name: getattr(whole, name)[:, :, :9] for name in ("source", "truth", "mask")})


def success(scenes, output, **options):
    return edit_success(output, scenes.source, scenes.mask, scenes.truth, **options).tolist()


def inside(scenes, edited, background=None):
    return torch.where(scenes.mask.bool(), edited, scenes.source if background is None else background)


def test_the_truth_succeeds_and_a_copy_of_the_source_fails(scenes):
    assert success(scenes, scenes.truth) == [1.0] * 5
    assert success(scenes, scenes.source) == [0.0] * 5


def test_grey_and_noise_inside_the_mask_are_no_edit(scenes):
    generator = torch.Generator().manual_seed(0)
    noise = torch.rand(scenes.source.shape, generator=generator) * 2 - 1
    assert sum(success(scenes, inside(scenes, noise))) == 0
    assert sum(success(scenes, inside(scenes, torch.zeros_like(noise)))) <= 1  # a truth may be grey itself


def test_the_edit_must_be_nearer_to_the_truth_by_the_margin(scenes):
    """A mix with share a of the truth is at (1 - a) d from the truth and at a d from the source."""
    edge = 1 / (2 - MARGIN)  # (1 - a) = (1 - MARGIN) a
    for share, expected in ((edge - 0.01, 0.0), (edge + 0.01, 1.0)):
        mixed = scenes.source + share * (scenes.truth - scenes.source)
        assert success(scenes, inside(scenes, mixed)) == [expected] * 5
        assert success(scenes, inside(scenes, mixed), margin=0.0) == [1.0] * 5


def test_the_background_must_be_kept(scenes):
    lost = inside(scenes, scenes.truth, -scenes.source)
    assert success(scenes, lost) == [0.0] * 5
    assert success(scenes, lost, kept=-1.0) == [1.0] * 5


def test_there_is_no_answer_where_nothing_was_to_be_edited(scenes):
    nothing = torch.zeros_like(scenes.mask)
    assert edit_success(scenes.truth, scenes.source, nothing, scenes.truth).isnan().all()
    assert edit_success(scenes.truth, scenes.source, scenes.mask, scenes.source).isnan().all()


def test_a_mask_that_covers_everything_leaves_the_edit_to_judge(scenes):
    everything = torch.ones_like(scenes.mask)
    assert edit_success(scenes.truth, scenes.source, everything, scenes.truth).tolist() == [1.0] * 5
    assert edit_success(scenes.source, scenes.source, everything, scenes.truth).tolist() == [0.0] * 5


def test_distance_of_a_known_difference(scenes):
    off = scenes.truth + 0.25 * scenes.mask
    assert region_distance(off, scenes.truth, scenes.mask).tolist() == pytest.approx([0.25] * 5, abs=1e-5)


def test_a_margin_that_nothing_can_reach_is_refused(scenes):
    with pytest.raises(NovaError, match="margin is 1"):
        success(scenes, scenes.truth, margin=1.0)
