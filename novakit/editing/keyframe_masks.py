"""The masks of a clip's keyframes, at the source's own size, a few at a time. Source: ours.

A video or a folder holds a mask for every frame. One image is a mask that was drawn on one frame: optical flow
or SAM 2 carries it to the others (`editing.masks`), and says how far to trust each.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from novakit.editing.inputs import notice
from novakit.errors import NovaError
from novakit.video.decode import iter_frames
from novakit.video.keyframe_files import (
    IMAGE_SUFFIXES,
    ToSize,
    indexed_images,
    open_matching_video,
    read_image,
    square_pixels,
)
from novakit.video.mask_files import THRESHOLD
from novakit.video.probing import ClipInfo

if TYPE_CHECKING:
    from novakit.editing.masks import PropagatedMask

READER = "pyav"  # as fast as decord, which decodes up to 64 frames ahead (400 MB at 1080p) when frames take long
FLOW, SAM = "flow", "sam2"  # what carries a drawn mask
DOUBTFUL = 0.5  # confidence below which a propagated mask is worth a look


@dataclass(frozen=True)
class KeyframeMasks:
    """Where to find the mask of every keyframe."""

    path: Path
    info: ClipInfo  # of the source
    indices: tuple[int, ...]  # keyframes, ascending
    propagated: PropagatedMask | None  # of one drawn mask; None = the file holds one for every frame

    @classmethod
    def of(
        cls, path: str | Path, info: ClipInfo, indices: tuple[int, ...], drawn_on: int = 0, by: str | Path = FLOW
    ) -> KeyframeMasks:
        """Check a mask, and propagate it when it is one image.

        Args:
            path: a video as long as the source, a folder with an image for every keyframe, or one image.
            info: the source.
            indices: frame indices of the keyframes.
            drawn_on: the frame that a single image was drawn on.
            by: what carries a single image: "flow", "sam2", or a folder or hub id of SAM 2's weights.

        Raises:
            NovaError: nothing there, another length or aspect, a keyframe without mask, all of them empty, or nothing
                to carry.
        """
        path = Path(path)
        if not path.exists():
            raise NovaError(f"mask {path} does not exist; wanted a video, a folder of images or one image.")
        if not _is_image(path) and str(by) != FLOW:
            raise NovaError(
                f"mask {path} holds a mask for every keyframe, so {by} (--mask-by) has nothing to carry. Leave "
                "it out, or pass one image."
            )
        propagated = _propagate(path, info, indices, drawn_on, by) if _is_image(path) else None
        masks = cls(path, info, indices, propagated)
        if not any(bool(mask.any()) for mask in masks):
            raise NovaError(
                f"mask {path} is black in every keyframe; white marks where content changes. Inverted, or is the "
                "content to change only seen between the keyframes (another --interval)?"
            )
        return masks

    def __iter__(self) -> Iterator[Tensor]:
        """(1, H, W) in {0, 1}, float32, for every keyframe in order, each read when it is asked for."""
        if self.propagated is not None:
            yield from (self.propagated.masks[index] for index in self.indices)
            return
        to_size = ToSize(self.info.size, None, "mask")
        for name, picture in _pictures(self.path, self.info, self.indices):
            yield _binary(picture, name, to_size)
        to_size.notice()

    @property
    def confidence(self) -> dict[int, float]:
        """How far to trust a propagated mask, by keyframe; empty for masks that were not propagated."""
        return {} if self.propagated is None else {k: self.propagated.confidence[k] for k in self.indices}

    def remark(self, index: int) -> str:
        """What to say about the mask of a keyframe on the contact sheet."""
        return f"mask confidence {self.confidence[index]:.2f}" if self.confidence else ""


def _is_image(path: Path) -> bool:
    return path.is_file() and path.suffix.lower() in IMAGE_SUFFIXES


def _binary(picture: np.ndarray, name: str, to_size: ToSize) -> Tensor:
    """uint8 (H, W, 3) of any size to (1, H, W) in {0, 1} of the source's."""
    if picture.shape[:2] == to_size.size:  # the same, ten times faster at 1080p
        grey = torch.from_numpy(np.ascontiguousarray(picture)).sum(2, dtype=torch.int16)  # (H, W)
        return (grey > THRESHOLD * 3 * 255).float()[None]
    return (to_size(picture, name).mean(0, keepdim=True) * 0.5 + 0.5 > THRESHOLD).float()


def _pictures(path: Path, info: ClipInfo, indices: Sequence[int]) -> Iterator[tuple[str, np.ndarray]]:
    """(name, uint8 (H, W, 3)) of the mask of every keyframe."""
    if path.is_dir():
        yield from _from_folder(path, info, indices)
        return
    video, wanted = open_matching_video(path, "mask", info.num_frames, None), set(indices)
    for t, picture in enumerate(iter_frames(video, indices[-1] + 1, READER)):
        if t in wanted:
            yield f"frame {t}", square_pixels(picture, video)


def _from_folder(path: Path, info: ClipInfo, indices: Sequence[int]) -> Iterator[tuple[str, np.ndarray]]:
    files = indexed_images(path, info.num_frames)
    missing = [index for index in indices if index not in files]
    if missing:
        raise NovaError(
            f"mask folder {path} lacks {len(missing)} of {len(indices)} keyframes (first: {missing[0]}). Name one "
            f"image per keyframe, e.g. {missing[0]:03d}.png."
        )
    yield from ((files[index].name, read_image(files[index])) for index in indices)


def _propagate(path: Path, info: ClipInfo, indices: tuple[int, ...], drawn_on: int, by: str | Path) -> PropagatedMask:
    """One drawn mask for all frames."""

    if not 0 <= drawn_on < info.num_frames:
        raise NovaError(
            f"mask index {drawn_on} (--mask-index) lies outside the clip of {info.num_frames} frames; wanted the frame "
            f"that {path.name} was drawn on, 0 to {info.num_frames - 1}."
        )
    to_size = ToSize(info.size, None, "mask")
    mask = _binary(read_image(path), path.name, to_size)
    to_size.notice()
    if not mask.any():
        raise NovaError(f"mask {path} is black everywhere; white marks where content changes. Inverted?")
    found = _carry(info, mask, drawn_on, by)
    doubtful = [index for index in indices if found.confidence[index] < DOUBTFUL]
    if doubtful:
        listed = ", ".join(f"{index} ({found.confidence[index]:.2f})" for index in doubtful[:8])
        more = f" and {len(doubtful) - 8} more" if len(doubtful) > 8 else ""
        notice(
            f"the mask could hardly be followed to keyframes {listed}{more} (confidence below {DOUBTFUL}). Look at the "
            "contact sheet; draw it on another frame (--mask-index), or pass a mask for every keyframe."
        )
    return found


def _carry(info: ClipInfo, mask: Tensor, drawn_on: int, by: str | Path) -> PropagatedMask:
    from novakit.editing.masks import propagate_mask, propagate_mask_sam
    from novakit.editing.masks.sam_weights import SAM_MODEL

    if str(by) == FLOW:
        return propagate_mask(info, mask, drawn_on)
    return propagate_mask_sam(info, mask, drawn_on, model=SAM_MODEL if str(by) == SAM else by)
