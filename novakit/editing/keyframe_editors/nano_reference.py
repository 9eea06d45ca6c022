"""What did the first keyframe come out like? Tone, place and style, measured on its pixels. Source: ours.

Analysis by synthesis: paint the reference's own frame with looks from a grid, and keep the look that comes nearest to
what the reference shows. Nothing but the reference's pixels is read, so it may come from any editor, or from a hand.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import replace

import torch
from torch import Tensor

from novakit.editing.keyframe_editors.nano_edits import Canvas, Painter, to_unit
from novakit.editing.keyframe_editors.nano_faults import Look
from novakit.editing.keyframe_editors.nano_places import Box, cut
from novakit.video.geometry import resize

SIDE = 64  # pixels of the mask's longer side that are enough to find place and style
STYLES = tuple(i / 6 for i in range(-6, 7))
REACH = 0.3  # places that are tried lie within this share of the mask's size
STRAY = 0.01  # a look further away must be better by this much per unit, so that noise moves nothing
PLAIN = 0.02  # a channel that varies less than this says nothing about contrast
FEW = 32  # pixels; fewer say nothing about contrast either
COVERED = 0.95  # coverage above which a pixel shows the content alone


def measure_look(painter: Painter, frame: Tensor, mask: Tensor, edited: Tensor, box: Box, whole: bool) -> Look:
    """Tone, place and style of an edited frame, as deviations from what the painter would have painted.

    Args:
        painter: the edit that was wanted.
        frame: (3, H, W) in [-1, 1], before the edit.
        mask: (1, H, W) in {0, 1}.
        edited: (3, H, W) in [-1, 1], after the edit.
        box: the part of the frame with the mask in it.
        whole: True when there is no mask.

    Returns:
        The look; neutral, but for rounding, when the edit is what the painter paints without faults.
    """
    canvas, target = _small(painter, frame, mask, edited, box, whole)
    look = _nearest(painter, canvas, target, [replace(Look.neutral(), style=style) for style in STYLES])
    look = _toned(painter, canvas, target, look)
    for reach in (REACH, REACH / 4, REACH / 16):
        steps = [reach * i / 2 for i in range(-2, 3)]
        moves = [torch.tensor(move) for move in itertools.product(steps, steps)]
        look = _nearest(painter, canvas, target, [replace(look, shift=look.shift + move) for move in moves])
    look = _toned(painter, canvas, target, look)
    look = _nearest(painter, canvas, target, [replace(look, style=style) for style in (look.style, *STYLES)])
    return _at_full_size(painter, frame, mask, edited, box, whole, look)


def _small(painter: Painter, frame: Tensor, mask: Tensor, edited: Tensor, box: Box, whole: bool):
    """Canvas and target with a mask of at most SIDE pixels."""
    by = min(1.0, SIDE / max(box[2] - box[0], box[3] - box[1]))
    size = tuple(max(1, round(side * by)) for side in frame.shape[-2:])
    top, left = int(box[0] * by), int(box[1] * by)
    smaller = (top, left, min(size[0], int(box[2] * by) + 1), min(size[1], int(box[3] * by) + 1))
    part = box if by == 1 else smaller
    small_mask = resize(mask, size)
    small_mask = (small_mask > 0.5 * small_mask.max()).float()  # a thin one stays too
    canvas = painter.canvas(resize(frame, size), small_mask, part, whole, STYLES)
    return canvas, to_unit(cut(resize(edited, size), part))


def _nearest(painter: Painter, canvas: Canvas, target: Tensor, looks: Iterable[Look]) -> Look:
    """The look whose painting is nearest to the target, neutral ones preferred."""

    def cost(look: Look) -> float:
        error = (painter.paint(canvas, look) - target).abs().mean(0, keepdim=True)  # (1, h, w)
        stray = abs(look.style) + look.shift.abs().sum().item()
        return ((error * canvas.mask).sum() / canvas.mask.sum()).item() + STRAY * stray

    return min(looks, key=cost)


def _toned(painter: Painter, canvas: Canvas, target: Tensor, look: Look) -> Look:
    """The look with the gain and offset that bring its content to the target's mean and spread, per channel."""
    content, coverage, _ = painter.layers(canvas, look)
    seen = (coverage * canvas.mask)[0] > COVERED
    if seen.sum() < 4:  # a mask so thin that nothing shows the content alone
        seen = canvas.mask[0] > 0
    mean, spread = _statistics(content.expand_as(target)[:, seen])
    wanted_mean, wanted_spread = _statistics(target[:, seen])
    telling = (spread > PLAIN) & (seen.sum() >= FEW)
    gain = torch.where(telling, wanted_spread / spread.clamp(min=PLAIN), torch.ones(3)).clamp(0.4, 2.5)
    return replace(look, gain=gain, offset=wanted_mean - gain * mean)


def _statistics(pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of (3, N), each (3,)."""
    return pixels.mean(1), pixels.std(1, correction=0)


def _at_full_size(painter, frame: Tensor, mask: Tensor, edited: Tensor, box: Box, whole: bool, look: Look) -> Look:
    """The tone once more on all pixels; there the look must also be nearer than one without stray."""
    canvas = painter.canvas(frame, mask, box, whole, (look.style, 0.0))
    target = to_unit(cut(edited, box))
    straight = replace(look, style=0.0, shift=torch.zeros(2))
    return _nearest(painter, canvas, target, [_toned(painter, canvas, target, way) for way in (straight, look)])
