"""Random regions: the masks b_k inside which a keyframe is degraded (eq. 2).

The masks m_t of eq. 3 use the same outlines (shapes.py) but are drawn on their own, in source.py.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from novakit.errors import NovaError

from .draws import chance, check_generator, check_names, check_probabilities, check_range, uniform
from .shapes import SHAPE_KINDS, Shapes, draw_shapes, level_for_area, shape_gauge


@dataclass(frozen=True)
class RegionConfig:
    """What random regions look like."""

    kinds: tuple[str, ...] = SHAPE_KINDS  # outlines to choose from
    area: tuple[float, float] = (0.05, 0.40)  # range of the region's share of the frame
    elongation: tuple[float, float] = (1.0, 2.0)  # range of long side : short side
    drift_prob: float = 0.7  # chance per clip that its regions follow one object; else each frame draws anew
    drift_step: float = 0.06  # greatest step of a drifting region from frame to frame, share of the frame
    drift_turn: float = 0.15  # greatest turn of a drifting region from frame to frame, radians

    def __post_init__(self) -> None:
        check_names("RegionConfig.kinds", self.kinds, SHAPE_KINDS)
        check_range("RegionConfig.area", self.area, 1e-4, 1.0)
        check_range("RegionConfig.elongation", self.elongation, 1.0, 10.0)
        check_probabilities(self, ("drift_prob",))


@dataclass(frozen=True)
class Regions:
    """Random regions of a batch, with everything that was drawn for them."""

    masks: Tensor  # (B, 1, T, H, W), exactly 0 or 1
    kinds: tuple[tuple[str, ...], ...]  # B x T names of outlines
    areas: Tensor  # (B, T) share of the frame that was drawn
    centres: Tensor  # (B, T, 2) place of the centre (x, y), share of width and height
    drifts: tuple[bool, ...]  # B: True = one object followed from frame to frame


def random_regions(
    batch: int,
    frames: int,
    height: int,
    width: int,
    generator: torch.Generator,
    config: RegionConfig | None = None,
    device: torch.device | str = "cpu",
) -> Regions:
    """Draw one random region for every frame of every clip.

    Args:
        batch, frames: B clips of T frames (or of K keyframes).
        height, width: size of the masks in pixels.
        generator: where the randomness comes from; may live on the CPU while ``device`` does not.
        config: outlines, area and drift; the defaults of RegionConfig if None.
        device: where the masks are made.

    Returns:
        Regions; masks (B, 1, T, H, W) in {0, 1}.

    Raises:
        NovaError: a size below 1, or no generator.

    Source: ours; eq. 2 of the paper needs b_k and leaves its form open.
    """
    config = config or RegionConfig()
    check_generator(generator)
    if min(batch, frames, height, width) < 1:
        asked = f"{batch} x {frames} x {height} x {width}"
        raise NovaError(f"regions of {asked} asked; every size must be at least 1.")
    drifts = chance(generator, (batch,), config.drift_prob)
    shapes = _draw_outlines(batch, frames, drifts, generator, config)
    areas = _follow(uniform(generator, (batch, frames), *config.area), drifts)
    centres, angles = _draw_poses(batch, frames, drifts, generator, config)
    angles = _upright(angles, shapes.kinds)
    x, y = _local_grid(centres.flatten(0, 1), angles.flatten(), areas.flatten(), (height, width), device)
    gauge = shape_gauge(shapes.to(device), x, y)  # (B*T, H, W)
    masks = gauge <= level_for_area(gauge, areas.flatten().tolist())
    masks = masks.view(batch, 1, frames, height, width).float()
    names = shapes.names()
    kinds = tuple(names[i * frames : (i + 1) * frames] for i in range(batch))
    return Regions(masks, kinds, areas, centres, tuple(drifts.tolist()))


def _follow(values: Tensor, drifts: Tensor) -> Tensor:
    """Give all frames of a drifting clip the value of its first frame; (B, T) -> (B, T)."""
    return torch.where(drifts[:, None], values[:, :1].expand_as(values), values)


def _draw_outlines(batch: int, frames: int, drifts: Tensor, generator: torch.Generator, config: RegionConfig) -> Shapes:
    """One outline for every frame, the same one in all frames of a drifting clip; B*T in all."""
    shapes = draw_shapes(batch * frames, config.kinds, config.elongation, generator)
    rows = torch.arange(batch * frames, device=drifts.device).view(batch, frames)
    return shapes.take(_follow(rows, drifts).flatten().tolist())


def _draw_poses(
    batch: int, frames: int, drifts: Tensor, generator: torch.Generator, config: RegionConfig
) -> tuple[Tensor, Tensor]:
    """Centres (B, T, 2) as shares of the frame, and angles (B, T) in radians."""
    centres = uniform(generator, (batch, frames, 2), 0.15, 0.85)
    angles = uniform(generator, (batch, frames), 0, 2 * math.pi)
    steps = config.drift_step * uniform(generator, (batch, frames, 2), -1, 1)
    turns = config.drift_turn * uniform(generator, (batch, frames), -1, 1)
    steps[:, 0], turns[:, 0] = 0, 0
    walk = (centres[:, :1] + steps.cumsum(1)).clamp(0.05, 0.95)
    centres = torch.where(drifts[:, None, None], walk, centres)
    angles = torch.where(drifts[:, None], angles[:, :1] + turns.cumsum(1), angles)
    return centres, angles


def _upright(angles: Tensor, kinds: tuple[str, ...]) -> Tensor:
    """Set boxes (kinds: B*T names) upright, one that drifts like its first frame; (B, T) -> (B, T)."""
    boxes = torch.tensor([kind == "box" for kind in kinds], device=angles.device).view_as(angles)
    followed = torch.where(boxes.all(1, keepdim=True), angles[:, :1].expand_as(angles), angles)
    quarters = (followed / (math.pi / 2)).round() * (math.pi / 2)
    return torch.where(boxes, quarters, angles)


def _local_grid(
    centres: Tensor, angles: Tensor, areas: Tensor, size: tuple[int, int], device: torch.device | str
) -> tuple[Tensor, Tensor]:
    """Every pixel's place as its shape sees it: from the centre, turned, in units of the shape's size.

    Args:
        centres (n, 2), angles (n,), areas (n,): the pose of each shape.
        size: (H, W) of the frame.
        device: where the grid is made.

    Returns:
        x and y, each (n, H, W).
    """
    height, width = size
    unit = (areas * height * width).sqrt()  # (n,) side of a square of that area, in pixels
    cosine, sine = angles.cos(), angles.sin()
    cosine, sine = (part.masked_fill(part.abs() < 1e-6, 0) for part in (cosine, sine))  # exact quarter turns
    pose = torch.stack([centres[:, 0] * width, centres[:, 1] * height, cosine / unit, sine / unit])
    centre_x, centre_y, cosine, sine = pose.to(device)[:, :, None, None].unbind(0)  # each (n, 1, 1)
    dx = torch.arange(width, device=device) + 0.5 - centre_x  # (n, 1, W)
    dy = torch.arange(height, device=device)[:, None] + 0.5 - centre_y  # (n, H, 1)
    return cosine * dx + sine * dy, cosine * dy - sine * dx
