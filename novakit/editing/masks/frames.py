"""The frames that a mask is carried over: one after another, from a file, a clip or a generator. Source: ours."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from novakit.editing.inputs import as_clip, image_to_tensor
from novakit.editing.masks.flow import load_cv2
from novakit.errors import NovaError
from novakit.video.decode import iter_frames
from novakit.video.keyframe_files import square_pixels
from novakit.video.probing import ClipInfo, probe

READER = "pyav"  # decord decodes up to 64 frames ahead: 400 MB at 1080p
_SIDES = (384, 512)  # px of the longer side: smaller frames are enlarged to 384, larger ones reduced to 512
_SHORTEST = 64  # px of the shorter side, which DIS needs
_IN_MEMORY = 64 * 2**20  # bytes of waiting frames; more go to a temporary file
_LUMA = torch.tensor([0.299, 0.587, 0.114])

Picture = np.ndarray | Tensor
"""uint8 (H, W, 3), or float (3, H, W) in [-1, 1]."""


def each_frame(frames: Any, size: tuple[int, int]) -> Iterator[Picture]:
    """The frames one by one, never more than one held.

    Args:
        frames: a path or ClipInfo (the file is decoded), an iterable of frames, or a clip as `as_clip` takes it.
        size: (H, W) of the drawn mask, and of every frame.

    Raises:
        NovaError: frames of another size, something that is no frame, NaN, more than one clip.
    """
    for t, picture in enumerate(_source(frames)):
        own = tuple(picture.shape[:2] if isinstance(picture, np.ndarray) else picture.shape[1:])
        if own != size:
            raise NovaError(
                f"frame {t} is {own[1]}x{own[0]} pixels, the drawn mask {size[1]}x{size[0]}; wanted one size. "
                "Resize the mask to the frames (a mask that novakit reads from a file has their size)."
            )
        yield picture


def _source(frames: Any) -> Iterator[Picture]:
    if isinstance(frames, str | Path):
        frames = probe(frames)
    if isinstance(frames, ClipInfo):
        return (square_pixels(picture, frames) for picture in iter_frames(frames, reader=READER))
    is_clip = isinstance(frames, Tensor | np.ndarray) or hasattr(frames, "frames")
    if not is_clip and isinstance(frames, Iterable) and not isinstance(frames, dict | Image.Image):
        return (_checked(frame, t) for t, frame in enumerate(frames))
    clip = getattr(frames, "frames", frames)
    if not isinstance(clip, Tensor) or clip.ndim not in (4, 5) or clip.shape[-4] != 3:
        clip = as_clip(frames)  # arrays; and says what is wrong with the rest
    if clip.ndim == 5 and len(clip) != 1:
        raise NovaError(f"{len(clip)} clips were given with one mask; pass one at a time, clip[i : i + 1].")
    return (_checked(frame, t) for t, frame in enumerate(clip.reshape(clip.shape[-4:]).unbind(1)))


def _checked(frame: Any, t: int) -> Tensor:
    """A frame as (3, H, W) in [-1, 1]; one that is already is looked through once."""
    if isinstance(frame, Tensor) and frame.ndim == 3 and frame.shape[0] == 3 and frame.numel():
        low, high = frame.aminmax()  # NaN, if there is one
        if low >= -1.0 and high <= 1.0:
            return frame
    return image_to_tensor(frame, f"frame {t}")


def working_size(size: tuple[int, int]) -> tuple[int, int]:
    """(H, W) that flow is computed at: the longer side between 384 and 512 px, the shorter one at least 64.

    Larger frames cost more and carry a mask no better (tried at 832 px); on a tiny frame DIS, which matches patches of
    8 px, sees too little.
    """
    longer = max(size)
    scale = min(max(longer, _SIDES[0]), _SIDES[1]) / longer
    height, width = (max(_SHORTEST, round(side * scale)) for side in size)
    return height, width


def to_grey(picture: Picture, size: tuple[int, int]) -> np.ndarray:
    """A frame as uint8 (H, W) of the working size: Rec. 601 luma."""
    cv2 = load_cv2()
    if isinstance(picture, np.ndarray):
        grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    else:
        luma = torch.einsum("chw,c->hw", picture.detach().cpu().float(), _LUMA)
        grey = ((luma + 1.0) * 127.5).round().clamp(0, 255).to(torch.uint8).numpy()
    if grey.shape == size:
        return grey
    how = cv2.INTER_AREA if grey.shape[0] >= size[0] else cv2.INTER_CUBIC
    return cv2.resize(grey, size[::-1], interpolation=how)


class WaitingFrames:
    """Small frames put aside and taken back in reverse order; beyond 64 MB they lie in a temporary file."""

    def __init__(self) -> None:
        self._shape, self._count = (0,), 0
        self._file = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY)  # noqa: SIM115  (closed by __exit__)

    def __enter__(self) -> WaitingFrames:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def put(self, picture: np.ndarray) -> None:
        """Put aside a uint8 array; all have one shape."""
        try:
            self._file.write(np.ascontiguousarray(picture))
        except OSError as error:
            raise NovaError(
                f"frames that wait for their turn do not fit into {tempfile.gettempdir()}: {error.strerror or error}. "
                "Free some space, set TMPDIR to another folder, or draw the mask on an earlier frame."
            ) from error
        self._shape, self._count = picture.shape, self._count + 1

    def backwards(self) -> Iterator[np.ndarray]:
        """The frames, the last one first."""
        length = math.prod(self._shape)
        for i in reversed(range(self._count)):
            self._file.seek(i * length)
            yield np.frombuffer(self._file.read(length), np.uint8).reshape(self._shape)
