"""Images named by frame index, and pictures brought to the clip's size: what keyframes and masks are read with.

Source: ours.
"""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps
from torch import Tensor

from novakit.errors import NovaError, NovaNotice
from novakit.video.geometry import Geometry, Size, frame_to_tensor, same_aspect
from novakit.video.probing import MAX_PIXELS, ClipInfo, probe, reason

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
_NAME = re.compile(r"(?:[^\W\d_]+_?)?([0-9]+)")  # 008, img008, key_008; not -08 and not 000_v2


def holds_images(path: str | Path) -> bool:
    """True for a folder and for an image file: their names carry the frame indices, no interval is needed."""
    return Path(path).is_dir() or Path(path).suffix.lower() in IMAGE_SUFFIXES


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


def square_pixels(picture: np.ndarray, info: ClipInfo) -> np.ndarray:
    """Stretch a stored picture (H, W, 3) so that its pixels are square."""
    if info.stored_size == info.size:
        return picture
    return np.asarray(Image.fromarray(picture).resize((info.width, info.height), Image.Resampling.BILINEAR))


def _say(size: Size) -> str:
    return f"{size[1]}x{size[0]}"
