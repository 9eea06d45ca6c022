"""Edited keyframes from a folder of images named by frame index, or from a video. Source: ours
(the folder) and the official release (the video whose frames 0, K, 2K… are the keyframes)."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps
from torch import Tensor

from novakit.errors import NovaError, NovaNotice
from novakit.video.decode import iter_frames
from novakit.video.geometry import Geometry, Size, check_size, frame_to_tensor, same_aspect
from novakit.video.probing import MAX_PIXELS, ClipInfo, probe, reason

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
_NAME = re.compile(r"(?:[^\W\d_]+_?)?([0-9]+)")  # 008, img008, key_008; not -08 and not 000_v2


def read_keyframes(
    path: str | Path,
    num_frames: int,
    size: Size,
    interval: int | None = None,
    *,
    geometry: Geometry | None = None,
    source_frames: int | None = None,
) -> dict[int, Tensor]:
    """Read edited keyframes at the preset's size.

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

    Returns:
        {frame index: (3, H, W) float32 in [-1, 1]}, sorted by index. Another size of the same aspect is
        resized with a ``NovaNotice``; so is transparency, which is laid on black.

    Raises:
        NovaError: no keyframes, an index outside the clip or given twice, another aspect, a video
            of another length or without interval, an unreadable image.
    """
    path, size = Path(path), check_size(size)
    if not path.exists():
        raise NovaError(f"{path} does not exist; a folder of images or a video was wanted. Check the path.")
    resizer = ToSize(size, geometry, "keyframe")
    if holds_images(path):
        keyframes = _from_images(path, num_frames, resizer)
    else:
        keyframes = _from_video(path, num_frames, interval, source_frames, resizer)
    resizer.notice()
    return keyframes


def holds_images(path: str | Path) -> bool:
    """True for a folder and for an image file: their names carry the frame indices, no interval is needed."""
    return Path(path).is_dir() or Path(path).suffix.lower() in IMAGE_SUFFIXES


def _from_images(path: Path, num_frames: int, to_size: ToSize) -> dict[int, Tensor]:
    keyframes, clear = {}, []
    for k, file in indexed_images(path, num_frames).items():
        image = open_image(file)
        clear += [file.name] if is_transparent(image) else []
        keyframes[k] = to_size(on_black(image), file.name)
    if clear:
        warnings.warn(
            f"keyframes with transparent parts, which were laid on black: {', '.join(clear)}.",
            NovaNotice,
            stacklevel=3,
        )
    return keyframes


def indexed_images(path: Path, num_frames: int) -> dict[int, Path]:
    """{frame index: image file}, sorted; a name is its index, alone or behind one word.

    Raises:
        NovaError: another name, an index given twice or outside 0..num_frames-1, or no image at all.
    """
    found: dict[int, Path] = {}
    for file in _image_files(path):
        number = _NAME.fullmatch(file.stem)
        if number is None:
            raise NovaError(
                f"{file} has no frame index as its name; wanted the number alone, or right behind one word. "
                f"Call it e.g. 008{file.suffix} or frame_008{file.suffix}, or take it out of the folder."
            )
        index = int(number.group(1))
        if index in found:
            raise NovaError(f"frame {index} is given twice: {found[index].name}, {file.name}. Remove one.")
        if index >= num_frames:
            raise NovaError(
                f"{file.name} is for frame {index}, but the clip has frames 0..{num_frames - 1}. "
                "Rename the image, or read more of the clip."
            )
        found[index] = file
    return dict(sorted(found.items()))


def _image_files(path: Path) -> list[Path]:
    files = [path] if path.is_file() else sorted(path.glob("[!.]*"))
    images = [file for file in files if file.suffix.lower() in IMAGE_SUFFIXES]
    if not images:
        raise NovaError(f"{path} holds no image ({', '.join(IMAGE_SUFFIXES)}). Put 000.png, 008.png … there.")
    return images


def read_image(path: Path) -> np.ndarray:
    """One image as uint8 (H, W, 3) RGB, upright (EXIF); transparency is laid on black.

    Raises:
        NovaError: see :func:`open_image`.
    """
    return on_black(open_image(path))


def open_image(path: Path) -> Image.Image:
    """One image as PIL RGBA, decoded and upright (EXIF).

    Raises:
        NovaError: not an image, damaged, of more than 36 megapixels, or deeper than 8 bits.
    """
    try:
        with Image.open(path) as image:
            if image.width * image.height > MAX_PIXELS:
                raise NovaError(f"{path} has more than {MAX_PIXELS / 1e6:.0f} megapixels. Scale it down.")
            if image.mode.startswith(("I", "F")):
                raise NovaError(f"{path} has {image.mode} pixels; wanted 8-bit RGB. Save it as plain PNG.")
            return ImageOps.exif_transpose(image).convert("RGBA")
    except NovaError:
        raise
    except Exception as error:  # Pillow raises many kinds for damaged files
        raise NovaError(f"{path} cannot be read as an image: {reason(error)}. Export it again.") from None


def is_transparent(image: Image.Image) -> bool:
    """True when at least one pixel of a PIL image is not opaque."""
    may_be = "A" in image.getbands() or "transparency" in image.info
    return may_be and image.convert("RGBA").getchannel("A").getextrema()[0] < 255


def on_black(image: Image.Image) -> np.ndarray:
    """A PIL image as uint8 (H, W, 3) RGB, its transparent parts laid on black."""
    black = Image.new("RGBA", image.size, "black")
    return np.array(Image.alpha_composite(black, image.convert("RGBA")).convert("RGB"))


class ToSize:
    """Brings pictures to one size the way the clip went, and remembers what to tell about it."""

    def __init__(self, size: Size, geometry: Geometry | None, what: str) -> None:
        self.size, self.geometry, self.what = size, geometry, what
        self.resized: list[Size] = []

    def __call__(self, picture: np.ndarray, name: str) -> Tensor:
        """uint8 (H, W, 3) → (3, H, W) in [-1, 1], or a NovaError when the aspect is another."""
        have = (int(picture.shape[0]), int(picture.shape[1]))
        if have == self.size:
            return frame_to_tensor(picture)
        source = self.geometry.source_size if self.geometry is not None else None
        if source is not None and same_aspect(have, source):
            if have != source:
                self.resized.append(have)
            return frame_to_tensor(picture, self.geometry)
        if same_aspect(have, self.size):
            self.resized.append(have)
            return frame_to_tensor(picture, Geometry.between(have, self.size))
        wanted = " or ".join(_say(known) for known in (self.size, source) if known is not None)
        raise NovaError(
            f"{self.what} {name} is {_say(have)}; the clip is {wanted} (width x height). "
            "Another aspect is not stretched: crop the picture to that shape."
        )

    def notice(self) -> None:
        """One ``NovaNotice`` for all pictures that were resized."""
        if self.resized:
            sizes = ", ".join(sorted({_say(size) for size in self.resized}))
            warnings.warn(
                f"{len(self.resized)} {self.what} pictures of {sizes} were resized to {_say(self.size)}.",
                NovaNotice,
                stacklevel=3,
            )


def open_matching_video(path: Path, what: str, num_frames: int, source_frames: int | None) -> ClipInfo:
    """Probe a video that must be as long as the clip, or as the whole source that the clip was cut from."""
    info = probe(path)
    if info.num_frames not in (num_frames, source_frames):
        raise NovaError(
            f"{what} video {path.name} has {info.num_frames} frames; the clip has {num_frames}. "
            "They must be equally long: cut or export it again."
        )
    return info


def _from_video(
    path: Path, num_frames: int, interval: int | None, source_frames: int | None, to_size: Callable
) -> dict[int, Tensor]:
    if interval is None or interval < 1:
        raise NovaError(
            f"{path.name} is a video of keyframes, so the keyframe interval must be known; got {interval}. "
            "Pass interval=K (`--interval K`; frames 0, K, 2K… are read), or a folder of images."
        )
    info = open_matching_video(path, "keyframe", num_frames, source_frames)
    keyframes = {}
    for t, picture in enumerate(iter_frames(info, num_frames)):
        if t % interval == 0:
            keyframes[t] = to_size(square_pixels(picture, info), f"frame {t}")
    return keyframes


def square_pixels(picture: np.ndarray, info: ClipInfo) -> np.ndarray:
    """Stretch a stored picture (H, W, 3) so that its pixels are square."""
    if info.stored_size == info.size:
        return picture
    return np.asarray(Image.fromarray(picture).resize((info.width, info.height), Image.Resampling.BILINEAR))


def _say(size: Size) -> str:
    return f"{size[1]}x{size[0]}"
