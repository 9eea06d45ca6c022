"""The paper's own example in small: somebody in a coat walks down a street.

The walker is drawn from capsules (limbs) and a trapezium (the coat) in its own square frame, once per frame of the
gait; the coat alone is the part that an edit changes. The street is houses with windows, a pavement and a road.

Source: ours (the example is the paper's, section 1: a red coat becomes blue).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from novakit.scenes.randomness import SceneRandom
from novakit.scenes.sprites import SPRITE_SIDE, Look, unit_grid
from novakit.scenes.textures import hsv_to_rgb

STEPS_PER_CLIP = 3.5  # gait cycles in 33 frames


@dataclass(frozen=True)
class Street:
    """What is fixed about the streets of a split: number of houses, and spatial frequencies in rad per half side."""

    houses: int
    windows: tuple[float, float]  # across, down
    joints: float  # of the pavement
    dashes: float  # of the road


#: Every split walks down streets of its own.
STREETS = {
    "train": Street(7, (66.0, 40.0), 50.0, 30.0),
    "val": Street(9, (78.0, 34.0), 62.0, 24.0),
    "test": Street(5, (54.0, 46.0), 40.0, 38.0),
}


def _capsule(x: Tensor, y: Tensor, start: tuple, end: tuple, radius: float) -> Tensor:
    """Coverage in [0, 1] of a thick line from `start` to `end`; coordinates `(B, T, 1, 1)` or numbers."""
    (x0, y0), (x1, y1) = start, end
    dx, dy = x1 - x0, y1 - y0
    length = dx * dx + dy * dy + 1e-6
    along = (((x - x0) * dx + (y - y0) * dy) / length).clamp(0.0, 1.0)
    distance = torch.sqrt((x - x0 - along * dx) ** 2 + (y - y0 - along * dy) ** 2)
    return (0.5 + (radius - distance) * x.shape[-1] / 2.0).clamp(0.0, 1.0)


def _coat(x: Tensor, y: Tensor, sway: Tensor) -> Tensor:
    """Coverage of the coat: a trapezium from the shoulders (y=-0.5) to the hem (y=0.35)."""
    down = ((y + 0.5) / 0.85).clamp(0.0, 1.0)
    half_width = 0.17 + 0.13 * down
    middle = 0.06 * sway * down
    inside = torch.minimum(half_width - (x - middle).abs(), torch.minimum(y + 0.52, 0.37 - y))
    return (0.5 + inside * x.shape[-1] / 2.0).clamp(0.0, 1.0)


def _paint(colour: Tensor, coverage: Tensor, paint: Tensor) -> Tensor:
    """Lay `paint` `(B, 3)` over `colour` `(B, T, 3, S, S)` where `coverage` `(B, T, S, S)` is 1."""
    cover = coverage[:, :, None]
    return colour * (1.0 - cover) + paint[:, None, :, None, None] * cover


def coat_colour(random: SceneRandom, stream: str) -> Tensor:
    """A strong coat colour per scene, `(B, 3)` in [0, 1]."""
    return hsv_to_rgb(
        random.uniform(stream + "/hue"),
        random.uniform(stream + "/saturation", low=0.6, high=0.95),
        random.uniform(stream + "/value", low=0.55, high=0.95),
    )


def walker_look(random: SceneRandom, stream: str, num_frames: int, coat: Tensor) -> Look:
    """The walking figure, one texture per frame of the clip.

    Args:
        coat: `(B, 3)` coat colour in [0, 1].
    """
    x, y = unit_grid(SPRITE_SIDE, random.seeds.device)
    x, y = x[None, None], y[None, None]
    time = torch.arange(num_frames, device=x.device) / 33.0
    phase = random.uniform(stream + "/gait", 1, high=6.28) + 6.2832 * STEPS_PER_CLIP * time[None]
    swing = torch.sin(phase)[..., None, None]  # (B, T, 1, 1)
    zero = torch.zeros_like(swing)
    skin = hsv_to_rgb(
        random.uniform(stream + "/skin_hue", low=0.05, high=0.09),
        random.uniform(stream + "/skin_sat", low=0.3, high=0.6),
        random.uniform(stream + "/skin_val", low=0.45, high=0.95),
    )
    trousers = hsv_to_rgb(
        random.uniform(stream + "/leg_hue"),
        random.uniform(stream + "/leg_sat", low=0.0, high=0.4),
        random.uniform(stream + "/leg_val", low=0.1, high=0.4),
    )
    legs = torch.maximum(
        _capsule(x, y, (zero, 0.3), (0.26 * swing, 0.92), 0.08),
        _capsule(x, y, (zero, 0.3), (-0.26 * swing, 0.92), 0.08),
    )
    head = _capsule(x, y, (zero, -0.72), (zero, -0.70), 0.17)
    body = _coat(x, y, swing)
    arm = _capsule(x, y, (zero, -0.4), (-0.24 * swing, 0.1), 0.065)
    coat_alpha = torch.maximum(body, arm)
    canvas = torch.zeros(len(random), num_frames, 3, SPRITE_SIDE, SPRITE_SIDE, device=x.device)
    canvas = canvas + trousers[:, None, :, None, None]
    canvas = _paint(canvas, head.expand(len(random), num_frames, -1, -1), skin)
    canvas = _paint(canvas, body.expand_as(legs), coat)
    canvas = _paint(canvas, arm.expand_as(legs), coat * 0.8)
    alpha = torch.stack([legs, head.expand_as(legs), coat_alpha.expand_as(legs)]).amax(0)
    return Look(canvas, alpha[:, :, None], coat_alpha.expand_as(legs)[:, :, None])


def street_texture(random: SceneRandom, stream: str, split: str, side: int) -> Tensor:
    """A street seen from the side: sky, house fronts with windows, pavement and road, `(B, 3, side, side)`."""
    x, y = unit_grid(side, random.seeds.device)
    street = STREETS[split]
    houses, (across, down) = street.houses, street.windows
    column = ((x + 1.0) / 2.0 * houses).floor().long().clamp(0, houses - 1)
    hue = random.uniform(stream + "/house_hue", houses, low=0.02, high=0.16)
    value = random.uniform(stream + "/house_value", houses, low=0.45, high=0.9)
    fronts = hsv_to_rgb(hue, torch.full_like(hue, 0.35), value)[:, column]  # (B, side, side, 3)
    roof = random.uniform(stream + "/roof", houses, low=-0.75, high=-0.35)[:, column]
    window = ((torch.sin(x * across) > 0.1) & (torch.sin(y * down) > 0.2))[None, ..., None]
    fronts = torch.where(window, fronts * 0.45 + 0.08, fronts)
    sky = torch.stack([0.55 + 0.2 * y, 0.7 + 0.15 * y, 0.92 + 0.0 * y], dim=-1)[None]
    picture = torch.where((y[None] < roof)[..., None], sky, fronts)
    joints = (torch.sin(x * street.joints) > 0.96)[None, ..., None]
    pavement = torch.where(joints, 0.45, 0.62) * torch.ones_like(picture)
    picture = torch.where((y > 0.18)[None, ..., None], pavement, picture)
    road = torch.full_like(picture, 0.3)
    dashes = ((torch.sin(x * street.dashes) > 0.0) & ((y - 0.52).abs() < 0.015))[None, ..., None]
    picture = torch.where((y > 0.38)[None, ..., None], torch.where(dashes, 0.9, road), picture)
    return picture.permute(0, 3, 1, 2).clamp(0.0, 1.0)
