"""From edited windows at the preset's size to finished frames of the source's size, one by one. Source: ours."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import repeat

from torch import Tensor

from novakit.editing.postprocess import paste_back
from novakit.editing.windows.edit import EditJob, edit_windows
from novakit.editing.windows.plan import Window, cross_fade, windows_of
from novakit.editing.windows.store import WindowStore
from novakit.video import Geometry, frame_to_tensor, iter_frames, iter_mask, resize
from novakit.video.geometry import same_aspect


def finished_frames(
    job: EditJob, windows: list[Window], start: int, stop: int, store: WindowStore | None = None
) -> Iterator[Tensor]:
    """Frames start..stop-1 of an edit, finished.

    A source of another size than the preset's gets the edit's upsampled difference added: detail is the source's.
    The file is therefore decoded twice, in step, which costs less than holding a window of large frames.

    Args:
        job: what to edit and how.
        windows: of the whole clip, from `plan_windows`.
        start, stop: which frames; only the windows that have a say in them are edited.
        store: see `edit_windows`.

    Yields:
        (3, H, W) in [-1, 1], of the source's size.
    """
    wanted = windows_of(windows, start, stop)
    faded = cross_fade(wanted, edit_windows(job, wanted, store))
    edits = (edit for t, edit in enumerate(faded, wanted[0].start) if t >= start)
    for source, mask, edit in zip(_sources(job, start, stop), _masks(job, start, stop), edits):
        frame = (source + job.geometry.to_source(edit)).clamp(-1, 1) if job.scaled else edit
        yield frame if mask is None else paste_back(frame, source, mask)


def _sources(job: EditJob, start: int, stop: int) -> Iterator[Tensor | None]:
    """Source frames (3, H, W) at their own size; None where they are not needed."""
    if not job.scaled and not job.paste_back:
        return repeat(None, stop - start)
    pictures = iter_frames(job.info, stop - start, start=start)
    return (resize(frame_to_tensor(picture), job.info.size) for picture in pictures)


def _masks(job: EditJob, start: int, stop: int) -> Iterator[Tensor | None]:
    """Masks (1, H, W) at the source's size; None where nothing is pasted back."""
    if not job.paste_back:
        return repeat(None, stop - start)
    small, size = job.geometry.size, job.info.size
    way = None if same_aspect(small, size) else Geometry.between(small, size)  # a mask of the small clip fits too
    return iter_mask(job.mask, job.info.num_frames, size, geometry=way, start=start)
