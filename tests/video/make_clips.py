"""Small video files made on the spot, of every kind that the tests need."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np


def picture(t: int, height: int, width: int) -> np.ndarray:
    """A smooth moving colour pattern, uint8 (H, W, 3)."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    waves = [np.sin((x * (c + 1) + 6 * t) / 17) + np.cos((y * (3 - c) - 4 * t) / 13) for c in range(3)]
    return np.clip(np.stack(waves, -1) * 55 + 128, 0, 255).astype(np.uint8)


def make_video(
    path: Path,
    *,
    codec: str = "libx264",
    size: tuple[int, int] = (48, 80),
    frames: int = 13,
    fps: Fraction = Fraction(30000, 1001),
    pix_fmt: str = "yuv420p",
    audio: str | None = None,
    rotation: int = 0,
    sample_aspect: Fraction | None = None,
    times: list[int] | None = None,
    options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
    draw=picture,
) -> Path:
    """Write a video with PyAV; ``times`` are presentation times in milliseconds (variable frame rate)."""
    with av.open(str(path), "w", options=container_options or {}) as out:
        stream = out.add_stream(codec, rate=fps, options=options or {})
        stream.height, stream.width, stream.pix_fmt = *size, pix_fmt
        if sample_aspect is not None:
            stream.codec_context.sample_aspect_ratio = sample_aspect
        if rotation:
            stream.set_display_rotation(rotation)
        if times is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        sound = out.add_stream(audio, rate=48000) if audio else None
        for t in range(frames):
            frame = av.VideoFrame.from_ndarray(draw(t, *size), "rgb24")
            if times is not None:
                frame.pts, frame.time_base = times[t], Fraction(1, 1000)
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
        if sound is not None:
            _tone(out, sound, seconds=frames / float(fps))
    return path


def make_sound(path: Path, codec: str = "aac", seconds: float = 0.5) -> Path:
    """Write a file that holds only sound."""
    with av.open(str(path), "w") as out:
        _tone(out, out.add_stream(codec, rate=48000), seconds)
    return path


def _tone(out, stream, seconds: float) -> None:
    samples = int(48000 * seconds)
    wave = np.sin(np.arange(samples) * 2 * np.pi * 440 / 48000).astype(np.float32) * 0.3
    size = stream.codec_context.frame_size or 1024
    resampler = av.AudioResampler(stream.codec_context.format, stream.codec_context.layout, 48000, size)
    for start in range(0, samples, 1024):
        frame = av.AudioFrame.from_ndarray(wave[None, start : start + 1024].copy(), "fltp", "mono")
        frame.sample_rate, frame.pts, frame.time_base = 48000, start, Fraction(1, 48000)
        for piece in resampler.resample(frame):
            out.mux(stream.encode(piece))
    for piece in resampler.resample(None):
        out.mux(stream.encode(piece))
    out.mux(stream.encode(None))
