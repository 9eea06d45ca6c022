"""Looking at clips: frame strip, x–t slice, small player and a one-line fingerprint. Source: ours.

The strip shows what happens, the x–t slice (one row of pixels over time) makes flicker visible in a
still picture, and the fingerprint is text, which a notebook test can compare where pictures cannot be.
Beside clips: a table of still pictures, and any figure in few bytes, since outputs are committed.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from novakit.errors import NovaError
from novakit.files import atomic_write_bytes

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from PIL import Image

FIGURE_BYTES = 60_000
"""A figure shown in a notebook is made coarser until it is below this."""


def fingerprint(clip: Tensor) -> str:
    """One line that tells clips apart and prints the same on another machine.

    Args:
        clip: (B, C, T, H, W) or (C, T, H, W), clip, mask or latents; any other shape counts as still.

    Returns:
        ``shape 1x3x33x64x96 float32 range [-0.98, 0.97] mean -0.123 change 0.0412``, where change is
        the mean absolute difference of neighbouring frames, or ``… NOT FINITE``.
    """
    values = clip.detach().to("cpu", torch.float64)
    head = f"shape {'x'.join(map(str, clip.shape))} {str(clip.dtype).removeprefix('torch.')}"
    if values.numel() == 0:
        return f"{head} EMPTY"
    if not bool(torch.isfinite(values).all()):
        return f"{head} NOT FINITE"
    moves = clip.ndim > 3 and clip.shape[-3] > 1
    change = values.diff(dim=-3).abs().mean().item() if moves else 0.0
    limits = f"[{_digits(values.min().item(), 2)}, {_digits(values.max().item(), 2)}]"
    return f"{head} range {limits} mean {_digits(values.mean().item(), 3)} change {_digits(change, 4)}"


def _digits(value: float, digits: int) -> str:
    return f"{round(value, digits) + 0.0:.{digits}f}"  # + 0.0 turns -0.0 into 0.0


def to_image(frame: Tensor) -> Image.Image:
    """One frame (3, H, W) in [-1, 1], or a mask (1, H, W) or (H, W) in [0, 1], as a PIL image."""
    from PIL import Image

    planes = frame[None] if frame.ndim == 2 else frame
    if planes.ndim != 3 or planes.shape[0] not in (1, 3):
        raise NovaError(f"frame has shape {tuple(frame.shape)}; wanted (3, H, W), or (1, H, W) for a mask.")
    return Image.fromarray(_to_bytes(planes[:, None])[0])


def show_clips(
    clips: Mapping[str, Tensor], *, fps: float = 8, frames: int = 6, player: bool = True, row: float = 0.5
) -> Figure | None:
    """Show clips under each other: frames, x–t slice, player; print one fingerprint per clip.

    Titles that hold one of the words source, keyframe, control, edit, truth or mask always have the
    same colour.

    Args:
        clips: {title: clip}; a clip is (C, T, H, W) or (1, C, T, H, W), with C = 3 in [-1, 1] or C = 1
            in [0, 1] (mask). A single frame (3, H, W) is a clip of one frame.
        fps: speed of the players, frames per second.
        frames: how many frames the strip shows, evenly spaced, first and last included.
        player: False leaves the players out, so that a notebook with many clips stays small.
        row: which row of pixels the x–t slice shows, 0 (top) to 1 (bottom).

    Returns:
        None in a notebook, where everything is displayed; elsewhere the matplotlib figure, unknown to
        pyplot, so that figures never pile up.

    Raises:
        NovaError: no clips, or a tensor of another shape.
    """
    from novakit.show_drawing import draw_strips
    from novakit.show_player import players_html

    pictures = _as_pictures(clips)
    for title, clip in clips.items():
        print(f"{title}: {fingerprint(_tensor(clip))}")
    figure = show_figure(draw_strips(pictures, frames, row), 220, dpi=80)
    if _in_notebook() and player and any(len(picture) > 1 for picture in pictures.values()):
        from IPython.display import HTML, display

        display(HTML(players_html(pictures, fps)))
    return figure


def show_pictures(rows: Mapping[str, Sequence[Tensor]], titles: Sequence[str], *, width: float = 1.3) -> Figure | None:
    """Show still pictures as a table; the names of the rows are coloured as in :func:`show_clips`.

    Args:
        rows: {name: pictures}; a picture is (3, H, W) in [-1, 1] or a mask (1, H, W) in [0, 1], all of one shape.
        titles: above the pictures, from the first one on; as many as there are columns title the first row only.
        width: of one picture, inches.

    Returns:
        None in a notebook, elsewhere the matplotlib figure.

    Raises:
        NovaError: no pictures, or a tensor of another shape.
    """
    from novakit.show_drawing import draw_pictures

    if not rows or not all(rows.values()):
        empty = [name for name, row in rows.items() if not row]
        raise NovaError(f"no pictures in the rows {empty}; pass {{name: [picture, ...]}}, none of them empty.")
    images = {name: [to_image(picture) for picture in row] for name, row in rows.items()}
    return show_figure(draw_pictures(images, titles, width))


def show_figure(figure: Figure, colours: int = 48, *, dpi: int = 72) -> Figure | None:
    """Show a matplotlib figure in few bytes: a PNG with a palette, at most FIGURE_BYTES.

    Args:
        figure: of pyplot, which forgets it, or not.
        colours: of the palette, at most; 16 to 24 do for lines and bars.
        dpi: pixels per inch; fewer when the figure has too many bytes.

    Returns:
        None in a notebook, where it is displayed; elsewhere the figure.
    """
    import matplotlib.pyplot as plt

    if here := _in_notebook():
        from IPython.display import Image, display

        from novakit.show_drawing import small_png

        display(Image(data=small_png(figure, FIGURE_BYTES, dpi, colours), format="png"))
    plt.close(figure)  # not before it is drawn: closing takes its canvas away
    return None if here else figure


def save_strip(path: str | Path, clips: Mapping[str, Tensor], *, frames: int = 6, row: float = 0.5) -> Path:
    """Write the strips of :func:`show_clips` as a sharp PNG, for a README; returns the path."""
    from novakit.show_drawing import draw_strips, small_png

    figure = draw_strips(_as_pictures(clips), frames, row)
    return atomic_write_bytes(path, small_png(figure, 10 * FIGURE_BYTES, dpi=144))


def _in_notebook() -> bool:
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return hasattr(shell, "kernel")


def _tensor(clip: object) -> Tensor:
    """A tensor, or the frames of what read_clip returned."""
    return getattr(clip, "frames", clip)


def _as_pictures(clips: Mapping[str, Tensor]) -> dict[str, np.ndarray]:
    """{title: uint8 (T, H, W, 3)}."""
    if not clips:
        raise NovaError("no clips to show; pass {title: clip}, e.g. show_clips({'source': clip}).")
    return {title: _to_bytes(_frames(title, _tensor(clip))) for title, clip in clips.items()}


def _frames(title: str, clip: Tensor) -> Tensor:
    """(C, T, H, W) with C 1 or 3."""
    shape = tuple(clip.shape)
    if clip.ndim == 5 and shape[0] == 1:
        clip = clip[0]  # (C, T, H, W)
    elif clip.ndim == 3:
        clip = clip[:, None]  # (C, 1, H, W)
    if clip.ndim != 4 or clip.shape[0] not in (1, 3) or 0 in shape:
        raise NovaError(
            f"{title!r} has shape {shape}; wanted (C, T, H, W) or (1, C, T, H, W) with C = 3 (clip) or "
            "1 (mask). Take one clip of a batch with clip[:1]; decode latents first."
        )
    return clip


def _to_bytes(clip: Tensor) -> np.ndarray:
    """(C, T, H, W) → uint8 (T, H, W, 3); values that are not finite become grey."""
    values = clip.detach().to("cpu", torch.float32)
    unit = values if clip.shape[0] == 1 else values * 0.5 + 0.5
    unit = torch.nan_to_num(unit, nan=0.5, posinf=0.5, neginf=0.5).clamp(0, 1)
    pixels = (unit * 255).round().to(torch.uint8).expand(3, -1, -1, -1)
    return pixels.permute(1, 2, 3, 0).contiguous().numpy()  # (T, H, W, 3)
