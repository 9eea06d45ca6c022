"""What may lie behind a removed object: the surroundings, continued into the hole. Source: ours.

1. Find the place in the frame whose surroundings look most like the hole's (on small pictures, then finer).
2. Copy it into the hole.
3. Correct its tones by a membrane stretched over the hole: the differences at the rim, continued smoothly inside.

Steps 2 and 3 are seamless cloning (Perez, Gangnet and Blake, "Poisson Image Editing", 2003), the membrane computed on
a pyramid. It keeps texture and takes a fraction of a second at 1080p. A hole too large for any place is filled in
pieces.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from novakit.editing.keyframe_editors.nano_places import SMALLEST_PIECE, Box, best_offset, box_of, cut, shifted

OUTLIERS = (3.0, 1.0)  # brightness, colour: median deviations from the median at which differences are cut off
SAMPLES = 5000  # pixels that are enough for a median
RING = 2  # at least so many known pixels around a piece hold its membrane


def fill(frame: Tensor, mask: Tensor, box: Box, choice: int | None = 0) -> Tensor:
    """Continue the surroundings into the mask.

    Args:
        frame: (3, H, W) in [-1, 1].
        mask: (1, H, W) in {0, 1}; 0 somewhere.
        box: the part of the frame that is wanted; it holds the whole mask.
        choice: 0 = the best place to copy from, 1 = the second best, ...; None = copy nothing, tones alone.

    Returns:
        (3, bottom - top, right - left): the frame in the box, the mask filled.
    """
    picture, left_over = frame.clone(), mask.clone()
    _fill_piece(picture, left_over, box_of(mask), choice)
    return cut(picture, box).clamp(-1, 1)


def _fill_piece(picture: Tensor, left_over: Tensor, piece: Box, choice: int | None) -> None:
    """Fill the hole inside a box, in place; in two halves, one after the other, when no place is large enough."""
    offset = None if choice is None else best_offset(picture, left_over, piece, choice)
    height, width = piece[2] - piece[0], piece[3] - piece[1]
    too_large = choice is not None and offset is None
    if too_large and max(height, width) > SMALLEST_PIECE * max(picture.shape[-2:]):
        halves = [half for half in _halves(piece) if cut(left_over, half).any()]
        for half in sorted(halves, key=lambda half: cut(left_over, half).mean().item()):  # most surroundings first
            _fill_piece(picture, left_over, half, choice)
        return
    around = _grown(piece, RING + max(height, width) // 8, picture.shape[-2:])
    here, known = cut(picture, around), 1 - cut(left_over, around)
    if offset is None:
        copy = ((picture * (1 - left_over)).sum((1, 2)) / (1 - left_over).sum().clamp(min=1))[:, None, None].expand_as(
            here
        )
    else:
        copy = shifted(picture, around, offset)
    inside = torch.zeros_like(left_over)
    cut(inside, piece)[:] = cut(left_over, piece)
    filled = copy + membrane(_usual(here - copy, known), known)
    here[:] = torch.where(cut(inside, around).bool(), filled, here)
    left_over -= inside


def _usual(difference: Tensor, known: Tensor) -> Tensor:
    """Differences (3, h, w) without outliers: a tree copied beside a wall must not tint all that was copied.

    Brightness may differ more than colour, which the eye does not forgive.
    """
    grey = difference.mean(0, keepdim=True)
    return _cut_off(grey, known, OUTLIERS[0]) + _cut_off(difference - grey, known, OUTLIERS[1])


def _cut_off(values: Tensor, known: Tensor, most: float) -> Tensor:
    """Values (C, h, w), cut off at `most` median deviations from the median of the known ones."""
    rim = values[:, known[0].bool()]  # (C, N)
    if not rim.numel():
        return values
    rim = rim[:, :: max(1, rim.shape[1] // SAMPLES)]
    middle = rim.median(1).values[:, None, None]
    reach = most * (rim - middle[:, 0]).abs().median(1).values[:, None, None]
    return torch.minimum(torch.maximum(values, middle - reach), middle + reach)


def _halves(box: Box) -> tuple[Box, Box]:
    """A box cut in two across its longer side."""
    top, left, bottom, right = box
    if bottom - top > right - left:
        middle = (top + bottom) // 2
        return (top, left, middle, right), (middle, left, bottom, right)
    middle = (left + right) // 2
    return (top, left, bottom, middle), (top, middle, bottom, right)


def _grown(box: Box, by: int, size: tuple[int, int]) -> Box:
    top, left, bottom, right = box
    return max(0, top - by), max(0, left - by), min(size[0], bottom + by), min(size[1], right + by)


def membrane(values: Tensor, known: Tensor) -> Tensor:
    """Continue values smoothly from where they are known to where they are not: average down, interpolate up.

    Args:
        values: (C, H, W).
        known: (1, H, W) in {0, 1}.

    Returns:
        (C, H, W); `values` where they are known; zeros when nothing is.
    """
    if bool(known.all()) or not bool(known.any()):
        return values * known
    total = F.avg_pool2d((values * known)[None], 2, ceil_mode=True)[0]
    share = F.avg_pool2d(known[None], 2, ceil_mode=True)[0]
    coarse = membrane(total / share.clamp(min=1e-6), (share > 0).float())
    full = F.interpolate(coarse[None], values.shape[-2:], mode="bilinear", align_corners=False)[0]
    full = torch.where(known.bool(), values, full)
    smooth = F.avg_pool2d(F.pad(full[None], (1, 1, 1, 1), mode="replicate"), 3, stride=1)[0]  # of the coarser grid
    return torch.where(known.bool(), values, smooth)
