"""Where the keyframes lie: choosing their frame indices, and checking those that came from outside."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from novakit.errors import NovaError

from .draws import check_generator, integers


def sample_keyframe_indices(
    num_frames: int,
    interval: int | tuple[int, int],
    generator: torch.Generator,
    *,
    irregular: bool = False,
    include_first: bool = True,
) -> list[int]:
    """Choose the frame indices of the keyframes.

    Args:
        num_frames: T, frames of the clip.
        interval: distance between keyframes (paper: 10), or a range (low, high) to draw it from.
        generator: where the randomness comes from.
        irregular: draw every gap anew from the range instead of one gap for the whole clip.
        include_first: start at frame 0; else start 1 to gap frames later (at most at the last frame).

    Returns:
        Ascending frame indices without repetition, at least one.

    Raises:
        NovaError: no frames, or an interval below 1.

    Source: paper (fixed interval 10); random and irregular intervals are ours.
    """
    check_generator(generator)
    pair = (interval, interval) if isinstance(interval, int) else tuple(interval)
    if num_frames < 1 or len(pair) != 2 or not 1 <= pair[0] <= pair[1]:
        raise NovaError(
            f"{num_frames} frames with keyframe interval {interval}; wanted at least one frame and "
            "1 <= low <= high. Pass interval=8 or interval=(4, 12)."
        )
    gaps = integers(generator, (num_frames,), *pair).tolist()
    first_gap = gaps[0]
    start = 0 if include_first else int(integers(generator, (1,), 1, first_gap)[0])
    indices = [min(start, num_frames - 1)]
    for gap in gaps[1:] if irregular else [first_gap] * num_frames:
        if indices[-1] + gap >= num_frames:
            break
        indices.append(indices[-1] + gap)
    return indices


def check_indices(indices: Sequence[int], num_frames: int) -> tuple[int, ...]:
    """Return the keyframe indices as an ascending tuple of int.

    Raises:
        NovaError: none at all, repeated, unordered, or outside 0 ... T-1.
    """
    values = tuple(int(index) for index in indices)
    if not values:
        raise NovaError("no keyframe index came; at least one is needed. Pass indices=[0].")
    outside = [index for index in values if not 0 <= index < num_frames]
    if outside:
        raise NovaError(
            f"keyframe index {outside[0]} lies outside the clip of {num_frames} frames; "
            f"use indices from 0 to {num_frames - 1}."
        )
    if any(later <= earlier for earlier, later in zip(values[:-1], values[1:], strict=True)):
        raise NovaError(
            f"keyframe indices {list(values)} repeat or go backwards; each frame may appear once, in "
            "ascending order. Use sorted(set(indices)) and bring the keyframes into the same order."
        )
    return values
