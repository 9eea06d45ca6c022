"""Masks (1 where content changes) from a video, an image or a folder of images. Source: ours."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from novakit.errors import NovaError
from novakit.video.decode import iter_frames
from novakit.video.geometry import Geometry, Size, check_size
from novakit.video.keyframe_files import (
    IMAGE_SUFFIXES,
    ToSize,
    indexed_images,
    open_matching_video,
    read_image,
    square_pixels,
)

THRESHOLD = 0.5
"""Grey above this (0 black, 1 white) means: content changes here."""


def read_mask(
    path: str | Path,
    num_frames: int,
    size: Size,
    *,
    geometry: Geometry | None = None,
    source_frames: int | None = None,
) -> Tensor:
    """Read a mask at the clip's size; grey is thresholded at 0.5 after the resize.

    Args:
        path: a video, one image (the same mask for every frame), or a folder with one image per
            frame, named by frame index.
        num_frames: T of the clip.
        size: (H, W) of the clip.
        geometry: how the source became the clip; a mask of the source's aspect takes the same way.
        source_frames: see :func:`novakit.video.read_keyframes`.

    Returns:
        (1, 1, T, H, W) float32 in {0, 1}.

    Raises:
        NovaError: another length or aspect, an unreadable file, or a mask that is black everywhere.
    """
    to_size = ToSize(check_size(size), geometry, "mask")
    mask = torch.empty(1, 1, num_frames, *to_size.size)  # (1, 1, T, H, W)
    for t, frame in enumerate(_masks(Path(path), num_frames, to_size, source_frames)):
        mask[0, :, t] = frame
    to_size.notice()
    if not bool(mask.any()):
        raise _black(path)
    return mask


def iter_mask(
    path: str | Path, num_frames: int, size: Size, *, geometry: Geometry | None = None, start: int = 0
) -> Iterator[Tensor]:
    """The masks of :func:`read_mask` one by one, from frame ``start`` on: (1, H, W) in {0, 1} each.

    Args:
        path, num_frames, size, geometry: as :func:`read_mask`; a mask that is black everywhere passes.
        start: frame index of the first one.
    """
    yield from _masks(Path(path), num_frames, ToSize(check_size(size), geometry, "mask"), None, start)


def check_mask_file(path: str | Path, num_frames: int, size: Size, *, geometry: Geometry | None = None) -> None:
    """Read a mask up to its first white pixel: a bad one is found before anything is computed.

    Args:
        path, num_frames, size, geometry: as :func:`read_mask`.

    Raises:
        NovaError: as :func:`read_mask`.
    """
    to_size = ToSize(check_size(size), geometry, "mask")
    found = any(bool(frame.any()) for frame in _masks(Path(path), num_frames, to_size, None))
    to_size.notice()
    if not found:
        raise _black(path)


def _black(path: str | Path) -> NovaError:
    return NovaError(f"mask {path} is black everywhere; white marks where content changes. Inverted?")


def _masks(path: Path, num_frames: int, to_size: ToSize, source_frames: int | None, start: int = 0) -> Iterator[Tensor]:
    for name, picture in _pictures(path, num_frames, source_frames, start):
        grey = to_size(picture, name).mean(0, keepdim=True) * 0.5 + 0.5  # (1, H, W) in [0, 1]
        yield (grey > THRESHOLD).float()


def _pictures(path: Path, num_frames: int, source_frames: int | None, start: int) -> Iterator[tuple[str, np.ndarray]]:
    """(name, uint8 (H, W, 3)) for each of the frames start..T-1."""
    if path.is_dir():
        yield from _from_folder(path, num_frames, source_frames, start)
    elif path.suffix.lower() in IMAGE_SUFFIXES:
        if not path.exists():
            raise NovaError(f"{path} does not exist; a mask image, folder or video was wanted.")
        picture = read_image(path)
        yield from ((path.name, picture) for _ in range(start, num_frames))
    else:
        info = open_matching_video(path, "mask", num_frames, source_frames)
        for t, picture in enumerate(iter_frames(info, num_frames - start, start=start), start):
            yield f"frame {t}", square_pixels(picture, info)


def _from_folder(
    path: Path, num_frames: int, source_frames: int | None, start: int
) -> Iterator[tuple[str, np.ndarray]]:
    files = indexed_images(path, max(num_frames, source_frames or 0))
    missing = [t for t in range(num_frames) if t not in files]
    if missing:
        raise NovaError(
            f"mask folder {path} lacks {len(missing)} of {num_frames} frames (first: {missing[0]}). "
            f"Name one image per frame, {0:03d}.png to {num_frames - 1:03d}.png."
        )
    for t in range(start, num_frames):
        yield files[t].name, read_image(files[t])
