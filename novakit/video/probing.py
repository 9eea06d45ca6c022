"""Look at a video file before decoding it: what is inside, and is it safe to decode? Source: ours."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from statistics import median

import av
from av.error import FFmpegError
from av.stream import Disposition

from novakit.errors import NovaError
from novakit.video.container import check_container, require_file

MAX_FRAMES = 200_000
"""Longer files are refused from the header: about two hours at 30 frames/s."""
MAX_PIXELS = 36_000_000
"""Larger frames are refused from the header: 8K (7680 × 4320) passes, 8192 × 8192 does not."""


@dataclass(frozen=True)
class ClipInfo:
    """What a video file holds, before any of its frames is kept."""

    path: Path
    fps: Fraction  # frames per second; the average when the frame rate varies
    num_frames: int  # frames that a player shows, counted from the packets, not from the header
    height: int  # pixels, upright and square: rotation and sample aspect applied
    width: int
    stored_size: tuple[int, int]  # (H, W) of the decoded picture, upright, pixels as stored
    rotation: int  # degrees counter-clockwise that make the stored picture upright: 0, 90, 180, 270
    sample_aspect: Fraction  # width : height of one stored pixel, upright
    has_audio: bool
    variable_fps: bool  # frames are kept one by one; only their average rate is noted
    hidden_frames: int  # frames that an edit list takes away from the shown part
    container: str  # "mp4" (also mov), "matroska" (also webm), "gif" or "avi"
    codec: str  # FFmpeg's name, e.g. "h264"

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in upright, square pixels."""
        return self.height, self.width

    @property
    def seconds(self) -> float:
        """Playing time: num_frames / fps."""
        return float(self.num_frames / self.fps)


@dataclass(frozen=True)
class _Packets:
    shown: int
    hidden: int
    times: list[int]  # presentation times in ticks of the stream's time base, sorted


def probe(path: str | Path) -> ClipInfo:
    """Read the metadata of a video file; every packet is counted, one frame is decoded.

    The container is sniffed from the bytes and forced (playlists, image sequences and URLs never
    open), sizes are checked from the header before anything large is allocated, and a header that
    promises another number of frames than the file holds is refused.

    Args:
        path: mp4, mov, mkv, webm, avi or gif.

    Returns:
        The ClipInfo.

    Raises:
        NovaError: missing, empty, cut-off, damaged, audio-only or oversized file, or no video at all.
    """
    file = require_file(path)
    container = check_container(file)
    try:
        info, promised = _open_and_look(file, container)
        packets = _count_packets(file, container)
    except FFmpegError as error:
        raise NovaError(f"{file} cannot be read: {reason(error)}. It is damaged; copy it again.") from None
    return _with_counts(info, packets, promised)


def open_video(path: Path, container: str, **options: str) -> av.container.InputContainer:
    """Open a file with PyAV, the demuxer forced and only the local file allowed."""
    safe = {"protocol_whitelist": "file", "skip_frame": "all", **options}
    return av.open(str(path.resolve()), format=container, options=safe, metadata_errors="replace")


def video_stream(opened: av.container.InputContainer) -> av.VideoStream | None:
    """The first moving-picture stream (cover art does not count), single-threaded by slice, or None."""
    for stream in opened.streams.video:
        if stream.disposition & Disposition.attached_pic:
            continue
        if stream.codec_context is None:
            raise NovaError(f"{opened.name} has pictures in an unknown code. Export it as H.264 mp4.")
        stream.thread_type = "SLICE"  # frame threads hide the error of a cut file
        stream.codec_context.thread_count = 1
        return stream
    return None


def reason(error: BaseException) -> str:
    """One line of a dependency's error, without its paths."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return text.strip().splitlines()[-1][:120]


def _open_and_look(file: Path, container: str) -> tuple[ClipInfo, int]:
    with open_video(file, container) as opened:
        stream = video_stream(opened)
        if stream is None:
            what = "only sound" if opened.streams.audio else "no video stream"
            raise NovaError(f"{file} holds {what}; a file with moving pictures was wanted.")
        _check_budget(file, stream)
        fps, sample_aspect = _average_fps(stream), stream.sample_aspect_ratio or Fraction(1)
        details = {"has_audio": bool(opened.streams.audio), "codec": stream.codec_context.name}
        frame = next(opened.decode(stream), None)
        if frame is None:
            raise NovaError(f"{file} has a video stream without a single frame. Export it again.")
        promised = stream.frames
    info = ClipInfo(
        path=file,
        fps=fps,
        num_frames=0,
        height=frame.height,
        width=frame.width,
        stored_size=(frame.height, frame.width),
        rotation=frame.rotation % 360,
        sample_aspect=sample_aspect,
        variable_fps=False,
        hidden_frames=0,
        container=container,
        **details,
    )
    return _upright(info), promised


def _check_budget(file: Path, stream: av.VideoStream) -> None:
    width, height, frames = stream.codec_context.width, stream.codec_context.height, stream.frames
    if width < 1 or height < 1:
        raise NovaError(f"{file} does not state its picture size; the file is damaged or not finished.")
    if width * height > MAX_PIXELS:
        raise NovaError(
            f"{file} has frames of {width}x{height}; at most {MAX_PIXELS / 1e6:.0f} megapixels are read. "
            "Scale it down first, e.g. `ffmpeg -i in.mp4 -vf scale=1280:-2 out.mp4`."
        )
    if frames > MAX_FRAMES:
        raise NovaError(
            f"{file} claims {frames} frames; at most {MAX_FRAMES} are read. "
            "Cut a part out first, e.g. `ffmpeg -ss 10 -t 5 -i in.mp4 out.mp4`."
        )


def _average_fps(stream: av.VideoStream) -> Fraction:
    for rate in (stream.average_rate, stream.guessed_rate, stream.base_rate):
        if rate and 0 < rate <= 1000:
            return Fraction(rate)
    return Fraction(0)  # refused after counting


def _upright(info: ClipInfo) -> ClipInfo:
    """Apply rotation, then make pixels square by enlarging the shorter pixel side."""
    if info.rotation % 90:
        raise NovaError(f"{info.path} is rotated by {info.rotation} degrees; only quarter turns are read.")
    (height, width), aspect = info.stored_size, info.sample_aspect
    if aspect <= 0 or not Fraction(1, 8) <= aspect <= 8:
        aspect = Fraction(1)
    if info.rotation in (90, 270):
        height, width, aspect = width, height, 1 / aspect
    square = (height, round(width * aspect)) if aspect >= 1 else (round(height / aspect), width)
    return replace(info, height=square[0], width=square[1], stored_size=(height, width), sample_aspect=aspect)


def _count_packets(file: Path, container: str, **options: str) -> _Packets:
    """Read every packet of the stream, decode none."""
    shown, hidden, times = 0, 0, []
    with open_video(file, container, **options) as opened:
        stream = video_stream(opened)
        codec = stream.codec_context.name
        for packet in opened.demux(stream):
            if packet.size == 0:
                continue
            if packet.is_discard or (codec == "vp8" and not bytes(packet)[0] & 0x10):
                hidden += 1  # outside the edit list, or VP8's invisible reference frame
                continue
            shown += 1
            if packet.pts is not None:
                times.append(packet.pts)
            if shown > MAX_FRAMES:
                raise NovaError(f"{file} has more than {MAX_FRAMES} frames. Cut a part out first.")
    return _Packets(shown, hidden, sorted(times))


def _with_counts(info: ClipInfo, packets: _Packets, promised: int) -> ClipInfo:
    found = packets.shown + packets.hidden
    hidden = packets.hidden
    if promised and found != promised:
        options = {"ignore_editlist": "1"} if info.container == "mp4" else {}
        whole = _count_packets(info.path, info.container, **options)
        if whole.shown + whole.hidden != promised:
            raise NovaError(
                f"{info.path} is damaged: it holds {found} of {promised} frames that its header promises. "
                "Copy it again or re-encode it with `ffmpeg -i broken.mp4 whole.mp4`."
            )
        hidden = promised - packets.shown
    if packets.shown == 0:
        raise NovaError(f"{info.path} shows no frames at all. Export it again.")
    return replace(
        info,
        num_frames=packets.shown,
        hidden_frames=hidden,
        variable_fps=_varies(packets.times),
        fps=info.fps or _require_fps(info.path),
    )


def _require_fps(path: Path) -> Fraction:
    raise NovaError(f"{path} states no frame rate. Re-encode it, e.g. `ffmpeg -i in.mp4 -r 25 out.mp4`.")


def _varies(times: list[int]) -> bool:
    """True when frame distances differ by more than rounding (two ticks) and 20 % of the usual one."""
    steps = [after - before for before, after in zip(times, times[1:], strict=False)]
    if len(steps) < 2:
        return False
    usual = median(steps)
    return any(abs(step - usual) > max(2, 0.2 * usual) for step in steps)
