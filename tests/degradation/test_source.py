"""Source fidelity (eq. 3): what is pasted, where, and that m_t knows nothing of b_k."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from novakit.degradation import SHAPE_KINDS, CutAndPasteConfig, anchored_control, cut_and_paste
from novakit.errors import NovaError

ALWAYS = CutAndPasteConfig(empty_prob=0.0)
PLAIN = CutAndPasteConfig(empty_prob=0.0, hue_jitter=0.0, gain_jitter=0.0)


def assert_only_the_mask_changed(result, target):
    """The fact of eq. 3: outside m_t the pseudo source is the target, inside it is not."""
    outside = (result.mask == 0).expand_as(target)
    assert torch.equal(result.pseudo_source[outside], target[outside])
    assert (result.pseudo_source != target)[~outside].float().mean() > 0.9


def test_outside_the_mask_the_pseudo_source_is_the_target(target, irrelevant, generator):
    untouched = target.clone()
    result = cut_and_paste(target, irrelevant, generator, ALWAYS)
    assert set(result.mask.unique().tolist()) == {0.0, 1.0}
    assert result.mask.shape == (3, 1, 9, 32, 48)
    assert_only_the_mask_changed(result, target)
    assert torch.equal(target, untouched)


def test_swapped_masks_are_caught(target, irrelevant, generator):
    result = cut_and_paste(target, irrelevant, generator, ALWAYS)
    with pytest.raises(AssertionError):
        assert_only_the_mask_changed(replace(result, mask=1 - result.mask), target)


@pytest.mark.parametrize("kind", SHAPE_KINDS)
def test_inside_the_mask_lies_the_irrelevant_clip(kind, target, generator):
    colour = torch.tensor([0.9, -0.7, 0.3]).view(1, 3, 1, 1, 1)
    result = cut_and_paste(target, colour.expand_as(target), generator, replace(PLAIN, kinds=(kind,)))
    mask = result.mask
    expected = mask * colour + (1 - mask) * target
    torch.testing.assert_close(result.pseudo_source, expected, atol=1e-5, rtol=0)
    assert 0.01 < mask.mean() < 0.6


def naive_sample(frame: Tensor, x: float, y: float) -> Tensor:
    """Bilinear sample of (3, H, W) at pixel coordinates whose first pixel's centre is 0.5."""
    x, y = x - 0.5, y - 0.5
    left, top = math.floor(x), math.floor(y)
    right_share, low_share = x - left, y - top
    upper = frame[:, top, left] * (1 - right_share) + frame[:, top, left + 1] * right_share
    lower = frame[:, top + 1, left] * (1 - right_share) + frame[:, top + 1, left + 1] * right_share
    return upper * (1 - low_share) + lower * low_share


def test_a_naive_loop_over_pixels_pastes_the_same(target, irrelevant, generator):
    config = replace(ALWAYS, kinds=("ellipse",), elongation=(1.0, 1.0), area=(0.03, 0.06), patches=(1, 1))
    result = cut_and_paste(target, irrelevant, generator, config)
    wrong_mask, compared = 0, 0
    for clip in range(3):
        radius = math.sqrt(result.area[clip, 0].item() * 32 * 48 / math.pi)
        anchor_x, anchor_y = result.anchor[clip, 0].tolist()
        for t in range(9):
            (x0, y0), scale = result.path[clip, 0, t].tolist(), result.scale[clip, 0, t].item()
            cosine, sine = math.cos(result.angle[clip, 0, t]), math.sin(result.angle[clip, 0, t])
            for row in range(32):
                for column in range(48):
                    dx, dy = (column + 0.5 - x0) / scale, (row + 0.5 - y0) / scale
                    inside = math.hypot(dx, dy) <= radius
                    pasted = bool(result.mask[clip, 0, t, row, column])
                    wrong_mask += inside != pasted
                    x, y = anchor_x + cosine * dx + sine * dy, anchor_y + cosine * dy - sine * dx
                    if inside and pasted and 1 < x < 47 and 1 < y < 31:
                        colour = naive_sample(irrelevant[clip, :, t], x, y)
                        colour = (result.colours[clip, 0] @ colour).clamp(-1, 1)
                        difference = result.pseudo_source[clip, :, t, row, column] - colour
                        assert difference.abs().max() < 1e-3
                        compared += 1
    assert compared > 1000
    assert wrong_mask <= 0.06 * compared  # pixels that the outline runs through


def test_the_patch_moves_smoothly(target, irrelevant, generator):
    result = cut_and_paste(target, irrelevant, generator, ALWAYS)
    speed = result.path.diff(dim=2)
    assert speed.abs().amax() > 0.5  # pixels per frame
    assert speed.diff(dim=2).abs().amax() < 0.75 * speed.abs().amax()
    assert (result.scale - 1).abs().max() <= ALWAYS.zoom + 1e-6
    assert result.scale.diff(dim=2).abs().max() < 0.2


def test_masks_are_independent_of_the_keyframe_regions():
    """Over many clips the chance of m_t is the same inside b_k and outside."""
    target = torch.zeros(256, 3, 2, 24, 24)
    generator = torch.Generator().manual_seed(0)
    mask = cut_and_paste(target, target + 0.5, generator).mask
    regions = anchored_control(target, [0, 1], generator).regions
    centred = torch.stack([part - part.mean((0, 2), keepdim=True) for part in (mask, regions)])
    assert abs(torch.corrcoef(centred.flatten(1))[0, 1]) < 0.05
    shares = [(a * b).mean().item() for a in (mask, 1 - mask) for b in (regions, 1 - regions)]
    assert min(shares) > 0.01  # all four cases occur


def test_no_patch_at_all(target, irrelevant, generator):
    result = cut_and_paste(target, irrelevant, generator, CutAndPasteConfig(empty_prob=1.0))
    assert torch.equal(result.pseudo_source, target)
    assert result.mask.sum() == 0 and not result.active.any()


def test_number_of_patches(target, irrelevant):
    clips, others = target.repeat(20, 1, 1, 1, 1), irrelevant.repeat(20, 1, 1, 1, 1)
    result = cut_and_paste(clips, others, torch.Generator().manual_seed(0), ALWAYS)
    assert set(result.active.sum(1).tolist()) == {1, 2, 3}
    assert len(result.kinds) == 60 and all(len(kinds) == 3 for kinds in result.kinds)


def test_feather_softens_the_edge_inwards_only(target, irrelevant):
    hard, soft = (
        cut_and_paste(target, irrelevant, torch.Generator().manual_seed(2), replace(ALWAYS, feather=width))
        for width in (0.0, 3.0)
    )
    assert torch.equal(hard.mask, soft.mask)
    outside = (soft.mask == 0).expand_as(target)
    assert torch.equal(soft.pseudo_source[outside], target[outside])
    assert (soft.pseudo_source - target).abs().mean() < (hard.pseudo_source - target).abs().mean()


def test_recoloured_patches_keep_the_targets_structure(target, irrelevant, generator):
    result = cut_and_paste(target, irrelevant, generator, replace(PLAIN, recolour_prob=1.0))
    assert result.recoloured.all()
    assert_only_the_mask_changed(result, target)
    one = replace(PLAIN, recolour_prob=1.0, patches=(1, 1))
    result = cut_and_paste(0.5 * target, irrelevant, generator, one)
    grey, expected = result.pseudo_source.mean(1), 0.5 * target.mean(1)
    torch.testing.assert_close(grey, expected, atol=1e-5, rtol=0)  # a hue turn keeps the mean of R, G and B


def test_same_seed_same_result_and_global_random_state_is_untouched(target, irrelevant):
    before = torch.get_rng_state()
    runs = [cut_and_paste(target, irrelevant, torch.Generator().manual_seed(seed), ALWAYS) for seed in (3, 3, 4)]
    assert torch.equal(runs[0].pseudo_source, runs[1].pseudo_source) and runs[0].kinds == runs[1].kinds
    assert not torch.equal(runs[0].mask, runs[2].mask)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_precisions_keep_their_type(target, irrelevant, generator, dtype):
    result = cut_and_paste(target.to(dtype), irrelevant.to(dtype), generator, replace(ALWAYS, feather=1.0))
    assert result.pseudo_source.dtype == result.mask.dtype == dtype


def test_bad_input_says_what_to_do(target, irrelevant, generator):
    with pytest.raises(NovaError, match="circle.*box, ellipse, brush, sprite"):
        CutAndPasteConfig(kinds=("circle",))
    with pytest.raises(NovaError, match="patches"):
        CutAndPasteConfig(patches=(0, 2))
    with pytest.raises(NovaError, match=r"irrelevant clip is \(3, 3, 5.*agree"):
        cut_and_paste(target, irrelevant[:, :, :5], generator)
    with pytest.raises(NovaError, match="RGB"):
        cut_and_paste(target, irrelevant[:, :1], generator)
    with pytest.raises(NovaError, match="torch.Generator"):
        cut_and_paste(target, irrelevant, None)


@pytest.mark.gpu
def test_a_cpu_generator_gives_the_same_choices_on_cuda(target, irrelevant):
    runs = [
        cut_and_paste(target.to(device), irrelevant.to(device), torch.Generator().manual_seed(1), ALWAYS)
        for device in ("cpu", "cuda")
    ]
    assert torch.equal(runs[0].path, runs[1].path) and runs[1].pseudo_source.is_cuda
    assert (runs[0].pseudo_source - runs[1].pseudo_source.cpu()).abs().mean() < 1e-3
