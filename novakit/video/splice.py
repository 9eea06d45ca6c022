"""Other frames in the middle of a clip that `write_clip` wrote; the packets around them are copied untouched.

H.264 comes in groups of frames that start with a full picture and refer to nothing outside. The groups that hold
a replaced frame are encoded again with the same settings; of all others not a bit changes. Source: ours.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path

import av
import numpy as np
import torch
from av.error import FFmpegError
from torch import Tensor

from novakit.errors import NovaError
from novakit.files import atomic_path
from novakit.video.audio import SoundTrack
from novakit.video.encode import MP4_OPTIONS, write_clip
from novakit.video.probing import ClipInfo, open_video, reason, video_stream

GROUP = 48
"""Frames of the longest group in an edit: what is encoded again around a replaced stretch stays short."""
NEAR_LOSSLESS = 10
"""crf of what is encoded again: frames of the old clip among it lose hardly anything."""


@dataclass(frozen=True)
class _Groups:
    """How a file is coded."""

    starts: tuple[int, ...]  # frame indices at which groups start, ascending
    settings: bytes  # the stream's parameter sets: packets of equal settings go together
    delay: int  # frames that decoding runs ahead of showing


def frames_to_encode(info: ClipInfo, start: int, stop: int) -> tuple[int, int]:
    """What must be encoded again when frames start..stop-1 are replaced.

    Args:
        info: a probed clip of `write_clip`.
        start: first frame index.
        stop: end, > start.

    Returns:
        (first, end) of the groups that hold those frames; the whole clip where another version of the encoder
        wrote it, so that its packets do not go together with new ones.
    """
    groups = _groups(info)
    if groups.settings != _settings_of_this_encoder(info):
        return 0, info.num_frames
    first = max(t for t in groups.starts if t <= start)
    return first, min((t for t in groups.starts if t >= stop), default=info.num_frames)


def replace_frames(
    info: ClipInfo, frames: Iterable[Tensor | None], first: int, end: int, audio_from: str | Path | None = None
) -> None:
    """Replace frames first..end-1 of a clip in its place.

    Args:
        info: the probed clip.
        frames: (3, H, W) in [-1, 1], end - first of them; None keeps the old frame.
        first, end: what `frames_to_encode` said.
        audio_from: the file whose sound the clip has.

    Raises:
        NovaError: as `write_clip`; the clip then stays as it was.
    """
    pictures = _filled(info, frames, first, end)
    if (first, end) == (0, info.num_frames):
        write_clip(info.path, pictures, info.fps, audio_from, crf=NEAR_LOSSLESS, longest_group=GROUP)
        return
    with tempfile.TemporaryDirectory(prefix=".", dir=info.path.parent) as folder:
        part = write_clip(Path(folder) / "part.mp4", pictures, info.fps, crf=NEAR_LOSSLESS, longest_group=GROUP)
        sound = SoundTrack(audio_from) if audio_from is not None else None
        with atomic_path(info.path) as whole:
            try:
                _join(whole, info, part, (first, end), sound)
            except FFmpegError as error:
                raise NovaError(f"cannot write {info.path}: {reason(error)}. Is there room on the disk?") from None


def _join(whole: Path, info: ClipInfo, part: Path, place: tuple[int, int], sound: SoundTrack | None) -> None:
    """The old packets before, the new ones, the old ones behind, in the order of decoding; then the sound."""
    delay = _groups(info).delay
    with (
        av.open(str(whole), "w", format="mp4", options=MP4_OPTIONS) as out,
        open_video(info.path, info.container) as old,
        open_video(part, "mp4") as new,
    ):
        stream = out.add_stream_from_template(video_stream(old))
        if sound is not None:
            sound.open(out)
        fresh = ((place[0] + shown, packet) for shown, packet in _packets(new, info.fps))
        for n, (shown, packet) in enumerate(_exchanged(_packets(old, info.fps), fresh, *place)):
            packet.time_base = 1 / info.fps
            packet.pts, packet.dts, packet.duration, packet.stream = shown, n - delay, 1, stream
            out.mux(packet)
        if sound is not None:
            sound.copy(out, Fraction(info.num_frames) / info.fps)


def _filled(info: ClipInfo, frames: Iterable[Tensor | None], first: int, end: int) -> Iterator[Tensor | np.ndarray]:
    """`frames`, and in the place of each None the old picture as it was coded, yuv420p (3H/2, W) of uint8."""
    with open_video(info.path, info.container) as opened:
        pictures = islice(opened.decode(video_stream(opened)), first, end)
        for picture, frame in zip(pictures, frames, strict=True):
            yield picture.to_ndarray(format="yuv420p") if frame is None else frame


def _exchanged(old: Iterator, fresh: Iterator, first: int, end: int) -> Iterator:
    """`old`, with `fresh` in the place of its items first..end-1."""
    yield from islice(old, first)
    yield from fresh
    yield from islice(old, end - first, None)


def _packets(opened: av.container.InputContainer, fps: Fraction) -> Iterator[tuple[int, av.Packet]]:
    """(frame index, packet) in the order of decoding."""
    for packet in opened.demux(video_stream(opened)):
        if packet.size:
            yield round(packet.pts * packet.time_base * fps), packet


def _groups(info: ClipInfo) -> _Groups:
    starts, seen, delay = [], -1, 0
    with open_video(info.path, info.container) as opened:
        settings = bytes(video_stream(opened).codec_context.extradata or b"")
        for n, (shown, packet) in enumerate(_packets(opened, info.fps)):
            if packet.is_keyframe and shown == n == seen + 1:  # all earlier frames come earlier in the file too
                starts.append(n)
            seen = max(seen, shown)
            delay = round((packet.pts - packet.dts) * packet.time_base * info.fps) if n == 0 else delay
    return _Groups(tuple(starts), settings, delay)


def _settings_of_this_encoder(info: ClipInfo) -> bytes:
    """Parameter sets that `write_clip` gives a clip of this size and rate."""
    grey = torch.zeros(3, *info.size)
    with tempfile.TemporaryDirectory() as folder:
        path = write_clip(Path(folder) / "grey.mp4", [grey], info.fps, longest_group=GROUP)
        with open_video(path, "mp4") as opened:
            return bytes(video_stream(opened).codec_context.extradata or b"")
