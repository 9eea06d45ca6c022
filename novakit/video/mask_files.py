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
    path, size = Path(path), check_size(size)
    to_size = ToSize(size, geometry, "mask")
    mask = torch.empty(1, 1, num_frames, *size)  # (1, 1, T, H, W)
    for t, (name, picture) in enumerate(_pictures(path, num_frames, source_frames)):
        grey = to_size(picture, name).mean(0) * 0.5 + 0.5  # (H, W) in [0, 1]
        mask[0, 0, t] = (grey > THRESHOLD).float()
    to_size.notice()
    if not bool(mask.any()):
        raise NovaError(f"mask {path} is black everywhere; white marks where content changes. Inverted?")
    return mask


def _pictures(path: Path, num_frames: int, source_frames: int | None) -> Iterator[tuple[str, np.ndarray]]:
    """(name, uint8 (H, W, 3)) for each of the T frames."""
    if path.is_dir():
        yield from _from_folder(path, num_frames, source_frames)
    elif path.suffix.lower() in IMAGE_SUFFIXES:
        if not path.exists():
            raise NovaError(f"{path} does not exist; a mask image, folder or video was wanted.")
        picture = read_image(path)
        yield from ((path.name, picture) for _ in range(num_frames))
    else:
        info = open_matching_video(path, "mask", num_frames, source_frames)
        for t, picture in enumerate(iter_frames(info, num_frames)):
            yield f"frame {t}", square_pixels(picture, info)


def _from_folder(path: Path, num_frames: int, source_frames: int | None) -> Iterator[tuple[str, np.ndarray]]:
    files = indexed_images(path, max(num_frames, source_frames or 0))
    missing = [t for t in range(num_frames) if t not in files]
    if missing:
        raise NovaError(
            f"mask folder {path} lacks {len(missing)} of {num_frames} frames (first: {missing[0]}). "
            f"Name one image per frame, {0:03d}.png to {num_frames - 1:03d}.png."
        )
    for t in range(num_frames):
        yield files[t].name, read_image(files[t])
