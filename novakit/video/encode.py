"""Clips to files: H.264 mp4 that browsers play, with the source's frame rate and sound. Source: ours."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import torch
from av.error import FFmpegError
from torch import Tensor

from novakit.errors import NovaError, NovaNotice
from novakit.files import atomic_path
from novakit.video.audio import SoundTrack
from novakit.video.geometry import Geometry, Size
from novakit.video.probing import reason

_BT709 = 1  # matrix, primaries and transfer of the ITU-T H.273 tables: what HD players assume
_MPEG_RANGE = 1  # luma 16..235
MP4_OPTIONS = {"movflags": "+faststart", "max_interleave_delta": "0"}
"""Index before the pictures; sound may come after all of them."""


def write_clip(
    path: str | Path,
    clip: Tensor | Iterable[Tensor],
    fps: Fraction | float,
    audio_from: str | Path | None = None,
    *,
    geometry: Geometry | None = None,
    crf: int = 16,
    longest_group: int | None = None,
) -> Path:
    """Write a clip as H.264 (yuv420p, BT.709, index first), one file frame per clip frame.

    4:2:0 colour needs even sizes: an odd clip gets its last row or column repeated once, with a
    notice. The sound is copied, cut to the length of the clip; codecs that browsers do not play in
    mp4 become AAC. The file appears complete or not at all.

    Args:
        path: the new file, ending in .mp4.
        clip: (1, 3, T, H, W) or (3, T, H, W) in [-1, 1], RGB (a mask (1, T, H, W) in {0, 1} is written
            grey), or frames (3, H, W) one by one, so that a long clip need not exist as a whole. Among them may
            be arrays (3H/2, W) of uint8, yuv420p as decoded: they are encoded without a detour through RGB.
        fps: frames per second, the source's ``info.fps``.
        audio_from: the file whose first sound track goes along; None or a silent file: no sound.
        geometry: brings each frame back to the source's size while it is written.
        crf: 0 (lossless colours) to 51 (worst).
        longest_group: most frames from one full picture to the next (x264's keyint); None: 250. Players seek to
            full pictures, and :func:`novakit.video.replace_frames` encodes whole groups.

    Returns:
        The path.

    Raises:
        NovaError: NaN or infinite values, another range or shape, a folder that cannot be written.
    """
    path = Path(path)
    if path.suffix.lower() != ".mp4":
        raise NovaError(f"{path.name} would be written as mp4. Give it a name that ends in .mp4.")
    rate = _check_fps(fps)
    sound = SoundTrack(audio_from) if audio_from is not None else None
    with atomic_path(path) as temporary:
        try:
            _write(temporary, _pictures(clip, geometry), rate, sound, crf, longest_group)
        except FFmpegError as error:
            raise NovaError(f"cannot write {path}: {reason(error)}. Is there room on the disk?") from None
    return path


def _write(
    path: Path,
    pictures: Iterator[np.ndarray],
    rate: Fraction,
    sound: SoundTrack | None,
    crf: int,
    longest_group: int | None,
) -> None:
    first = next(pictures, None)
    if first is None:
        raise NovaError("the clip has no frames; at least 1 is needed.")
    with av.open(str(path), "w", format="mp4", options=MP4_OPTIONS) as out:
        stream = _video_stream(out, rate, _size(first), crf)
        if longest_group is not None:  # and headers that do not depend on crf or content
            stream.options = {**stream.options, "g": str(longest_group), "x264-params": "stitchable=1"}
        if sound is not None:
            sound.open(out)
        written = 0
        for picture in _chain(first, pictures):
            _encode_one(out, stream, picture, written, rate)
            written += 1
        out.mux(stream.encode())
        if sound is not None:
            sound.copy(out, Fraction(written) / rate)


def _chain(first: np.ndarray, rest: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    yield first
    for picture in rest:
        if _size(picture) != _size(first):
            raise NovaError(f"frames change from {_size(first)} to {_size(picture)}; wanted one size.")
        yield picture


def _size(picture: np.ndarray) -> Size:
    """(H, W) of uint8 (H, W, 3), or of yuv420p (3H/2, W)."""
    return (picture.shape[0] if picture.ndim == 3 else picture.shape[0] * 2 // 3, picture.shape[1])


def _video_stream(out: av.container.OutputContainer, rate: Fraction, size: tuple[int, int], crf: int) -> av.VideoStream:
    threads = "1" if size[0] * size[1] < 640 * 480 else "0"  # one thread: on any machine nearly always the same bytes
    options = {"crf": str(crf), "preset": "medium", "threads": threads}
    stream = out.add_stream("libx264", rate=rate, options=options)
    stream.height, stream.width = size
    stream.pix_fmt = "yuv420p"
    context = stream.codec_context
    context.colorspace, context.color_primaries, context.color_trc = _BT709, _BT709, _BT709
    context.color_range = _MPEG_RANGE
    context.time_base = 1 / rate
    return stream


def _encode_one(
    out: av.container.OutputContainer, stream: av.VideoStream, picture: np.ndarray, t: int, rate: Fraction
) -> None:
    if picture.ndim == 3:
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
        frame = frame.reformat(format="yuv420p", dst_colorspace=_BT709)
    else:
        frame = av.VideoFrame.from_ndarray(picture, format="yuv420p")
    frame.pts, frame.time_base = t, 1 / rate
    out.mux(stream.encode(frame))


def _check_fps(fps: Fraction | float) -> Fraction:
    try:
        rate = Fraction(fps).limit_denominator(65_535)
    except (TypeError, ValueError, OverflowError):
        rate = Fraction(0)
    if not 0 < rate <= 1000:
        raise NovaError(f"fps={fps!r} makes no sense; wanted frames per second in (0, 1000], e.g. info.fps.")
    return rate


# From tensors to even-sized bytes ---------------------------------------------------------------


def _pictures(clip: Tensor | Iterable[Tensor], geometry: Geometry | None) -> Iterator[np.ndarray]:
    """uint8 (H, W, 3) with even H and W, one per frame; yuv420p (3H/2, W) goes through."""
    for t, frame in enumerate(_frames(clip)):
        if isinstance(frame, np.ndarray) and frame.ndim == 2:
            yield frame
            continue
        frame = frame if geometry is None else geometry.to_source(frame)
        picture = frame_to_uint8(frame, t)
        height, width = picture.shape[:2]
        wanted = even_size((height, width))
        if t == 0 and wanted != (height, width):
            warnings.warn(
                f"H.264 for browsers needs even sizes: {width}x{height} is written as "
                f"{wanted[1]}x{wanted[0]}, its last row or column repeated.",
                NovaNotice,
                stacklevel=4,
            )
        yield np.pad(picture, ((0, wanted[0] - height), (0, wanted[1] - width), (0, 0)), mode="edge")


def even_size(size: Size) -> Size:
    """The size (H, W) that `write_clip` gives a clip of `size`: odd sides grow by one pixel."""
    return size[0] + size[0] % 2, size[1] + size[1] % 2


def _frames(clip: Tensor | Iterable[Tensor]) -> Iterator[Tensor]:
    if not isinstance(clip, Tensor):
        yield from clip
        return
    one = clip[0] if clip.ndim == 5 and clip.shape[0] == 1 else clip  # (C, T, H, W)
    if one.ndim != 4 or one.shape[0] not in (1, 3) or 0 in one.shape:
        raise NovaError(f"clip has shape {tuple(clip.shape)}; wanted (1, 3, T, H, W) or (3, T, H, W).")
    if one.shape[0] == 1:
        one = one * 2.0 - 1.0  # mask: 0 black, 1 white
    for t in range(one.shape[1]):
        yield one[:, t].expand(3, -1, -1)  # (3, H, W)


def frame_to_uint8(frame: Tensor, t: int = 0) -> np.ndarray:
    """One frame (3, H, W) in [-1, 1] as uint8 (H, W, 3); a little overshoot is clamped.

    Raises:
        NovaError: NaN, infinity, integers, or values far outside [-1, 1] (0..255 forgotten to be scaled).
    """
    if not isinstance(frame, Tensor) or frame.ndim != 3 or frame.shape[0] != 3:
        raise NovaError(f"frame {t} is {_describe(frame)}; wanted a tensor (3, H, W).")
    if not frame.is_floating_point():
        raise NovaError(f"frame {t} is {_describe(frame)}; wanted floats in [-1, 1]. Use x / 127.5 - 1.")
    frame = frame.detach().float().cpu()
    low, high = (value.item() for value in frame.aminmax())  # NaN when one value is
    if not (math.isfinite(low) and math.isfinite(high)):
        raise NovaError(f"frame {t} holds NaN or infinite values; nothing was written. Check its maker.")
    if low < -3 or high > 3:
        raise NovaError(f"frame {t} lies in [{low:.3g}, {high:.3g}]; wanted [-1, 1]. Use x / 127.5 - 1.")
    bytes_ = frame.clamp(-1, 1).add_(1).mul_(127.5).round_().to(torch.uint8)
    return bytes_.permute(1, 2, 0).contiguous().numpy()  # (H, W, 3)


def _describe(frame: object) -> str:
    return f"{tuple(frame.shape)} {frame.dtype}" if isinstance(frame, Tensor) else type(frame).__name__
