"""From source pixels to preset pixels and back, by one resize and one remembered mapping. Source: ours."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from novakit.errors import NovaError

Fit = Literal["stretch", "crop"]
Size = tuple[int, int]


def resize(images: Tensor, size: Size) -> Tensor:
    """Antialiased bilinear resize of the last two axes; the only resize of the kit.

    Args:
        images: (..., H, W), uint8 or float; every leading axis is treated alike.
        size: wanted (H, W).

    Returns:
        (..., size[0], size[1]), same dtype; the input itself when it has that size.
    """
    if tuple(images.shape[-2:]) == tuple(size):
        return images
    planes = images if images.ndim == 4 else images.reshape(1, -1, *images.shape[-2:])  # (1, N, H, W)
    out = F.interpolate(planes, size=tuple(size), mode="bilinear", align_corners=False, antialias=True)
    return out.reshape(*images.shape[:-2], *size)  # (..., H, W)


@dataclass(frozen=True)
class Geometry:
    """How source frames became preset frames; the same mapping serves clip, keyframes and mask.

    Pixel centres lie at +½, so a point moves by ``(y + ½ − top) · H / box_height − ½``.
    """

    source_size: Size  # (H, W) of the source, upright and square pixels
    size: Size  # (H, W) of the preset
    fit: Fit  # "stretch" takes the whole frame, "crop" the largest centred box of the preset's aspect
    box: tuple[int, int, int, int]  # (top, left, height, width) of the part taken, in source pixels

    @classmethod
    def between(cls, source_size: Size, size: Size | None = None, fit: Fit = "stretch") -> Geometry:
        """Plan the way from ``source_size`` to ``size`` (None: keep the source's size).

        Raises:
            NovaError: a size that is not two positive integers, or an unknown fit.
        """
        size = check_size(source_size if size is None else size)
        height, width = source_size = check_size(source_size)
        if fit not in ("stretch", "crop"):
            raise NovaError(f"fit {fit!r} is unknown; choose 'stretch' (all of it) or 'crop' (same aspect).")
        box_height, box_width = height, width
        if fit == "crop":
            box_width = max(1, min(width, round(height * size[1] / size[0])))
            box_height = max(1, min(height, round(width * size[0] / size[1])))
        box = ((height - box_height) // 2, (width - box_width) // 2, box_height, box_width)
        return cls(source_size, size, fit, box)

    def to_preset(self, frames: Tensor) -> Tensor:
        """Cut the box out of source frames (..., H, W) and resize it to ``size``."""
        top, left, height, width = self.box
        return resize(frames[..., top : top + height, left : left + width], self.size)

    def to_source(self, clip: Tensor, background: Tensor | None = None) -> Tensor:
        """Bring an edited clip back to the source's size and aspect.

        Args:
            clip: (..., h, w) of the preset's size, e.g. (B, C, T, h, w), or one frame (C, h, w).
            background: (..., H, W) source frames to keep around the box of fit="crop";
                without them the surroundings are black (−1).

        Returns:
            (..., H, W) of the source's size.

        Raises:
            NovaError: the clip does not have the preset's size.
        """
        if tuple(clip.shape[-2:]) != self.size:
            raise NovaError(f"clip is {_say(clip.shape[-2:])}; this mapping starts from {_say(self.size)}.")
        top, left, height, width = self.box
        inside = resize(clip, (height, width))
        if (height, width) == self.source_size:
            return inside
        black = torch.full((*clip.shape[:-2], *self.source_size), -1.0, dtype=clip.dtype, device=clip.device)
        whole = black if background is None else background.to(clip).clone()
        whole[..., top : top + height, left : left + width] = inside
        return whole

    def point_to_preset(self, y: float, x: float) -> tuple[float, float]:
        """Where the pixel (y, x) of the source lies in the preset's frame."""
        top, left, height, width = self.box
        return (y + 0.5 - top) * self.size[0] / height - 0.5, (x + 0.5 - left) * self.size[1] / width - 0.5

    def point_to_source(self, y: float, x: float) -> tuple[float, float]:
        """Inverse of :meth:`point_to_preset`."""
        top, left, height, width = self.box
        return (y + 0.5) * height / self.size[0] - 0.5 + top, (x + 0.5) * width / self.size[1] - 0.5 + left


def check_size(size: Size) -> Size:
    """Two positive integers (H, W), or a NovaError."""
    try:
        height, width = (int(side) for side in size)
    except (TypeError, ValueError):
        height = width = 0
    if height < 1 or width < 1:
        raise NovaError(f"size {size!r} makes no sense; wanted (height, width) in pixels, e.g. (64, 96).")
    return height, width


def choose_size(source_size: Size, sizes: Iterable[Size]) -> Size:
    """The size whose aspect is nearest to the source's, |log aspect ratio| smallest; first one on a tie.

    Args:
        source_size: (H, W), or a ClipInfo.
        sizes: the sizes (H, W) that a preset allows, its default first.
    """
    height, width = getattr(source_size, "size", source_size)
    return min(sizes, key=lambda size: abs(math.log(width / height) - math.log(size[1] / size[0])))


def stretch_factor(size: Size, other: Size) -> float:
    """How much more one axis than the other is scaled on the way between two sizes (H, W); >= 1, 1 = same aspect."""
    ratio = size[1] * other[0] / (size[0] * other[1])
    return max(ratio, 1 / ratio)


def same_aspect(one: Size, other: Size) -> bool:
    """True when ``one`` scaled to the height or width of ``other`` misses it by at most one pixel or 1 %."""
    by_height, by_width = one[1] * other[0] / one[0], one[0] * other[1] / one[1]
    errors = (
        abs(by_height - other[1]) / max(1.0, other[1] / 100),
        abs(by_width - other[0]) / max(1.0, other[0] / 100),
    )
    return min(errors) <= 1.0


def frame_to_tensor(picture: np.ndarray, geometry: Geometry | None = None) -> Tensor:
    """One RGB picture as the kit's tensor.

    Args:
        picture: uint8 (H, W, 3).
        geometry: mapping to apply while the picture is still bytes; pixels that are not square are
            first stretched to ``geometry.source_size``.

    Returns:
        float32 (3, H, W) in [-1, 1].
    """
    frame = torch.from_numpy(picture).permute(2, 0, 1)  # (3, H, W), channels last in memory: fast to resize
    if geometry is not None:
        frame = geometry.to_preset(resize(frame[None], geometry.source_size))[0]
    return frame.float().div(127.5).sub_(1.0)


def _say(size: Iterable[int]) -> str:
    height, width = size
    return f"{width}x{height} (width x height)"
