"""MS: is a frame what lies in the middle between its neighbours? As VBench, with a choice of interpolator."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from novakit.evaluation.metrics.clip_checks import check_clip
from novakit.evaluation.metrics.interpolators import matched_midpoint

#: (earlier, later), each (N, 3, H, W) in [-1, 1] -> the frame between them, (N, 3, H, W)
Interpolator = Callable[[Tensor, Tensor], Tensor]
FEWEST_FRAMES = 3


def interpolator_name(interpolator: Interpolator) -> str:
    """The word that stands in the label: its attribute `label`, else its own name."""
    return getattr(interpolator, "label", None) or getattr(interpolator, "__name__", type(interpolator).__name__)


@torch.no_grad()
def motion_smoothness(clip: Tensor, interpolator: Interpolator = matched_midpoint) -> Tensor:
    """MS = 1 - mean |x_t - I(x_(t-1), x_(t+1))| / 255 over the odd frames t, for pixels in 0..255.

    VBench's I is the network AMT-S. Its weights are not part of novakit, so the default is `matched_midpoint`
    (motion found by block matching, see there); the label names it. With AMT at hand pass
    `interpolator=amt_interpolator(model)`. Numbers of different interpolators must not be compared. Of a clip with an
    even number of frames the last frame is not looked at.

    Args:
        clip: `(B, 3, T, H, W)` in [-1, 1], T >= 3.
        interpolator: makes the frame in the middle of two.

    Returns:
        `(B,)` in [0, 1]; 1 = every odd frame is the middle of its neighbours. A clip that never moves scores 1,
        and so does a cross-fade, about: MS alone says little.

    Raises:
        NovaError: no clip, or fewer than three frames.

    Source: VBench, motion_smoothness.py (there pixels are rounded to integers first); the default interpolator is ours.
    """
    check_clip(clip, "clip", FEWEST_FRAMES)
    frames = clip.transpose(1, 2)  # (B, T, 3, H, W)
    odd = frames[:, 1 : frames.shape[1] - 1 : 2]  # (B, n, 3, H, W), each with an even frame on both sides
    count = odd.shape[1]
    before, after = (frames[:, start::2][:, :count].flatten(0, 1) for start in (0, 2))  # (B*n, 3, H, W)
    middle = interpolator(before, after).reshape(odd.shape)
    return 1.0 - (odd - middle).abs().flatten(1).mean(dim=1) / 2.0
