"""The outlines that random regions and pasted patches share: box, ellipse, brush stroke, sprite.

A shape is described by its *gauge*: a function of the place that is 0 at the heart of the shape and
grows outwards. A mask is then "gauge <= level", and the level decides how big the shape is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .draws import integers, uniform

SHAPE_KINDS = ("box", "ellipse", "brush", "sprite")
SILHOUETTES = ("blob", "star", "polygon")
ANGLES = 180  # entries of a silhouette's table of radii, 2 degrees apart
STROKE_POINTS = 6  # corners of a brush stroke


@dataclass(frozen=True)
class Shapes:
    """n outlines, without a place or size."""

    kinds: tuple[str, ...]  # n names out of SHAPE_KINDS
    silhouettes: tuple[str, ...]  # n names out of SILHOUETTES; counts only where the kind is "sprite"
    elongation: Tensor  # (n,) long side : short side before rotation, >= 1
    radii: Tensor  # (n, ANGLES) distance of a sprite's outline from its centre, by angle
    points: Tensor  # (n, STROKE_POINTS, 2) corners of a brush stroke, (x, y)

    def take(self, rows: list[int]) -> Shapes:
        """Pick (or repeat) outlines by their index."""
        kinds = tuple(self.kinds[row] for row in rows)
        silhouettes = tuple(self.silhouettes[row] for row in rows)
        return Shapes(kinds, silhouettes, self.elongation[rows], self.radii[rows], self.points[rows])

    def to(self, device: torch.device | str) -> Shapes:
        """The same outlines with their tensors on another device."""
        tensors = (self.elongation, self.radii, self.points)
        return Shapes(self.kinds, self.silhouettes, *(tensor.to(device) for tensor in tensors))

    def names(self) -> tuple[str, ...]:
        """n names for people: "box", "sprite (star)", ..."""
        pairs = zip(self.kinds, self.silhouettes, strict=True)
        return tuple(f"sprite ({silhouette})" if kind == "sprite" else kind for kind, silhouette in pairs)


def draw_shapes(n: int, kinds: tuple[str, ...], elongation: tuple[float, float], generator: torch.Generator) -> Shapes:
    """Draw n outlines, each of a kind chosen evenly.

    Args:
        n: how many.
        kinds: names to choose from, out of SHAPE_KINDS.
        elongation: range of long side : short side.
        generator: where the randomness comes from.

    Returns:
        Shapes on the generator's device.

    Source: ours; the paper names random regions without saying of what form.
    """
    drawn = [kinds[i] for i in integers(generator, (n,), 0, len(kinds) - 1).tolist()]
    silhouettes = [SILHOUETTES[i] for i in integers(generator, (n,), 0, len(SILHOUETTES) - 1).tolist()]
    stretch = uniform(generator, (n,), *elongation)
    radii = _draw_radii(silhouettes, generator)
    return Shapes(tuple(drawn), tuple(silhouettes), stretch, radii, _draw_strokes(n, generator))


def _draw_radii(silhouettes: list[str], generator: torch.Generator) -> Tensor:
    """Radii by angle, (n, ANGLES): wavy blobs, stars with 4 to 7 rays, polygons with 3 to 6 corners."""
    n, device = len(silhouettes), generator.device
    angle = torch.arange(ANGLES, device=device) * (2 * math.pi / ANGLES)
    corners = integers(generator, (n, 1), 3, 6)
    phase = uniform(generator, (n, 3, 1), 0, 2 * math.pi)
    waves = uniform(generator, (n, 3, 1), 0.05, 0.22)
    order = torch.tensor([2.0, 3.0, 5.0], device=device)[:, None]
    blob = 1 + (waves * torch.sin(order * angle + phase)).sum(1)  # (n, ANGLES)
    place = (angle + phase[:, 0]) * (corners + 1) / (2 * math.pi)
    star = 0.45 + 0.55 * (2 * (place % 1) - 1).abs()  # straight flanks between ray tip and notch
    sector = 2 * math.pi / corners
    polygon = torch.cos(sector / 2) / torch.cos((angle + phase[:, 0]) % sector - sector / 2)
    styles = torch.stack([blob, star, polygon], 1)  # (n, 3, ANGLES)
    chosen = torch.tensor([SILHOUETTES.index(name) for name in silhouettes], device=device)
    return styles[torch.arange(n, device=device), chosen]


def _draw_strokes(n: int, generator: torch.Generator) -> Tensor:
    """Corners of strokes, (n, STROKE_POINTS, 2): a random walk that turns by up to 70 degrees a step."""
    turns = uniform(generator, (n, STROKE_POINTS - 1), -1.2, 1.2)
    turns[:, 0] = uniform(generator, (n,), 0, 2 * math.pi)
    heading = turns.cumsum(1)
    steps = torch.stack([heading.cos(), heading.sin()], -1) * 0.34
    walk = torch.cat([steps.new_zeros(n, 1, 2), steps.cumsum(1)], 1)
    return walk - walk.mean(1, keepdim=True)


def shape_gauge(shapes: Shapes, x: Tensor, y: Tensor) -> Tensor:
    """How far each place lies from the heart of its shape.

    Args:
        shapes: n outlines.
        x, y: (n, H, W) places relative to the shape's centre, already turned; 1 = about the shape's own size.

    Returns:
        (n, H, W), >= 0; the shape of any size is the set of places below a level.

    Source: ours.
    """
    stretch = shapes.elongation[:, None, None].sqrt()
    x, y = x / stretch, y * stretch
    gauge = torch.empty_like(x)
    for kind in set(shapes.kinds):
        rows = [i for i, name in enumerate(shapes.kinds) if name == kind]
        gauge[rows] = _GAUGES[kind](shapes.take(rows), x[rows], y[rows])
    return gauge


def _box_gauge(shapes: Shapes, x: Tensor, y: Tensor) -> Tensor:
    return torch.maximum(x.abs(), y.abs())


def _ellipse_gauge(shapes: Shapes, x: Tensor, y: Tensor) -> Tensor:
    return torch.hypot(x, y)


def _sprite_gauge(shapes: Shapes, x: Tensor, y: Tensor) -> Tensor:
    """Distance from the centre as a share of the outline's radius in that direction."""
    place = (torch.atan2(y, x) / (2 * math.pi) % 1) * ANGLES
    before = place.floor()
    flat = before.long().flatten(1) % ANGLES  # (n, H*W)
    left = shapes.radii.gather(1, flat).view_as(x)
    right = shapes.radii.gather(1, (flat + 1) % ANGLES).view_as(x)
    return torch.hypot(x, y) / torch.lerp(left, right, place - before)


def _brush_gauge(shapes: Shapes, x: Tensor, y: Tensor) -> Tensor:
    """Distance to the nearest segment of the stroke."""
    nearest = torch.full_like(x, math.inf)
    corners = shapes.points[:, :, :, None, None].unbind(1)  # each (n, 2, 1, 1)
    for start, end in zip(corners[:-1], corners[1:], strict=True):
        (dx, dy), (px, py) = (end - start).unbind(1), (x - start[:, 0], y - start[:, 1])
        along = ((px * dx + py * dy) / (dx * dx + dy * dy)).clamp(0, 1)
        nearest = torch.minimum(nearest, (px - along * dx).square() + (py - along * dy).square())
    return nearest.sqrt()


_GAUGES = {"box": _box_gauge, "ellipse": _ellipse_gauge, "brush": _brush_gauge, "sprite": _sprite_gauge}


def level_for_area(gauge: Tensor, fractions: list[float]) -> Tensor:
    """The level below which exactly a given fraction of the pixels lies.

    Args:
        gauge: (n, H, W).
        fractions: n numbers in (0, 1].

    Returns:
        (n, 1, 1). Pixels with equal gauge fall together, so a box may be one line of pixels larger.

    Source: ours.
    """
    flat = gauge.flatten(1)  # (n, H*W)
    counts = [max(1, round(fraction * flat.shape[1])) for fraction in fractions]
    levels = [row.kthvalue(count).values for row, count in zip(flat, counts, strict=True)]
    return torch.stack(levels)[:, None, None]
