"""The sound of the source goes along with the edited clip. Source: ours."""

from __future__ import annotations

import warnings
from fractions import Fraction
from pathlib import Path

import av
from av.error import FFmpegError

from novakit.errors import NovaError, NovaNotice
from novakit.video.container import check_container, require_file
from novakit.video.probing import open_video, reason, video_stream

COPIED_CODECS = ("aac", "mp3", "mp3float", "opus", "flac")
"""Codecs that current browsers play inside mp4; packets are copied untouched, others become AAC."""


class SoundTrack:
    """The first sound track of a file, copied (or re-encoded) into a new one.

    Use: make it before the new file is opened, ``open`` it before the first video frame is written
    (mp4 wants all its streams then), ``copy`` after the last one.

    Args:
        path: a video file; a silent one gives no track.

    Raises:
        NovaError: the file cannot be read.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = require_file(path)
        self.container = check_container(self.path)
        self.start = Fraction(0)  # when the picture starts, in seconds; sound is shifted with it
        self.codec: str | None = None
        self._stream: av.AudioStream | None = None
        try:
            self._look()
        except FFmpegError as error:
            raise NovaError(f"cannot read the sound of {self.path}: {reason(error)}.") from None

    @property
    def copies(self) -> bool:
        """True when the packets go over untouched."""
        return self.codec in COPIED_CODECS

    def _look(self) -> None:
        with open_video(self.path, self.container) as source:
            picture = video_stream(source)
            if picture is not None and picture.start_time is not None:
                self.start = picture.start_time * picture.time_base
            for stream in source.streams.audio[:1]:
                self.codec = None if stream.codec_context is None else stream.codec_context.name

    def open(self, out: av.container.OutputContainer) -> None:
        """Add the stream to the new file (none when there is no sound)."""
        if self.codec is None:
            return
        with open_video(self.path, self.container) as source:
            sound = source.streams.audio[0]
            if self.copies:
                self._stream = out.add_stream_from_template(sound)
            else:
                self._stream = out.add_stream("aac", rate=sound.codec_context.sample_rate)
                self._stream.codec_context.layout = "stereo" if sound.codec_context.channels > 1 else "mono"

    def copy(self, out: av.container.OutputContainer, seconds: Fraction) -> None:
        """Write the sound of the first ``seconds`` seconds; what is damaged is left out with a notice."""
        if self._stream is None:
            return
        try:
            self._copy(out, seconds)
        except FFmpegError as error:
            message = f"the sound of {self.path.name} is damaged ({reason(error)}); the rest of it is left out."
            warnings.warn(message, NovaNotice, stacklevel=4)

    def _copy(self, out: av.container.OutputContainer, seconds: Fraction) -> None:
        with open_video(self.path, self.container) as source:
            sound = source.streams.audio[0]
            if self.copies:
                self._copy_packets(out, source, sound, seconds)
            else:
                self._encode_again(out, source, sound, seconds)

    def _copy_packets(self, out, source, sound, seconds: Fraction) -> None:
        shift = round(self.start / sound.time_base)
        for packet in source.demux(sound):
            if packet.dts is None or packet.pts is None:
                continue
            packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
            if packet.pts * sound.time_base >= seconds:
                break
            packet.stream = self._stream
            out.mux(packet)

    def _encode_again(self, out, source, sound, seconds: Fraction) -> None:
        context = self._stream.codec_context
        resampler = av.AudioResampler("fltp", context.layout, context.sample_rate, frame_size=1024)
        for frame in source.decode(sound):
            if frame.pts is None:
                continue
            time = frame.pts * frame.time_base - self.start
            if time >= seconds:
                break
            frame.pts = round(time / frame.time_base)
            for piece in resampler.resample(frame):
                out.mux(self._stream.encode(piece))
        for piece in resampler.resample(None):
            out.mux(self._stream.encode(piece))
        out.mux(self._stream.encode(None))
