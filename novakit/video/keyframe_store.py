"""Edited keyframes by frame index, each read from its image or video when it is asked for. Source: ours
(the folder) and the official release (the video whose frames 0, K, 2K… are the keyframes)."""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from torch import Tensor

from novakit.errors import NovaError, NovaNotice
from novakit.video.decode import iter_frames
from novakit.video.geometry import Geometry, Size, check_size
from novakit.video.keyframe_files import (
    ToSize,
    holds_images,
    indexed_images,
    is_transparent,
    on_black,
    open_image,
    open_matching_video,
    square_pixels,
)
from novakit.video.probing import ClipInfo

HELD = 96
"""Keyframes that stay in memory: more than one window of 81 frames can hold, however dense they are."""


def read_keyframes(
    path: str | Path,
    num_frames: int,
    size: Size,
    interval: int | None = None,
    *,
    geometry: Geometry | None = None,
    source_frames: int | None = None,
) -> dict[int, Tensor]:
    """Read all edited keyframes at the preset's size; :class:`KeyframeStore` reads them one by one.

    Args:
        path: see :class:`KeyframeStore`, as all others.

    Returns:
        {frame index: (3, H, W) float32 in [-1, 1]}, sorted by index. Another size of the same aspect is
        resized with a ``NovaNotice``; so is transparency, which is laid on black.

    Raises:
        NovaError: see :class:`KeyframeStore`; also an unreadable image.
    """
    store = KeyframeStore(path, num_frames, size, interval, geometry=geometry, source_frames=source_frames)
    keyframes = {k: store[k] for k in store.indices}
    store.notice()
    return keyframes


class KeyframeStore:
    """Keyframes at the preset's size, read lazily; at most ``HELD`` of them are in memory.

    Args:
        path: a folder of images named by frame index (``000.png``, ``8.jpg``, ``key_010.webp``), one
            such image, or a video whose frames 0, K, 2K… are the keyframes. A name is the index, or one
            word (letters, then ``_`` or nothing) directly followed by it.
        num_frames: T of the clip; every index lies in 0..T−1.
        size: (H, W) of the clip.
        interval: K; needed for a video, not for images.
        geometry: how the source became the clip; keyframes of the source's aspect take the same way.
        source_frames: frames of the whole source when only its first T are edited; a keyframe video
            may have either length.

    Attributes:
        indices: the frame indices, ascending.

    Raises:
        NovaError: no keyframes, an index outside the clip or given twice, a video of another length or
            without interval.
    """

    def __init__(
        self,
        path: str | Path,
        num_frames: int,
        size: Size,
        interval: int | None = None,
        *,
        geometry: Geometry | None = None,
        source_frames: int | None = None,
    ) -> None:
        path, size = Path(path), check_size(size)
        if not path.exists():
            raise NovaError(f"{path} does not exist; a folder of images or a video was wanted. Check the path.")
        if holds_images(path):
            self._pictures: _Images | _VideoFrames = _Images(indexed_images(path, num_frames))
        else:
            interval = _check_interval(path, interval)
            info = open_matching_video(path, "keyframe", num_frames, source_frames)
            self._pictures = _VideoFrames(info, num_frames, interval)
        self.indices: tuple[int, ...] = self._pictures.indices
        self._to_size = ToSize(size, geometry, "keyframe")
        self._held: OrderedDict[int, Tensor] = OrderedDict()

    def __getitem__(self, index: int) -> Tensor:
        """Keyframe ``index``, (3, H, W) float32 in [-1, 1].

        Raises:
            NovaError: an unreadable image or another aspect.
        """
        if index not in self._held:
            name, picture = self._pictures[index]
            self._held[index] = self._to_size(picture, name)
            while len(self._held) > HELD:
                self._held.popitem(last=False)
        return self._held[index]

    def check(self) -> None:
        """Read every keyframe once, so that a bad one is found before anything is computed; says what was adapted."""
        for index in self.indices:
            self[index]
        self.notice()

    def notice(self) -> None:
        """One ``NovaNotice`` for all that were resized, one for all that were transparent."""
        if self._pictures.clear:
            names = ", ".join(self._pictures.clear)
            text = f"keyframes with transparent parts, which were laid on black: {names}."
            warnings.warn(text, NovaNotice, stacklevel=3)
        self._to_size.notice()


def _check_interval(path: Path, interval: int | None) -> int:
    if interval is None or interval < 1:
        raise NovaError(
            f"{path.name} is a video of keyframes, so the keyframe interval must be known; got {interval}. "
            "Pass interval=K (`--interval K`; frames 0, K, 2K… are read), or a folder of images."
        )
    return interval


class _Images:
    """(name, uint8 (H, W, 3)) by frame index, from image files."""

    def __init__(self, files: dict[int, Path]) -> None:
        self.files, self.indices = files, tuple(files)
        self.clear: list[str] = []  # names of transparent ones

    def __getitem__(self, index: int) -> tuple[str, np.ndarray]:
        file = self.files[index]
        image = open_image(file)
        if is_transparent(image) and file.name not in self.clear:
            self.clear.append(file.name)
        return file.name, on_black(image)


class _VideoFrames:
    """The same from frames 0, K, 2K… of a video; it is read forwards, and again from its start for an earlier one."""

    def __init__(self, info: ClipInfo, num_frames: int, interval: int) -> None:
        self.info, self.num_frames, self.indices = info, num_frames, tuple(range(0, num_frames, interval))
        self.clear: list[str] = []
        self._frames: Iterator[tuple[int, np.ndarray]] = iter(())
        self._next = num_frames  # frame index that comes next: as at the end of the file

    def __getitem__(self, index: int) -> tuple[str, np.ndarray]:
        if index < self._next:
            self._frames = enumerate(iter_frames(self.info, self.num_frames))
        for t, picture in self._frames:
            self._next = t + 1
            if t == index:
                return f"frame {t}", square_pixels(picture, self.info)
        raise NovaError(f"{self.info.path} has no frame {index}; it changed while it was read. Start again.")
