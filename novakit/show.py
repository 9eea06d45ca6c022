"""Looking at clips: frame strip, x–t slice, small player and a one-line fingerprint. Source: ours.

The strip shows what happens, the x–t slice (one row of pixels over time) makes flicker visible in a
still picture, and the fingerprint is text, which a notebook test can compare where pictures cannot be.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
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
    from novakit.show_drawing import draw_strips, small_png
    from novakit.show_player import players_html

    pictures = _as_pictures(clips)
    figure = draw_strips(pictures, frames, row)
    for title, clip in clips.items():
        print(f"{title}: {fingerprint(_tensor(clip))}")
    if not _in_notebook():
        return figure
    from IPython.display import HTML, Image, display

    display(Image(data=small_png(figure, FIGURE_BYTES), format="png"))
    if player and any(len(picture) > 1 for picture in pictures.values()):
        display(HTML(players_html(pictures, fps)))
    return None


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
