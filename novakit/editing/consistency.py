"""How alike are edited keyframes? Numbers for the difference between independent and consistent editing. Source: ours.

They need no truth and no knowledge of the editor. None of them enters any score.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from novakit.editing.keyframe_editors.protocol import EditedKeyframe
from novakit.errors import NovaError


@dataclass(frozen=True)
class Consistency:
    """Spread between the keyframes of one clip; 0 = all alike. Compare two ways of editing the same clip."""

    tone_spread: float  # standard deviation of the mean colour inside the mask, over keyframes; pixels in [-1, 1]
    source_tone_spread: float  # the same of the frames before the edit: light and motion, no editor is below it safely
    placement_spread: float  # standard deviation of where the change sits in its mask, as a share of the mask's size
    seam: float  # mean |edited - frame| just inside the mask's edge; 0 = fades in, or no edge; pixels in [-1, 1]
    keyframes: int  # how many were compared: those whose mask is not empty

    def __str__(self) -> str:
        return (
            f"tone spread {self.tone_spread:.3f} (source {self.source_tone_spread:.3f}), "
            f"placement spread {self.placement_spread:.3f}, seam {self.seam:.3f}, {self.keyframes} keyframes"
        )


def consistency(keyframes: Sequence[EditedKeyframe]) -> Consistency:
    """Measure how much tone and placement of an edit vary between keyframes.

    The tone is that of the whole masked area, so compare edits of one kind: a removal has the spread of the background
    that it uncovers.

    Args:
        keyframes: what `edit_keyframes` returned; those with an empty mask are left out.

    Returns:
        Consistency.

    Raises:
        NovaError: fewer than two keyframes with content to change.
    """
    used = [key for key in keyframes if key.mask is None or bool(key.mask.any())]
    if len(used) < 2:
        raise NovaError(f"{len(used)} keyframes hold a change; a spread needs 2 or more. Use a smaller interval.")
    masks = [torch.ones_like(key.frame[:1]) if key.mask is None else key.mask.float() for key in used]
    tones = torch.stack([_mean_colour(key.edited, mask) for key, mask in zip(used, masks)])  # (K, 3)
    before = torch.stack([_mean_colour(key.frame, mask) for key, mask in zip(used, masks)])
    places = torch.stack([_placement(key, mask) for key, mask in zip(used, masks)])  # (K, 2)
    seams = [_seam(key, mask) for key, mask in zip(used, masks)]
    return Consistency(_spread(tones), _spread(before), _spread(places), sum(seams) / len(seams), len(used))


def _spread(values: Tensor) -> float:
    """Root mean square, over columns, of the standard deviation over rows of (K, n)."""
    return values.var(0, correction=0).mean().sqrt().item()


def _mean_colour(image: Tensor, mask: Tensor) -> Tensor:
    """(3,) mean inside the mask."""
    return (image * mask).sum((1, 2)) / mask.sum()


def _placement(key: EditedKeyframe, mask: Tensor) -> Tensor:
    """Centre of the change minus centre of the mask, (down, right) as shares of the mask's height and width."""
    change = (key.edited - key.frame).abs().mean(0, keepdim=True) * mask  # (1, H, W)
    if not change.any():
        return torch.zeros(2)
    offsets = []
    for axis in (2, 1):  # sum over columns: down; over rows: right
        middle, size = _centre(mask.sum(axis)[0])
        offsets.append((_centre(change.sum(axis)[0])[0] - middle) / size)
    return torch.stack(offsets)


def _centre(weight: Tensor) -> tuple[Tensor, int]:
    """Centre of weights along one axis, and how many pixels hold any."""
    place = torch.arange(len(weight), dtype=weight.dtype)
    return (weight * place).sum() / weight.sum(), int((weight > 0).sum())


def _seam(key: EditedKeyframe, mask: Tensor) -> float:
    """Change in the outermost pixels of the mask; 0 where the mask covers the whole frame and has no edge."""
    rim = mask * F.max_pool2d(1 - mask[None], 3, stride=1, padding=1)[0]
    change = (key.edited - key.frame).abs().mean(0, keepdim=True)
    return ((change * rim).sum() / rim.sum()).item() if rim.any() else 0.0
