"""Two roads from a file to frames, decord and PyAV, behind one guarded door. Source: ours.

decord alone can hang, end the kernel or repeat frames when a file lies about itself. So every file
is probed first (:func:`novakit.video.probing.probe`); decord then gets a fresh reader per call, in one
thread of its own that can be given up, and must know of exactly as many frames as PyAV counted.
"""

from __future__ import annotations

import queue
import re
import threading
import warnings
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Literal

import numpy as np
import torch  # noqa: F401  (decord crashes on some CUDA machines when it is loaded before torch)
from av.error import FFmpegError

from novakit.errors import NovaError, NovaNotice
from novakit.video.probing import ClipInfo, open_video, reason, video_stream

Reader = Literal["auto", "decord", "pyav"]
DECORD_PATIENCE_SECONDS = 60.0
"""How long one frame may take before decord counts as hanging."""
_DECORD_CANNOT = {"gif", "av1"}  # its FFmpeg is of 2018
DECORD_BYTES = 2**28
"""Decoded size above which PyAV reads: decord's own thread decodes ahead of a slow caller without any limit."""


class _DecordFailed(Exception):
    """decord could not give the next frame; the message says why."""


def choose_reader(info: ClipInfo, reader: Reader = "auto") -> Literal["decord", "pyav"]:
    """Name the road that a file takes.

    Args:
        info: the probed file.
        reader: "auto" takes decord where it is installed, can read the codec and the decoded file is small, else PyAV.

    Raises:
        NovaError: unknown reader, or decord asked for by name but not installed.
    """
    if reader not in ("auto", "decord", "pyav"):
        raise NovaError(f"reader {reader!r} is unknown; choose 'auto', 'decord' or 'pyav'.")
    installed = _load_decord() is not None
    if reader == "decord" and not installed:
        raise NovaError("decord is not installed (it has no wheel for every machine). Use reader='auto'.")
    if reader != "auto":
        return reader
    return "decord" if installed and _suits_decord(info) else "pyav"


def _suits_decord(info: ClipInfo) -> bool:
    height, width = info.stored_size
    small = 3 * height * width * info.num_frames <= DECORD_BYTES
    return small and info.codec not in _DECORD_CANNOT and not info.hidden_frames


def iter_frames(
    info: ClipInfo, num_frames: int | None = None, reader: Reader = "auto", *, start: int = 0
) -> Iterator[np.ndarray]:
    """Decode a file frame by frame, upright, never holding more than a few frames.

    Args:
        info: the probed file.
        num_frames: how many, in 1..info.num_frames - start; None for all.
        reader: see :func:`choose_reader`. With "auto" PyAV goes on where decord gives up.
        start: frame index of the first one. Those before it are decoded and dropped: slower than a jump, but
            no container's index has to be trusted.

    Yields:
        uint8 arrays (H, W, 3), RGB, of ``info.stored_size``.

    Raises:
        NovaError: ``decoded n of m frames`` when the file gives fewer than its packets promise.
    """
    wanted = info.num_frames if num_frames is None else start + num_frames  # frame index of the end
    road, done = choose_reader(info, reader), start
    if road == "decord":
        try:
            for frame in _decord_frames(info, start, wanted):
                yield frame
                done += 1
        except _DecordFailed as error:
            if reader == "decord":
                why = f"decord: {error}; reader='auto' lets PyAV try"
                raise NovaError(_count_message(info, done, wanted, why)) from None
            warnings.warn(
                f"decord gave up on {info.path.name} after {done} frames ({error}); PyAV reads the rest.",
                NovaNotice,
                stacklevel=2,
            )
    for frame in _pyav_frames(info, done, wanted) if done < wanted else ():
        yield frame
        done += 1
    if done != wanted:
        raise NovaError(_count_message(info, done, wanted, "the rest cannot be decoded"))


def _count_message(info: ClipInfo, done: int, wanted: int, why: str) -> str:
    return (
        f"{info.path}: decoded {done} of {wanted} frames ({why}). The file is damaged: copy it again, "
        f"or keep the good part with num_frames={done} in read_clip, or as a file of its own with "
        f"`ffmpeg -i {info.path.name} -frames:v {done} good.mp4`."
        if done
        else f"{info.path}: decoded 0 of {wanted} frames ({why}). The file is damaged: copy it again."
    )


# The PyAV road ----------------------------------------------------------------------------------


def _pyav_frames(info: ClipInfo, start: int, wanted: int) -> Iterator[np.ndarray]:
    """Frames start..wanted-1."""
    done = 0
    try:
        with open_video(info.path, info.container) as opened:
            stream = video_stream(opened)
            for frame in islice(opened.decode(stream), wanted):
                if frame.is_corrupt:
                    raise NovaError(_count_message(info, done, wanted, f"frame {done} is damaged"))
                if done >= start:
                    yield _upright(frame.to_ndarray(format="rgb24"), info)
                done += 1
    except FFmpegError as error:
        raise NovaError(_count_message(info, done, wanted, reason(error))) from None


def _upright(picture: np.ndarray, info: ClipInfo) -> np.ndarray:
    """Turn a stored picture (H, W, 3) by quarter turns, counter-clockwise."""
    return np.ascontiguousarray(np.rot90(picture, info.rotation // 90))


# The decord road --------------------------------------------------------------------------------


def _load_decord():
    try:
        import decord
    except (ImportError, OSError):
        return None
    decord.logging.set_level(decord.logging.QUIET)
    return decord


def _decord_frames(info: ClipInfo, start: int, wanted: int) -> Iterator[np.ndarray]:
    """Frames start..wanted-1 from a reader that lives and dies in its own thread; at most three wait in the queue."""
    waiting: queue.Queue = queue.Queue(maxsize=2)
    stop = threading.Event()
    thread = threading.Thread(target=_run_decord, args=(info, start, wanted, waiting, stop), daemon=True)
    thread.start()
    try:
        for t in range(wanted):
            picture = _next_or_fail(waiting)
            if t >= start:
                yield picture
    finally:
        stop.set()


def _next_or_fail(waiting: queue.Queue) -> np.ndarray:
    try:
        item = waiting.get(timeout=DECORD_PATIENCE_SECONDS)
    except queue.Empty:
        raise _DecordFailed(f"no frame within {DECORD_PATIENCE_SECONDS:.0f} s") from None
    if isinstance(item, BaseException):
        plain = re.sub(r"\[[0-9:]+\] ?|/\S+", "", reason(item))  # decord names its own source files
        raise _DecordFailed(plain.strip() or "it cannot read on")
    return item


def _run_decord(info: ClipInfo, start: int, wanted: int, waiting: queue.Queue, stop: threading.Event) -> None:
    try:
        reader = _load_decord().VideoReader(str(info.path.resolve()), num_threads=1)
        if len(reader) != info.num_frames:
            raise _DecordFailed(f"decord counts {len(reader)} frames, the packets are {info.num_frames}")
        for t in range(wanted):
            picture = reader.next()
            if not _put(waiting, None if t < start else _as_array(picture, info), stop):
                return
    except Exception as error:  # decord raises RuntimeError, StopIteration and a class of its own
        _put(waiting, error, stop)


def _put(waiting: queue.Queue, item: object, stop: threading.Event) -> bool:
    """Hand an item over; False when nobody wants it any more."""
    while not stop.is_set():
        try:
            waiting.put(item, timeout=0.1)
            return True
        except queue.Full:
            continue
    return False


def _as_array(frame: object, info: ClipInfo) -> np.ndarray:
    """decord's NDArray, or what its global bridge made of it, as uint8 (H, W, 3).

    decord takes (bytes per row) / W for the number of channels, so a small frame whose rows are padded
    comes as (H, W, 4) or worse; the bytes are right, the padding is cut off here.
    """
    convert: Callable = getattr(frame, "asnumpy", None) or (lambda: np.asarray(frame))
    picture = convert()
    height, width = info.stored_size
    if picture.shape[:2] != (height, width) or picture.ndim != 3 or picture.shape[2] < 3:
        raise _DecordFailed(f"a frame of shape {picture.shape}, wanted {(height, width, 3)}")
    rows = picture.reshape(height, -1)[:, : 3 * width]  # (H, 3 W)
    return rows.reshape(height, width, 3)
