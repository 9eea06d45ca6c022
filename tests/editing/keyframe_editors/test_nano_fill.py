"""Continuing surroundings into a hole: known pixels stay, textures go on, tones meet at the rim."""

import pytest
import torch

from novakit.editing.keyframe_editors.nano_fill import fill, membrane
from novakit.editing.keyframe_editors.nano_places import best_offset, box_of, cut, shifted

WHOLE = (0, 0, 48, 64)


def hole(top, left, bottom, right, size=(48, 64)):
    mask = torch.zeros(1, *size)
    mask[:, top:bottom, left:right] = 1
    return mask


def stripes(size=(48, 64), period=8):
    x = torch.arange(size[1]) % period < period // 2
    return torch.stack([x.float(), 1 - x.float(), x.float() * 0.5])[:, None].expand(3, *size).contiguous() * 1.6 - 0.8


def test_a_membrane_over_a_slope_is_the_slope():
    y, x = torch.meshgrid(torch.arange(48.0), torch.arange(64.0), indexing="ij")
    slope = torch.stack([x / 64, y / 48])
    mask = hole(15, 20, 33, 44)
    stretched = membrane(torch.where(mask.bool(), torch.full_like(slope, 9.0), slope), 1 - mask)
    assert torch.equal(stretched * (1 - mask), slope * (1 - mask))
    assert (stretched - slope).abs().max() < 0.08


def test_a_membrane_of_everything_and_of_nothing():
    values = torch.rand(2, 7, 5)
    assert torch.equal(membrane(values, torch.ones(1, 7, 5)), values)
    assert not membrane(values, torch.zeros(1, 7, 5)).any()


def test_a_pattern_goes_on_through_the_hole():
    pattern, mask = stripes(), hole(16, 20, 30, 41)
    filled = fill(torch.where(mask.bool(), torch.zeros_like(pattern), pattern), mask, WHOLE)
    assert (filled - pattern).abs().mean() < 0.01
    smooth = fill(torch.where(mask.bool(), torch.zeros_like(pattern), pattern), mask, WHOLE, None)
    assert ((smooth - pattern).abs() * mask).sum() / mask.sum() / 3 > 0.2, "without copying there is no pattern"


def test_the_copy_takes_the_tones_of_the_rim():
    """The left half is darker; what is copied from elsewhere must come out as dark as its new surroundings."""
    pattern = stripes() * 0.5
    pattern[:, :, :32] -= 0.3
    mask = hole(16, 8, 30, 22)
    filled = fill(torch.where(mask.bool(), torch.ones_like(pattern), pattern), mask, WHOLE)
    assert (filled - pattern).abs().mean() < 0.02


def test_nothing_is_copied_from_the_hole_itself():
    frame, mask = torch.rand(3, 48, 64), hole(10, 10, 30, 30)
    for choice in range(4):
        down, right = best_offset(frame, mask, box_of(mask), choice)
        assert not (shifted(mask, box_of(mask), (down, right)) * cut(mask, box_of(mask))).any()
    others = {best_offset(frame, mask, box_of(mask), choice) for choice in range(4)}
    assert len(others) == 4


def test_a_hole_too_large_for_any_place_is_filled_in_pieces():
    pattern, mask = stripes(), hole(4, 4, 44, 60)
    assert best_offset(pattern, mask, box_of(mask)) is None
    holed = torch.where(mask.bool(), torch.full_like(pattern, 0.99), pattern)
    filled = fill(holed, mask, WHOLE)
    assert filled.isfinite().all() and (filled > 0.95).float().mean() < 0.05
    assert torch.equal(filled * (1 - mask), pattern * (1 - mask))


@pytest.mark.parametrize("mask", [hole(0, 0, 48, 63), hole(0, 0, 47, 64), hole(0, 0, 1, 1), hole(0, 0, 48, 1)])
def test_extreme_holes_end(mask):
    filled = fill(stripes(), mask, WHOLE)
    assert filled.isfinite().all() and filled.abs().max() <= 1


def test_the_box_only_cuts():
    frame, mask, box = torch.rand(3, 48, 64), hole(10, 10, 20, 20), (6, 7, 25, 26)
    assert torch.equal(fill(frame, mask, box), cut(fill(frame, mask, WHOLE), box))
