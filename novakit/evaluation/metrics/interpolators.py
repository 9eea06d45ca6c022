"""Interpolators for motion smoothness: the frame in the middle of two frames.

| name | what it is | needs |
|---|---|---|
| `mean_midpoint` | mean of both frames: blind to motion | nothing |
| `matched_midpoint` | symmetric block matching, then the mean along the motion (default) | nothing |
| `amt_interpolator(model)` | VBench's network AMT-S | its code and weights |

Source: symmetric block matching is classical frame-rate conversion, written by us; AMT by its authors.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from novakit.errors import NovaError

WORKING_SIDE = 64  # shorter side, in pixels, at which motion is sought
REACH = 3.0  # largest displacement from the middle to either side, in pixels of the working size
STEP = 0.5  # pixels between two displacements that are tried
BLOCK = 4  # pixels of a block that moves as one; what is compared is a window of twice its side
STAY = 0.004  # what a pixel of displacement costs (of the range 2), so that flat areas stay where they are


def mean_midpoint(before: Tensor, after: Tensor) -> Tensor:
    """Mean of two frames `(N, 3, H, W)`; whatever moves becomes a double image, so it punishes motion itself."""
    return (before + after) / 2.0


def matched_midpoint(before: Tensor, after: Tensor) -> Tensor:
    """The middle of two frames along the motion between them: mean of before(p - d) and after(p + d).

    d is sought on frames whose shorter side is WORKING_SIDE px: for every block of the middle frame, out of all
    displacements up to REACH px in steps of STEP, the one for which a window of `before` at p - d and of `after` at
    p + d differ least. At 64 x 96 px this follows 3 px a frame; what is faster, or hidden in one of the two frames,
    counts as not smooth.

    Args:
        before, after: `(N, 3, H, W)` in [-1, 1].

    Returns:
        `(N, 3, H, W)`.

    Raises:
        NovaError: frames that do not fit together.

    Source: ours, classical symmetric block matching; stands in for AMT-S.
    """
    if before.shape != after.shape or before.ndim != 4:
        raise NovaError(f"frames of {tuple(before.shape)} and {tuple(after.shape)}; wanted two (N, 3, H, W) alike.")
    size = before.shape[2:]
    displacement = F.interpolate(_half_motion(before, after), size, mode="nearest").movedim(1, -1)  # (N, H, W, 2)
    rows, columns = (torch.linspace(-1, 1, n, device=before.device) for n in size)
    place = torch.stack(torch.meshgrid(columns, rows, indexing="xy"), dim=-1)  # (H, W, 2) as (x, y)
    options = {"mode": "bicubic", "padding_mode": "border", "align_corners": True}
    seen = [F.grid_sample(x, place + d, **options) for x, d in ((before, -displacement), (after, displacement))]
    return (seen[0] + seen[1]) / 2.0


def _half_motion(before: Tensor, after: Tensor) -> Tensor:
    """Displacement d of every block, `(N, 2, h / BLOCK, w / BLOCK)` as (x, y), a whole frame being 2 long."""
    small = _working_size(before.shape[2:])
    fine = [2 * n - 1 for n in small]  # every second sample is a pixel, those between are half pixels
    margin = round(REACH / STEP)
    padded = []
    for frames in (before, after):
        frames = F.interpolate(frames, small, mode="area")
        frames = F.interpolate(frames, fine, mode="bilinear", align_corners=True)
        padded.append(F.pad(frames, (margin, margin + 1, margin, margin + 1), mode="replicate"))
    tried = [(y, x) for y in range(-margin, margin + 1) for x in range(-margin, margin + 1)]
    costs = torch.stack([_difference(*padded, small, margin, y, x) for y, x in tried])  # (d, N, h/B, w/B)
    best = costs.argmin(dim=0)
    shifts = torch.tensor(tried, device=before.device).float() * STEP  # (d, 2) as (y, x) in pixels
    shift = shifts.flip(1)[best].movedim(-1, 1)  # (N, 2, h/B, w/B) as (x, y)
    extent = torch.tensor([small[1] - 1, small[0] - 1], device=before.device).view(1, 2, 1, 1)
    return shift * 2.0 / extent


def _working_size(size: tuple[int, int]) -> tuple[int, int]:
    """Shorter side about WORKING_SIDE px (never enlarged), both sides multiples of BLOCK."""
    factor = min(1.0, WORKING_SIDE / min(size))
    return tuple(max(2 * BLOCK, round(n * factor / BLOCK) * BLOCK) for n in size)


def _difference(before: Tensor, after: Tensor, small: tuple[int, int], margin: int, y: int, x: int) -> Tensor:
    """Mean difference in a window around every block when displaced by (y, x) half pixels, `(N, h/B, w/B)`."""

    def shifted(frames: Tensor, y: int, x: int) -> Tensor:
        top, left = margin + y, margin + x
        return frames[:, :, top : top + 2 * small[0] : 2, left : left + 2 * small[1] : 2]

    apart = (shifted(before, -y, -x) - shifted(after, y, x)).abs().mean(dim=1, keepdim=True)  # (N, 1, h, w)
    window, border = 2 * BLOCK, BLOCK // 2
    cost = F.avg_pool2d(apart, window, stride=BLOCK, padding=border, count_include_pad=False)[:, 0]
    return cost + STAY * STEP * (y * y + x * x) ** 0.5


def amt_interpolator(model: Any, device: str = "cpu") -> Callable[[Tensor, Tensor], Tensor]:
    """AMT as interpolator, for who has its code and weights (as VBench uses it: AMT-S, one middle frame).

    Args:
        model: AMT's `Model` with its weights; called as `model(a, b, time, scale_factor=1.0, eval=True)["imgt_pred"]`
            with pictures in [0, 1] whose sides are multiples of 16.
        device: where it lives.

    Returns:
        An interpolator for `motion_smoothness`, labelled "AMT".

    Source: the call of AMT's own demo; VBench, motion_smoothness.py. Tested with a stand-in of the same signature:
    the published weights have not been run here.
    """

    @torch.no_grad()
    def interpolate(before: Tensor, after: Tensor) -> Tensor:
        height, width = before.shape[2:]
        below, right = -height % 16, -width % 16
        pictures = [F.pad((x.to(device) + 1.0) / 2.0, (0, right, 0, below), mode="replicate") for x in (before, after)]
        half = torch.full((len(before), 1, 1, 1), 0.5, device=device)
        middle = model(*pictures, half, scale_factor=1.0, eval=True)["imgt_pred"]
        return (middle[:, :, :height, :width] * 2.0 - 1.0).to(before.device)

    interpolate.label = "AMT"
    return interpolate


mean_midpoint.label = "mean of neighbours"
matched_midpoint.label = "block matching"
