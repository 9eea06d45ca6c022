"""The still figures of ``novakit.show``: strips with x–t slices, tables of pictures, small PNG. Source: ours."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

TITLE_COLOURS = {
    "mask": "#be185d",
    "keyframe": "#c2410c",
    "control": "#7c3aed",
    "truth": "#0f766e",
    "edit": "#15803d",
    "source": "#1d4ed8",
}
"""The same colour for the same thing in every notebook; the first word found in a title wins."""
_OTHER_COLOUR = "#111827"
_QUIET = "#6b7280"
_WIDTH = 9.0  # inches
_TALLEST = 1.7  # inches, of one frame
_TITLE, _LABELS, _GAP = 0.26, 0.19, 0.06  # inches above, below and between
_MARGIN, _BEFORE_SLICE = 0.14, 0.22  # inches left of the strip and left of the x–t slice


def title_colour(title: str) -> str:
    """The fixed colour of a title: "edited keyframes" are keyframes, "the edit" is an edit."""
    words = set(re.findall(r"[a-z]+", title.lower()))
    for known, colour in TITLE_COLOURS.items():
        if words & {known, f"{known}s", f"{known}ed"}:
            return colour
    return _OTHER_COLOUR


@dataclass(frozen=True)
class _Row:
    title: str
    pictures: np.ndarray  # uint8 (T, H, W, 3)
    cell: tuple[float, float]  # (height, width) of one frame in inches


def draw_strips(pictures: dict[str, np.ndarray], frames: int, row: float) -> Figure:
    """One figure, one row per clip, all frames of a figure equally wide.

    Args:
        pictures: {title: uint8 (T, H, W, 3)}.
        frames: frames in the strip.
        row: height of the x–t slice, 0..1.
    """
    columns = max(1, min(frames, max(len(clip) for clip in pictures.values())))
    width = (_WIDTH - _MARGIN - _BEFORE_SLICE - _GAP * columns) / (columns + 1)
    width = min([width, *(_TALLEST * clip.shape[2] / clip.shape[1] for clip in pictures.values())])
    rows = [_Row(t, clip, (width * clip.shape[1] / clip.shape[2], width)) for t, clip in pictures.items()]
    height = sum(r.cell[0] + _TITLE + _LABELS for r in rows) + _GAP
    figure = Figure(figsize=(_slice_left(columns, width) + width + _GAP, height), facecolor="white")
    FigureCanvasAgg(figure)
    top = height
    for r in rows:
        _draw_row(figure, r, top, columns, row)
        top -= r.cell[0] + _TITLE + _LABELS
    return figure


def _slice_left(columns: int, width: float) -> float:
    return _MARGIN + columns * (width + _GAP) - _GAP + _BEFORE_SLICE


def _draw_row(figure: Figure, row: _Row, top: float, columns: int, slice_row: float) -> None:
    cell_height, cell_width = row.cell
    bottom = top - _TITLE - cell_height
    times = np.linspace(0, len(row.pictures) - 1, min(columns, len(row.pictures))).round().astype(int)
    _text(figure, _MARGIN, top - 0.05, row.title, color=title_colour(row.title), weight="bold", size=11)
    for i, t in enumerate(times):
        left = _MARGIN + i * (cell_width + _GAP)
        _image(figure, row.pictures[t], left, bottom, cell_width, cell_height)
        _label(figure, left + cell_width / 2, bottom, f"frame {t}" if i == 0 else str(t))
    if len(row.pictures) > 1:
        _draw_slice(figure, row, bottom, _slice_left(columns, cell_width), slice_row)


def _draw_slice(figure: Figure, row: _Row, bottom: float, left: float, slice_row: float) -> None:
    """One row of pixels over time, and two small marks beside the first frame and here that show it."""
    cell_height, cell_width = row.cell
    height = row.pictures.shape[1]
    line = min(height - 1, int(max(0.0, slice_row) * height))
    _image(figure, row.pictures[:, line], left, bottom, cell_width, cell_height)
    _label(figure, left + cell_width / 2, bottom, f"x–t slice, row {line}")
    y = bottom + cell_height * (1 - (line + 0.5) / height)
    _text(figure, _MARGIN - 0.02, y, "▸", color=_QUIET, size=8, ha="right", va="center")
    _text(
        figure,
        left - 0.03,
        bottom + cell_height / 2,
        "time →",
        color=_QUIET,
        size=7,
        rotation=-90,
        ha="right",
        va="center",
    )


def draw_pictures(rows: dict[str, list[Image.Image]], titles: Sequence[str], width: float) -> Figure:
    """One figure, a line of pictures per row, the row's name on the left.

    Args:
        rows: {name: pictures}; rows may differ in length.
        titles: above the pictures, row after row; the first row's suffice.
        width: of one picture, inches.
    """
    columns, first = max(map(len, rows.values())), next(iter(rows.values()))[0]
    names = 0.075 * max(map(len, rows)) + 0.1  # inches
    size = (width * columns + names, (width * first.height / first.width + 0.04) * len(rows) + 0.2)
    figure = Figure(figsize=size, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(rows), columns, squeeze=False)
    for line, (name, row) in zip(axes, rows.items()):
        for axis, picture in zip(line, row):
            axis.imshow(picture, interpolation="nearest")
        for axis in line:
            axis.set(xticks=[], yticks=[], frame_on=bool(axis.images))
        line[0].set_ylabel(name, fontsize=8, rotation=0, ha="right", va="center", color=title_colour(name))
    for axis, title in zip(axes.flat, titles):
        axis.set_title(title, fontsize=8)
    return figure


def _image(figure: Figure, picture: np.ndarray, left: float, bottom: float, width: float, height: float) -> None:
    """Place pixels (H, W, 3) at a rectangle given in inches."""
    whole = figure.get_figwidth(), figure.get_figheight()
    box = (left / whole[0], bottom / whole[1], width / whole[0], height / whole[1])
    axes = figure.add_axes(box)
    axes.imshow(picture, aspect="auto", interpolation="nearest" if picture.shape[1] < 300 else "antialiased")
    axes.set_axis_off()


def _label(figure: Figure, x: float, bottom: float, text: str) -> None:
    _text(figure, x, bottom - 0.03, text, color=_QUIET, size=8, ha="center")


def _text(figure: Figure, x: float, y: float, text: str, **style: object) -> None:
    whole = figure.get_figwidth(), figure.get_figheight()
    figure.text(x / whole[0], y / whole[1], text, **{"va": "top", **style})


def small_png(figure: Figure, most_bytes: int, dpi: int = 80, most_colours: int = 220) -> bytes:
    """PNG with a palette, made coarser step by step until it has at most ``most_bytes``."""
    data, kept = b"", {text.get_color() for text in figure.texts}
    for scale, colours in ((1, 220), (1, 64), (0.85, 64), (0.7, 48), (0.5, 32)):
        if scale * dpi != figure.dpi or not data:
            figure.set_dpi(dpi * scale)
            figure.canvas.draw()
        pixels = Image.fromarray(np.asarray(figure.canvas.buffer_rgba())[..., :3])
        file = io.BytesIO()
        _with_palette(pixels, min(colours, most_colours), kept).save(file, format="PNG", optimize=True)
        data = file.getvalue()
        if len(data) <= most_bytes:
            break
    return data


def _with_palette(image: Image.Image, colours: int, kept: set[str]) -> Image.Image:
    """Few colours, rare ones too (a red coat in a brown street), but text in its own (and the soft edge of letters)."""
    few = image.quantize(colours, Image.Quantize.MAXCOVERAGE, kmeans=1, dither=Image.Dither.NONE)
    pixels, indices = np.asarray(image).astype(np.int16), np.array(few)
    palette = (few.getpalette() + [0] * 3 * colours)[: 3 * colours]
    shades = [_mix(name, share) for name in sorted(kept) for share in (0.33, 0.66, 1.0)]
    for i, colour in enumerate([(255, 255, 255), *shades]):
        indices[np.abs(pixels - colour).max(-1) <= (16 if i else 2)] = colours + i
        palette += colour
    out = Image.fromarray(indices)
    out.putpalette(palette)
    return out


def _mix(name: str, share: float) -> tuple[int, ...]:
    """A colour "#rrggbb" laid thinly on white."""
    return tuple(round(255 - share * (255 - value)) for value in bytes.fromhex(name[1:]))
