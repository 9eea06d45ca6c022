"""Draw one moving patch into a clip: the m_t and y_t of eq. 3 for a single outline and path."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from .shapes import Shapes, level_for_area, shape_gauge

RASTER = 64  # side of the picture of an outline, in samples
FILL = 0.3  # share of that picture inside the outline


@dataclass(frozen=True)
class Patch:
    """One patch of one clip; everything except ``outline`` may stay on the CPU."""

    outline: Tensor  # (1, RASTER, RASTER) on the clip's device: below 1 inside, above 1 outside
    half: float  # half the side of the outline's picture at scale 1, in pixels
    reach: float  # farthest point of the patch from its centre at scale 1, in pixels
    path: Tensor  # (T, 2) centre (x, y) in pixels
    scale: Tensor  # (T,)
    angle: Tensor  # (T,) radians
    anchor: tuple[float, float]  # place in the content that the centre shows (x, y) in pixels
    recoloured: bool  # the content stays where it is and only changes its colours
    colours: Tensor  # (3, 3) matrix on RGB


def rasterise(shapes: Shapes) -> Tensor:
    """Pictures of n outlines.

    Args:
        shapes: n outlines.

    Returns:
        (n, 1, RASTER, RASTER): at most 1 inside, on a FILL share of it; above 1 outside and on the rim.

    Source: ours.
    """
    side = torch.linspace(-1, 1, RASTER, device=shapes.radii.device) / (2 * math.sqrt(FILL))
    y, x = torch.meshgrid(side, side, indexing="ij")
    n = len(shapes.kinds)
    gauge = shape_gauge(shapes, x.expand(n, -1, -1), y.expand(n, -1, -1))
    gauge = gauge / level_for_area(gauge, [FILL] * n)
    rim = torch.ones(RASTER, RASTER, dtype=torch.bool, device=gauge.device)
    rim[1:-1, 1:-1] = False
    return gauge.masked_fill(rim, 2.0)[:, None]


def farthest(outlines: Tensor) -> Tensor:
    """Distance of each outline's farthest point from its centre, (n,); 1 = half the picture's side."""
    side = (torch.arange(RASTER, device=outlines.device) + 0.5) * 2 / RASTER - 1
    distance = torch.hypot(side[:, None], side)
    inside = (outlines[:, 0] <= 1) * distance  # (n, RASTER, RASTER)
    return inside.amax((1, 2)) + 2 * math.sqrt(2) / RASTER  # one sample further, for the bilinear edge


def paste_patch(pseudo_source: Tensor, mask: Tensor, content: Tensor, patch: Patch, feather: float) -> None:
    """Paste one patch in place: x̃_t = m_t ⊙ y_t + (1 - m_t) ⊙ x_t, in the window that it ever touches.

    Args:
        pseudo_source: (3, T, H, W), changed in place.
        mask: (1, T, H, W), changed in place.
        content: (3, T, H, W), the irrelevant clip, or the target for a recoloured patch.
        patch: outline, path and colours.
        feather: width of the soft inner edge in pixels; 0 = hard.

    Source: eq. 3 of the paper; the outline, the path and the feather are ours.
    """
    rows, columns = _window(patch, mask.shape[-2:])
    if rows.start >= rows.stop or columns.start >= columns.stop:
        return  # the whole path lies outside the frame
    grid = _patch_grid(patch, rows, columns, mask.device)  # (T, h, w, 2)
    outline = patch.outline.expand(len(grid), -1, -1, -1)
    gauge = _sample(outline, grid, "border").transpose(0, 1)  # (1, T, h, w)
    inside = gauge <= 1
    window = (slice(None), slice(None), rows, columns)
    pasted = content[window].float() if patch.recoloured else _look_up(content, grid, patch)
    pasted = (patch.colours.to(pasted) @ pasted.flatten(1)).view_as(pasted).clamp_(-1, 1).to(content.dtype)
    if feather > 0:
        depth = (1 - gauge) * patch.half * math.sqrt(FILL)  # rough distance to the edge in pixels
        pasted = torch.lerp(pseudo_source[window], pasted, (depth / feather).clamp(0, 1).to(pasted.dtype))
    pseudo_source[window] = torch.where(inside, pasted, pseudo_source[window])
    mask[window] = torch.where(inside, 1, mask[window])


def _look_up(content: Tensor, grid: Tensor, patch: Patch) -> Tensor:
    """Content (3, T, H, W) seen through the patch, mirrored beyond its border; (3, T, h, w)."""
    size = torch.tensor([content.shape[-1], content.shape[-2]], device=content.device)
    anchor = torch.tensor(patch.anchor, device=content.device) * 2 / size - 1
    grid = grid * (2 * patch.half / size) + anchor  # from the patch's half side to the frame's
    return _sample(content.transpose(0, 1).float(), grid, "reflection").transpose(0, 1)


def _window(patch: Patch, size: tuple[int, int]) -> tuple[slice, slice]:
    """Rows and columns of the frame that the patch ever touches."""
    reach = (patch.reach * patch.scale)[:, None]
    low, high = (patch.path - reach).amin(0).tolist(), (patch.path + reach).amax(0).tolist()
    rows = slice(max(0, math.floor(low[1])), min(size[0], math.ceil(high[1])))
    columns = slice(max(0, math.floor(low[0])), min(size[1], math.ceil(high[0])))
    return rows, columns


def _patch_grid(patch: Patch, rows: slice, columns: slice, device: torch.device) -> Tensor:
    """Each pixel's place (x, y) as the patch sees it, (T, h, w, 2); its picture spans [-1, 1]."""
    side = patch.half * patch.scale  # (T,) pixels
    cosine, sine = patch.angle.cos() / side, patch.angle.sin() / side
    pose = torch.stack([patch.path[:, 0], patch.path[:, 1], cosine, sine])
    centre_x, centre_y, cosine, sine = pose.to(device)[:, :, None, None].unbind(0)  # each (T, 1, 1)
    dx = torch.arange(columns.start, columns.stop, device=device) + 0.5 - centre_x  # (T, 1, w)
    dy = torch.arange(rows.start, rows.stop, device=device)[:, None] + 0.5 - centre_y  # (T, h, 1)
    return torch.stack([cosine * dx + sine * dy, cosine * dy - sine * dx], -1)


def _sample(images: Tensor, grid: Tensor, padding: str) -> Tensor:
    """Bilinear samples of images (T, C, H, W) at places (T, h, w, 2) in [-1, 1]; (T, C, h, w)."""
    return grid_sample(images, grid, padding_mode=padding, align_corners=False)
