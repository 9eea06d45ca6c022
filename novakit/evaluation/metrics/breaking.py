"""Clips broken on purpose: what a metric must notice, and what it cannot notice. For tests and the lesson on metrics.

Source: ours.
"""

from __future__ import annotations

import torch
from torch import Tensor


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def flickering(clip: Tensor, mask: Tensor | None = None, strength: float = 0.1, seed: int = 0) -> Tensor:
    """Every frame gets a tint of its own, as when frames are edited one by one.

    Args:
        clip: `(B, 3, T, H, W)` in [-1, 1].
        mask: `(B, 1, T, H, W)`; None = the whole frame.
        strength: standard deviation of the tint per frame and channel, of the range 2.
        seed: of the tints.
    """
    shape = (clip.shape[0], 3, clip.shape[2], 1, 1)
    tint = (strength * torch.randn(shape, generator=_generator(seed))).to(clip.device)
    return (clip + (tint if mask is None else tint * mask)).clamp(-1.0, 1.0)


def frozen(clip: Tensor) -> Tensor:
    """The first frame, T times: nothing moves, and every metric of consistency is at its best."""
    return clip[:, :, :1].expand_as(clip).contiguous()


def shuffled_in_time(clip: Tensor, seed: int = 0) -> Tensor:
    """The frames of every clip in another order (the same one for all clips)."""
    return clip[:, :, torch.randperm(clip.shape[2], generator=_generator(seed))]


def shuffled_between_clips(clips: Tensor, seed: int = 0) -> Tensor:
    """Every frame is taken from a clip of the batch drawn anew: no two neighbours belong together."""
    batch, frames = clips.shape[0], clips.shape[2]
    orders = [torch.randperm(batch, generator=_generator(seed + t)) for t in range(frames)]
    return torch.stack([clips[order, :, t] for t, order in enumerate(orders)], dim=2)
