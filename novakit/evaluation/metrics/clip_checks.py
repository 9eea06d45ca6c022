"""What every metric asks of its clips, checked once, with the frame that is wrong. Source: ours."""

from __future__ import annotations

import torch
from torch import Tensor

from novakit.errors import NovaError

SMALLEST = 11  # pixels of a side: the window of SSIM
_OUTSIDE = 1.05  # a decoder may leave [-1, 1] by a little; [0, 255] is another convention


def check_clip(clip: Tensor, what: str, fewest_frames: int = 1) -> None:
    """Refuse what is no clip `(B, 3, T, H, W)` in [-1, 1] of finite numbers.

    Raises:
        NovaError: wrong axes, dtype or range, too few frames, NaN or infinity; names clip and frame.
    """
    if clip.ndim != 5 or clip.shape[1] != 3 or not clip.is_floating_point():
        raise NovaError(
            f"{what} has shape {tuple(clip.shape)} and type {clip.dtype}; wanted floats (B, 3, T, H, W) in [-1, 1]. "
            "Add or move the axes, or convert the pictures."
        )
    if clip.shape[2] < fewest_frames:
        raise NovaError(f"{what} has {clip.shape[2]} frame(s); this metric needs {fewest_frames}. Pass a longer clip.")
    if min(clip.shape[3:]) < SMALLEST:
        raise NovaError(f"{what} has frames of {tuple(clip.shape[3:])} px; the metrics need {SMALLEST} px a side.")
    finite = clip.isfinite().all(dim=1).flatten(2).all(dim=2)  # (B, T)
    if not finite.all():
        row, frame = (~finite).nonzero()[0].tolist()
        raise NovaError(
            f"{what} holds NaN or infinity in {int((~finite).sum())} frame(s), first in clip {row}, frame {frame}. "
            "No number can be given for it; look at what made it (too large a learning rate, half precision)."
        )
    if clip.abs().amax() > _OUTSIDE:
        low, high = clip.amin().item(), clip.amax().item()
        raise NovaError(f"{what} lies in [{low:.2f}, {high:.2f}]; wanted [-1, 1]. For [0, 255] use x / 127.5 - 1.")


def check_same_size(output: Tensor, other: Tensor, what: str) -> None:
    """Refuse two clips of different number, length or size.

    Raises:
        NovaError: says which of them differs, and how to mend it.
    """
    names = ("number of clips", "number of channels", "length", "height", "width")
    for name, ours, theirs in zip(names, output.shape, other.shape, strict=True):
        if ours != theirs:
            raise NovaError(
                f"output and {what} differ in {name}: {tuple(output.shape)} and {tuple(other.shape)}. "
                "Score the clip that was edited: cut both to one length and resize them to one size first."
            )


def check_mask(mask: Tensor, clip: Tensor) -> None:
    """Refuse a mask that is not `(B, 1, T, H, W)` in {0, 1} for the clip. Empty and full masks pass.

    Raises:
        NovaError: another shape, or values between or beyond 0 and 1.
    """
    expected = (clip.shape[0], 1, *clip.shape[2:])
    if tuple(mask.shape) != expected:
        raise NovaError(f"mask has shape {tuple(mask.shape)}; wanted {expected}, 1 where content changes.")
    if not ((mask == 0) | (mask == 1)).all():
        raise NovaError(
            f"mask holds other values than 0 and 1 (from {mask.amin().item():g} to {mask.amax().item():g}). "
            "Decide with (mask > 0.5).float()."
        )


@torch.no_grad()
def check_all(output: Tensor, source: Tensor, mask: Tensor, truth: Tensor | None, fewest_frames: int) -> None:
    """All checks of `measure_clips`."""
    check_clip(output, "output", fewest_frames)
    check_clip(source, "source")
    check_same_size(output, source, "source")
    check_mask(mask, output)
    if truth is not None:
        check_clip(truth, "truth")
        check_same_size(output, truth, "truth")
