"""A mask drawn on one keyframe, carried to the other frames by optical flow (OpenCV DIS), with a confidence.

How the clip is walked through stands in `walk`, how an object is followed in `tracker`. Source: ours.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from torch import Tensor

from novakit.editing.masks.flow import load_cv2
from novakit.editing.masks.following import MaskFollower
from novakit.editing.masks.frames import to_grey, working_size
from novakit.editing.masks.propagated import MaskCollector, PropagatedMask, check_drawn_mask, check_indices
from novakit.editing.masks.walk import walk
from novakit.video.probing import ClipInfo

__all__ = ["PropagatedMask", "propagate_mask"]


def propagate_mask(
    frames: Iterable[Tensor] | ClipInfo | Path | Any,
    mask: Tensor,
    index: int = 0,
    *,
    wanted: Iterable[int] | None = None,
) -> PropagatedMask:
    """Carry a drawn mask over a clip, in one pass over its frames.

    Confidence is the share of the drawn pixels that, in a frame, are in sight, look as they did and whose flow from
    the drawn frame to this one and back comes home (`tracker` has the formula): 1 on the drawn frame, low behind
    a cut or another object. It is measured, not learned: flow does not know what the object is, and a limb that was
    hidden on the drawn frame stays outside.

    Args:
        frames: the frames in order, from frame 0: an iterable of (3, H, W) in [-1, 1] (a generator is read once
            and never held whole), a `ClipInfo` or path (the file is decoded), or a clip as `as_clip` takes it.
        mask: (1, H, W) in {0, 1}, 1 where content changes, of the frames' own size.
        index: which frame it was drawn on.
        wanted: frame indices to return; None = all. Nothing is read behind the last of them and the drawn one.

    Returns:
        PropagatedMask of the wanted frames; the drawn frame's is the mask itself. Where the object has left the
        frame its mask is empty and its confidence 0.

    Raises:
        NovaError: an empty mask, one of another size, an index outside the clip, frames of several sizes or with
            NaN, OpenCV missing.
    """
    load_cv2()
    found = MaskCollector(index, check_drawn_mask(mask), check_indices(index, wanted))
    size = working_size(found.drawn.shape)
    return walk(frames, found, lambda frame: to_grey(frame, size), lambda start: MaskFollower(start, found.drawn))
