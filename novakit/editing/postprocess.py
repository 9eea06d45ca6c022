"""What may be done to an edit afterwards: matching colours to the source, pasting the source back. Both are off
unless asked for (`--match-colour`, `--paste-back`), and neither ever comes before a score. Source: ours.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

SMOOTH = 8  # frames on either side over which colour statistics are averaged
FLAT = 1e-4  # variance (of values in [-1, 1]) below which a channel has no contrast to match
MOST_GAIN = 2.0  # contrast is changed by at most this factor: more is no drift
ROUNDS = 3  # fits of the colour map without a mask, each on the half that the last one explained best
FEATHER = 0.01  # width of the feathered edge, as a share of the shorter side


@dataclass(frozen=True)
class ColourMap:
    """edit -> gain * edit + offset, per frame and channel."""

    gain: Tensor  # (3, T, 1, 1)
    offset: Tensor  # (3, T, 1, 1)

    def __call__(self, edit: Tensor) -> Tensor:
        """The map applied to frames (3, T, H, W)."""
        return self.gain * edit + self.offset


def match_colour(edit: Tensor, reference: Tensor, outside: Tensor | None = None) -> Tensor:
    """Give an edit the reference's mean and contrast, measured where nothing was edited, applied everywhere.

    Args:
        edit: (3, T, H, W) in [-1, 1].
        reference: what the edit should equal where it changed nothing, (3, T, H, W).
        outside: (1, T, H, W) in {0, 1}, 1 where nothing was edited; None = look for it: the half of every frame's
            pixels that the map explains best.

    Returns:
        (3, T, H, W); smooth in time, since the statistics are averages over 17 frames.
    """
    if outside is not None:
        return fit_colour(edit, reference, outside)(edit)
    calm = torch.ones_like(edit[:1])
    for _ in range(ROUNDS):
        error = (fit_colour(edit, reference, calm)(edit) - reference).abs().mean(0, keepdim=True)  # (1, T, H, W)
        calm = (error <= error.flatten(2).median(2).values[..., None, None]).float()
    return fit_colour(edit, reference, calm)(edit)


def fit_colour(edit: Tensor, reference: Tensor, weight: Tensor) -> ColourMap:
    """The map that gives the edit the reference's mean and standard deviation over the pixels of a weight.

    Moments, not least squares: where the edit is the reference plus noise, least squares would lower its contrast.

    Args:
        edit, reference: (3, T, H, W).
        weight: (1, T, H, W), >= 0; frames far from any take the map of all, a clip without any keeps its colours.
    """
    if not bool(weight.any()):
        return ColourMap(torch.ones(3, edit.shape[1], 1, 1), torch.zeros(3, edit.shape[1], 1, 1))
    (mean, deviation), (wanted_mean, wanted_deviation) = _moments(edit, weight), _moments(reference, weight)
    gain = (wanted_deviation / deviation).clamp(1 / MOST_GAIN, MOST_GAIN)
    return ColourMap(gain[..., None, None], (wanted_mean - gain * mean)[..., None, None])


def _moments(clip: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation (3, T) over the pixels of a weight, smooth in time."""
    count = _over_time(weight.sum((2, 3)))  # (1, T)
    mean = _over_time((clip * weight).sum((2, 3))) / count
    square = _over_time((clip.square() * weight).sum((2, 3))) / count
    return mean, ((square - mean.square()).clamp_min(0) + FLAT).sqrt()


def _over_time(sums: Tensor) -> Tensor:
    """Sums (C, T) averaged over the frames t-SMOOTH..t+SMOOTH, and over all with hardly any weight."""
    near = F.avg_pool1d(sums[None], 2 * SMOOTH + 1, stride=1, padding=SMOOTH, count_include_pad=False)[0]
    return near + 1e-6 * sums.mean(1, keepdim=True)


def feather(mask: Tensor) -> Tensor:
    """A soft edge on the inside of a mask: 0 outside, as before, and a ramp up to 1 inside.

    The mean of the mask and its erosions by 1, 2, ... pixels: thin parts keep a share instead of vanishing.

    Args:
        mask: (1, H, W) in {0, 1}.

    Returns:
        (1, H, W) in [0, 1], exactly 0 wherever the mask is 0.
    """
    width = max(1, round(FEATHER * min(mask.shape[1:])))
    inner, total = mask.bool(), mask.clone()
    for _ in range(width):
        inner = _eroded(_eroded(inner, 1), 2)
        total += inner
    return total / (width + 1)


def _eroded(mask: Tensor, axis: int) -> Tensor:
    """A mask without the pixels that have a neighbour outside along one axis; the picture's border is no outside."""
    out, length = mask.clone(), mask.shape[axis] - 1
    out.narrow(axis, 1, length).logical_and_(mask.narrow(axis, 0, length))
    out.narrow(axis, 0, length).logical_and_(mask.narrow(axis, 1, length))
    return out


def paste_back(edit: Tensor, source: Tensor, mask: Tensor) -> Tensor:
    """The edit inside the mask, the source outside of it, bit for bit, with a feathered edge between.

    Args:
        edit, source: (3, H, W).
        mask: (1, H, W) in {0, 1}.
    """
    return torch.lerp(source, edit, feather(mask))
