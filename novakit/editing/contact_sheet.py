"""Contact sheets of keyframes: source, edit, and the difference made visible, page by page. Source: ours."""

from __future__ import annotations

import zlib
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from novakit.editing.keyframe_editors.protocol import EditedKeyframe
from novakit.errors import NovaError
from novakit.files import atomic_path
from novakit.show import to_image
from novakit.show_drawing import TITLE_COLOURS

AMPLIFY = 4  # how much the difference is brightened
CELL = 320  # pixels, about the width of one picture
ROWS = 8  # on a page
GAP, HEADER = 8, 24  # pixels
CHANGED = 8 / 255  # of the range: a pixel that differs by more counts as changed
_COLOURS = {"source": TITLE_COLOURS["source"], "edit": TITLE_COLOURS["edit"]}
_TEXT = "#111827"


class ContactSheet:
    """Writes `folder/page_001.png`, ...: a page as soon as it is full, the rest with `finish`.

    Args:
        folder: where the pages go; made when the first page is written.
        edited: True = rows of source, edit, difference; False = the sources alone, three in a row, to edit by hand.
    """

    def __init__(self, folder: str | Path, edited: bool = True) -> None:
        self.folder, self.edited = Path(folder), edited
        self.pages: list[Path] = []
        self._cells: list[tuple[str, str, Image.Image]] = []  # (what it is, label, picture)

    def add(self, keyframe: EditedKeyframe, remark: str = "", edit_remark: str = "") -> None:
        """Put a keyframe on the sheet.

        Args:
            keyframe: before and after; only its small pictures are kept.
            remark: a few words behind the frame index.
            edit_remark: a few words about the edit.
        """
        label = f"source, frame {keyframe.index}" + (f", {remark}" if remark else "")
        self._cells.append(("source", label, _thumbnail(keyframe.frame)))
        if self.edited:
            difference = _small((keyframe.edited - keyframe.frame).abs())  # in [0, 2]
            share = (difference.amax(0) > 2 * CHANGED).float().mean().item()
            shown = (difference * AMPLIFY).clamp(0, 2) - 1
            self._cells.append(
                ("edit", "edit" + (f", {edit_remark}" if edit_remark else ""), _thumbnail(keyframe.edited))
            )
            self._cells.append(("", f"difference x{AMPLIFY}, {share:.0%} of the picture changed", _thumbnail(shown)))
        if len(self._cells) == 3 * ROWS:
            self._write()

    def finish(self) -> list[Path]:
        """Write the last page; returns all of them."""
        if self._cells:
            self._write()
        return self.pages

    def _write(self) -> None:
        width, height = self._cells[0][2].size
        rows = -(-len(self._cells) // 3)
        columns = min(3, len(self._cells))
        page = Image.new("RGB", (GAP + columns * (width + GAP), rows * (height + HEADER) + GAP), "white")
        draw = ImageDraw.Draw(page)
        for i, (what, label, picture) in enumerate(self._cells):
            left, top = GAP + i % 3 * (width + GAP), i // 3 * (height + HEADER)
            draw.text((left, top + 5), label, fill=_COLOURS.get(what, _TEXT), font=_font())
            page.paste(picture, (left, top + HEADER))
        self.pages.append(save_png(self.folder / f"page_{len(self.pages) + 1:03d}.png", page))
        self._cells.clear()


def save_png(path: str | Path, image: Image.Image) -> Path:
    """Write a PNG, complete or not at all; quick rather than small.

    Raises:
        NovaError: the folder cannot be written, or the disk is full.
    """
    with atomic_path(path) as temporary:
        try:
            image.save(temporary, compress_level=1, compress_type=zlib.Z_RLE)
        except OSError as error:
            raise NovaError(f"cannot write {path}: {error.strerror or error}. Is there room on the disk?") from None
    return Path(path)


def _small(frame: Tensor) -> Tensor:
    """A frame (3, H, W) at most CELL pixels wide, by averaging."""
    height, width = frame.shape[-2:]
    if width <= CELL:
        return frame
    return F.adaptive_avg_pool2d(frame, (max(1, round(height * CELL / width)), CELL))


def _thumbnail(frame: Tensor) -> Image.Image:
    """A frame (3, H, W) about CELL pixels wide: large frames shrunk, the pixels of small ones enlarged."""
    image = to_image(_small(frame))
    times = max(1, round(CELL / image.width))
    return image.resize((image.width * times, image.height * times), Image.Resampling.NEAREST)


@lru_cache(maxsize=1)
def _font() -> Any:
    import matplotlib

    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts/ttf/DejaVuSans.ttf", 12)
