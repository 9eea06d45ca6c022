"""One bad stretch of an earlier edit rendered again (`--frames A:B`); the rest of the file stays. Source: ours."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import repeat

import torch
import torch.nn.functional as F
from torch import Tensor

from novakit.editing.windows.edit import EditJob
from novakit.editing.windows.full_size import finished_frames
from novakit.editing.windows.plan import Window
from novakit.editing.windows.store import WindowStore
from novakit.video import ClipInfo, frame_to_tensor, frames_to_encode, iter_frames, replace_frames

FADE = 4
"""Frames at either end of a stretch over which the earlier edit fades into the new one."""


def render_stretch(
    job: EditJob, windows: list[Window], earlier: ClipInfo, stretch: tuple[int, int], store: WindowStore | None
) -> tuple[int, int]:
    """Render frames A..B-1 again and put them into the earlier edit.

    Args:
        job: what to edit and how.
        windows: of the whole clip, as for the earlier edit.
        earlier: the probed earlier edit; it is changed in its place, whole or not at all.
        stretch: (A, B).
        store: see `edit_windows`.

    Returns:
        (first, end), the frames that had to be encoded again with them; of all others the packets were copied.
    """
    first, end = frames_to_encode(earlier, *stretch)
    fresh = finished_frames(job, windows, *stretch, store)
    replace_frames(earlier, _mixed(earlier, fresh, (first, end), stretch), first, end, audio_from=job.info.path)
    return first, end


def _mixed(
    earlier: ClipInfo, fresh: Iterator[Tensor], place: tuple[int, int], stretch: tuple[int, int]
) -> Iterator[Tensor | None]:
    """Frames of the stretch, at its ends mixed with the earlier edit; None around it: the earlier frame stays."""
    (first, end), (start, stop) = place, stretch
    yield from repeat(None, start - first)
    for t, picture in enumerate(iter_frames(earlier, stop - start, start=start), start):
        new = _to_size(next(fresh), earlier.size)
        yield torch.lerp(frame_to_tensor(picture), new, share_of_new(t, stretch, earlier.num_frames))
    yield from repeat(None, end - stop)


def share_of_new(t: int, stretch: tuple[int, int], num_frames: int) -> float:
    """Weight of the new frame t: a ramp inside either end of the stretch, none at an end of the clip."""
    start, stop = stretch
    fade = min(FADE, (stop - start - 1) // 2) + 1
    rise = (t - start + 1) / fade if start > 0 else 1.0
    fall = (stop - t) / fade if stop < num_frames else 1.0
    return min(1.0, rise, fall)


def _to_size(frame: Tensor, size: tuple[int, int]) -> Tensor:
    """Repeat the last row or column where the earlier edit has one more (H.264 wants even sides)."""
    return F.pad(frame, (0, size[1] - frame.shape[2], 0, size[0] - frame.shape[1]), mode="replicate")
