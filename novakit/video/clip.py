"""Files to clips: reading, counting frames, and the 4k+1 rule. Source: ours."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from novakit.errors import NovaError, NovaNotice
from novakit.video.decode import Reader, choose_reader, iter_frames
from novakit.video.geometry import Fit, Geometry, frame_to_tensor
from novakit.video.probing import ClipInfo, probe

MAX_CLIP_BYTES = 4 * 2**30
"""A clip tensor above this size is refused before it is allocated."""


@dataclass(frozen=True)
class Clip:
    """A clip that was read from a file."""

    frames: Tensor  # (1, 3, T, H, W) float32 in [-1, 1], RGB
    info: ClipInfo  # of the file as a whole, also when only its first frames were read
    geometry: Geometry  # the way back to the source's size
    reader: Literal["decord", "pyav"]  # the road that was taken

    @property
    def num_frames(self) -> int:
        """T, the number of frames that were read."""
        return self.frames.shape[2]


def read_clip(
    path: str | Path | ClipInfo,
    *,
    size: tuple[int, int] | None = None,
    num_frames: int | None = None,
    fit: Fit = "stretch",
    reader: Reader = "auto",
) -> Clip:
    """Read a video file into a clip, resizing every frame while it is decoded.

    Only the resized clip and a few source frames are ever in memory. Frames come out upright, with
    square pixels, one per stored frame whatever their times (variable frame rates are not resampled).

    Args:
        path: mp4, mov, mkv, webm, avi or gif, or what :func:`probe` said about it.
        size: (H, W) wanted; None keeps the source's.
        num_frames: how many frames to take from the start; None takes all.
        fit: "stretch" the whole frame to ``size``, or "crop" the largest centred box of its aspect.
        reader: "auto", "decord" or "pyav"; both give the same frames.

    Returns:
        The Clip.

    Raises:
        NovaError: unreadable file, fewer frames than wanted, or a clip too large for memory.
    """
    info = path if isinstance(path, ClipInfo) else probe(path)
    wanted = _wanted_frames(info, num_frames)
    geometry = Geometry.between(info.size, size, fit)
    _check_memory(info, wanted, geometry.size)
    frames = torch.empty(1, 3, wanted, *geometry.size)  # (1, 3, T, H, W)
    for t, picture in enumerate(iter_frames(info, wanted, reader)):
        frames[0, :, t] = frame_to_tensor(picture, geometry)
    return Clip(frames, info, geometry, choose_reader(info, reader))


def _wanted_frames(info: ClipInfo, num_frames: int | None) -> int:
    if num_frames is None:
        return info.num_frames
    if num_frames < 1:
        raise NovaError(f"num_frames={num_frames} makes no sense; wanted 1..{info.num_frames}.")
    if num_frames > info.num_frames:
        raise NovaError(
            f"{info.path} has {info.num_frames} frames; {num_frames} were wanted. "
            f"Ask for {info.num_frames} or fewer, or repeat the last frame with pad_to_4k1."
        )
    return num_frames


def _check_memory(info: ClipInfo, frames: int, size: tuple[int, int]) -> None:
    wanted = 3 * frames * size[0] * size[1] * 4
    if wanted > MAX_CLIP_BYTES:
        raise NovaError(
            f"{info.path} as a clip of {frames} frames {size[1]}x{size[0]} would take "
            f"{wanted / 2**30:.1f} GiB; at most {MAX_CLIP_BYTES / 2**30:.0f} are read. "
            "Pass a smaller size=(H, W) or num_frames=."
        )


def largest_4k1(num_frames: int) -> int:
    """The largest 4k+1 that is at most ``num_frames`` (≥ 1): the frames that the VAE can take."""
    if num_frames < 1:
        raise NovaError(f"{num_frames} frames hold no clip; at least 1 is needed.")
    return num_frames - (num_frames - 1) % 4


def check_num_frames(clip: ClipInfo | Clip | int, max_frames: int) -> int:
    """Refuse a clip that is longer than the preset's T; too short ones are padded, not refused.

    Args:
        clip: the probed file, the clip, or its number of frames.
        max_frames: T of the preset, 4k+1.

    Returns:
        The number of frames.

    Raises:
        NovaError: more than ``max_frames``; names the number that fits.
    """
    frames = clip if isinstance(clip, int) else clip.num_frames
    if frames > max_frames:
        raise NovaError(
            f"clip has {frames} frames; {max_frames} fit. "
            f"Pass num_frames={max_frames} to edit the first {max_frames}, or cut a shorter file."
        )
    return frames


class PaddedClip(NamedTuple):
    """A clip whose last frame was repeated up to 4k+1 frames."""

    clip: Tensor  # (B, C, T, H, W) with T = 4k+1
    num_frames: int  # how many of them are real


def pad_to_4k1(clip: Tensor, num_frames: int | None = None) -> PaddedClip:
    """Repeat the last frame until the clip has 4k+1 frames, and say so.

    Args:
        clip: (B, C, T, H, W), clip or mask.
        num_frames: wanted length, 4k+1 and ≥ T; None takes the next 4k+1.

    Returns:
        The padded clip with the original T; a clip that fits comes back as it is. :func:`cut_back` undoes it.

    Raises:
        NovaError: no frames, or a wanted length that is not 4k+1 or below T.
    """
    if clip.ndim != 5 or clip.shape[2] < 1:
        raise NovaError(f"clip has shape {tuple(clip.shape)}; wanted (B, C, T, H, W) with T ≥ 1.")
    have = clip.shape[2]
    wanted = have + (1 - have) % 4 if num_frames is None else num_frames
    if wanted < have or (wanted - 1) % 4:
        raise NovaError(f"clip has {have} frames and cannot become {wanted}; pass a 4k+1 that is ≥ {have}.")
    if wanted == have:
        return PaddedClip(clip, have)
    warnings.warn(
        f"clip has {have} frames; NOVA needs 4k+1: the last frame was repeated {wanted - have} times "
        f"({wanted} frames) and the repeats are cut off again after the edit.",
        NovaNotice,
        stacklevel=2,
    )
    repeats = clip[:, :, -1:].expand(-1, -1, wanted - have, -1, -1)  # (B, C, wanted − T, H, W)
    return PaddedClip(torch.cat([clip, repeats], dim=2), have)


def cut_back(clip: Tensor, num_frames: int) -> Tensor:
    """Drop the frames that :func:`pad_to_4k1` added: (B, C, T, H, W) → (B, C, num_frames, H, W)."""
    if not 1 <= num_frames <= clip.shape[2]:
        raise NovaError(f"clip has {clip.shape[2]} frames; cannot be cut back to {num_frames}.")
    return clip[:, :, :num_frames]
