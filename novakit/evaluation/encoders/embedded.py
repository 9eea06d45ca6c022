"""The embedded encoder: designed, not trained; no weights, no download.

A frame becomes two kinds of histograms, over the whole frame, six parts and twenty-four parts of it:

- **colours**: how much of the part has which colour (4 x 4 x 4 soft bins of RGB),
- **outlines**: how much of it has brightness edges of which direction (8 soft bins, plus one bin for "no edge").

The square root of a histogram has length 1, so the cosine of two features is a weighted mean of overlaps (1 = the same
colours and outlines in the same parts, 0 = none shared). Nothing has to be centred: unlike random projections, two
unrelated frames share few bins. Small shifts, blur and a codec's loss move little mass; a wrong colour or a wrong
object moves the mass of the parts that it covers. What it does not know is meaning: one street at noon and at night
is two pictures to it.

Source: ours, of known parts: colour histograms in a spatial pyramid, histograms of oriented gradients, and the
Hellinger kernel. That it is fit for the metrics is shown by the test of encoders on held-out scenes.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from novakit.evaluation.encoders.protocol import check_frames, unit_length

WORKING_SIZE = (32, 48)  # (height, width) that every frame is reduced to
PARTS = ((1, 1), (2, 3), (4, 6))  # rows and columns of the pyramid
PYRAMID_WEIGHTS = (0.2, 0.3, 0.5)  # share of a cosine that each layer of the pyramid has
LEVELS = 4  # soft bins per colour channel
DIRECTIONS = 8  # soft bins of edge directions over half a turn
OUTLINES = 0.15  # share of a cosine that outlines have; colours have the rest
EDGE = 0.1  # contrast per pixel, of the range 2, from which a pixel counts as an edge rather than as flat
BATCH = 128  # frames at once


class EmbeddedEncoder:
    """The encoder that ships with novakit; see the module's docstring."""

    name = "embedded"

    @torch.no_grad()
    def encode(self, frames: Tensor) -> Tensor:
        """Features `(N, D)` of length 1 of frames `(N, 3, H, W)` in [-1, 1]; every entry is 0 or more.

        Raises:
            NovaError: no frames, or NaN in them.
        """
        check_frames(frames)
        return torch.cat([_features(part) for part in frames.float().split(BATCH)])


def _features(frames: Tensor) -> Tensor:
    """Colour and outline histograms of frames, weighted and joined, `(N, D)`."""
    small = F.interpolate(frames, WORKING_SIZE, mode="area").clamp(-1.0, 1.0)
    kinds = ((soft_colours(small), 1.0 - OUTLINES), (soft_directions(small), OUTLINES))
    joined = [pyramid(planes) * math.sqrt(share) for planes, share in kinds]
    return unit_length(torch.cat(joined, dim=1))


def soft_bins(values: Tensor, count: int) -> Tensor:
    """Share of every value in `count` bins: two neighbours share it, as in linear interpolation.

    Args:
        values: `(N, H, W)` in [0, count - 1].

    Returns:
        `(N, count, H, W)`, summing to 1 over the bins.
    """
    centres = torch.arange(count, device=values.device).view(1, count, 1, 1)
    return (1.0 - (values[:, None] - centres).abs()).clamp_min(0.0)


def soft_colours(frames: Tensor) -> Tensor:
    """Membership of every pixel in LEVELS^3 colours, `(N, LEVELS^3, h, w)`."""
    red, green, blue = (soft_bins((frames[:, c] + 1.0) / 2.0 * (LEVELS - 1), LEVELS) for c in range(3))
    pairs = (red[:, :, None] * green[:, None]).flatten(1, 2)  # (N, L*L, h, w)
    return (pairs[:, :, None] * blue[:, None]).flatten(1, 2)  # (N, L*L*L, h, w)


def soft_directions(frames: Tensor) -> Tensor:
    """Membership of every pixel in DIRECTIONS edge directions and in "flat", `(N, DIRECTIONS + 1, h, w)`."""
    weights = torch.tensor([0.299, 0.587, 0.114], device=frames.device).view(1, 3, 1, 1)
    padded = F.pad((frames * weights).sum(dim=1, keepdim=True), (1, 1, 1, 1), mode="replicate")[:, 0]
    across = (padded[:, 1:-1, 2:] - padded[:, 1:-1, :-2]) / 2.0
    down = (padded[:, 2:, 1:-1] - padded[:, :-2, 1:-1]) / 2.0
    squares = across.square() + down.square()
    edge = squares / (squares + EDGE**2)  # 0 = flat, towards 1 = a clear edge
    turn = torch.atan2(down, across) / math.pi % 1.0 * DIRECTIONS  # in [0, DIRECTIONS)
    bins = soft_bins(turn, DIRECTIONS + 1)  # the last bin is the first one again
    bins = torch.cat([bins[:, :1] + bins[:, -1:], bins[:, 1:-1]], dim=1)
    return torch.cat([bins * edge[:, None], 1.0 - edge[:, None]], dim=1)


def pyramid(planes: Tensor) -> Tensor:
    """Square roots of the histograms of all parts, `(N, D)` of length 1; `planes` `(N, bins, h, w)`."""
    layers = []
    for (rows, columns), weight in zip(PARTS, PYRAMID_WEIGHTS, strict=True):
        histograms = F.adaptive_avg_pool2d(planes, (rows, columns))  # (N, bins, rows, columns)
        layers.append(histograms.sqrt().flatten(1) * math.sqrt(weight / (rows * columns)))
    return torch.cat(layers, dim=1)
