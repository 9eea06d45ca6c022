"""From the drawn frame to both ends of a clip, reading its frames once and in order. Source: ours.

Frames behind the drawn one are followed as they come. Those before it wait, small, and are followed backwards at the
end: the same steps on the reversed clip, by a second follower that starts at the drawn frame again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from novakit.editing.masks.frames import Picture, WaitingFrames, each_frame
from novakit.editing.masks.propagated import MaskCollector, PropagatedMask


class Follower(Protocol):
    """Knows the drawn frame and its mask, and is shown one frame after another."""

    def step(self, picture: np.ndarray) -> tuple[np.ndarray, float, bool]:
        """Mask (H, W) of the next frame, its confidence 0..1, and whether a cut lies before this frame."""
        ...


def walk(
    frames: Any,
    found: MaskCollector,
    shrink: Callable[[Picture], np.ndarray],
    begin: Callable[[np.ndarray], Follower],
) -> PropagatedMask:
    """Carry the drawn mask to the wanted frames.

    Args:
        frames: see `each_frame`.
        found: holds the drawn mask, and takes the others.
        shrink: a frame to the uint8 array that followers read.
        begin: the drawn frame, shrunk, to a new follower.

    Raises:
        NovaError: see `each_frame`; the clip ends before the drawn or a wanted frame.
    """
    with WaitingFrames() as waiting:
        start = _walk_forwards(frames, found, shrink, begin, waiting)
        follower = begin(start) if found.first < found.index else None
        for i, picture in enumerate(waiting.backwards(), start=1):
            found.put(found.index - i, *follower.step(picture))
    return found.finish()


def _walk_forwards(
    frames: Any, found: MaskCollector, shrink: Callable, begin: Callable, waiting: WaitingFrames
) -> np.ndarray:
    """Put the frames before the drawn one aside, follow the mask through those behind it; gives the drawn one."""
    count, start, follower = 0, None, None
    for t, frame in enumerate(each_frame(frames, found.drawn.shape)):
        count = t + 1
        if t == found.index:
            start = shrink(frame)
            follower = begin(start)
        elif follower is not None:
            found.put(t, *follower.step(shrink(frame)))
        elif t >= found.first:
            waiting.put(shrink(frame))
        if t == found.last:
            break
    found.check_length(count)
    return start
