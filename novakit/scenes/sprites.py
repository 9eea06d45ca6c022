"""Sprites: flat textured objects with a silhouette, a colour texture and a smooth path.

A sprite's look is an RGB texture with an alpha channel and an *edit* channel: the part of the object that an edit
would change (the whole object, or only the coat of the walker).

Source: ours.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from novakit.scenes.randomness import SceneRandom
from novakit.scenes.textures import texture

SPRITE_SIDE = 40  # texels along one side of a sprite's texture


@dataclass(frozen=True)
class Look:
    """What an object looks like in its own square frame.

    Attributes:
        colour: `(B, T or 1, 3, S, S)` in [0, 1].
        alpha: `(B, T or 1, 1, S, S)` in [0, 1], the silhouette.
        edit: `(B, T or 1, 1, S, S)` in [0, 1], the part that an edit changes; at most `alpha`.
    """

    colour: Tensor
    alpha: Tensor
    edit: Tensor

    def take(self, rows: Tensor) -> Look:
        """The looks of some scenes, by index or by booleans."""
        return Look(self.colour[rows], self.alpha[rows], self.edit[rows])


@dataclass(frozen=True)
class Path:
    """Where an object is: centre in pixels, half side in pixels and angle in radians, for every frame.

    Attributes:
        centre: `(B, T, 2)` as (x, y), relative to the middle of the frame.
        half_side: `(B, T)`.
        angle: `(B, T)`.
    """

    centre: Tensor
    half_side: Tensor
    angle: Tensor

    def take(self, rows: Tensor) -> Path:
        """The paths of some scenes, by index or by booleans."""
        return Path(self.centre[rows], self.half_side[rows], self.angle[rows])


def unit_grid(side: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """x and y coordinates in [-1, 1] of a sprite's texels, each `(side, side)`."""
    axis = (torch.arange(side, device=device) + 0.5) / side * 2.0 - 1.0
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    return x, y


def silhouette(random: SceneRandom, stream: str, side: int = SPRITE_SIDE) -> Tensor:
    """Random silhouettes: blob, star, polygon-like or box, `(B, 1, side, side)` in [0, 1] with soft edges."""
    x, y = unit_grid(side, random.seeds.device)
    aspect = random.uniform(stream + "/aspect", 1, 1, low=0.65, high=1.0)
    flip = random.chance(stream + "/flip", 0.5)[:, None, None]
    x, y = torch.where(flip, x / aspect, x), torch.where(flip, y, y / aspect)  # (B, side, side)
    theta = torch.atan2(y, x) + random.uniform(stream + "/turn", 1, 1, high=6.28)
    petals = (2 + random.integers(stream + "/petals", 5, 1, 1)).float()
    depth = random.uniform(stream + "/depth", 1, 1, low=0.0, high=0.28)
    radius = (0.9 - depth) * (1.0 + depth * torch.cos(petals * theta))
    round_distance = radius - torch.sqrt(x * x + y * y)
    box_distance = 0.78 - torch.maximum(x.abs(), y.abs())
    is_box = random.chance(stream + "/box", 0.3)[:, None, None]
    distance = torch.where(is_box, box_distance, round_distance)
    return (0.5 + distance * side / 2.0).clamp(0.0, 1.0)[:, None]


def shaded(colour: Tensor, random: SceneRandom, stream: str) -> Tensor:
    """Light from one side: `colour` `(B, 3, S, S)` times a gentle gradient."""
    x, y = unit_grid(colour.shape[-1], colour.device)
    angle = random.uniform(stream + "/light", 1, 1, high=6.28)
    gradient = 1.0 + 0.25 * (x * torch.cos(angle) + y * torch.sin(angle))
    return (colour * gradient[:, None]).clamp(0.0, 1.0)


def random_look(random: SceneRandom, stream: str, split: str) -> Look:
    """A still object with a random silhouette and texture."""
    alpha = silhouette(random, stream)
    colour = shaded(texture(random, stream, split, SPRITE_SIDE, photo_share=0.25), random, stream)
    return Look(colour[:, None], alpha[:, None], alpha[:, None])


def random_path(random: SceneRandom, stream: str, num_frames: int, size: tuple[int, int], still: Tensor) -> Path:
    """A smooth path through the frame: straight drift plus a sway, slow turning and breathing size.

    Args:
        still: `(B,)` booleans; these objects do not move at all.
    """
    height, width = size
    time = torch.arange(num_frames, device=random.seeds.device)[None] / 33.0  # one unit is a clip of 33 frames
    moves = (~still).float()[:, None]
    room = torch.tensor([width * 0.34, height * 0.3], device=time.device)
    middle = random.uniform(stream + "/middle", 2, low=-1.0, high=1.0) * room
    drift = random.uniform(stream + "/drift", 2, low=-1.0, high=1.0) * torch.tensor([1.0, 0.5], device=time.device)
    sway = random.uniform(stream + "/sway", 2, low=0.0, high=0.10) * height
    phase = random.uniform(stream + "/phase", 2, high=6.28)
    beat = random.uniform(stream + "/beat", 2, low=4.0, high=10.0)
    travel = drift[:, None] * (time[..., None] - 0.5) * width * 0.6  # (B, T, 2)
    swing = sway[:, None] * torch.sin(beat[:, None] * time[..., None] + phase[:, None])
    centre = middle[:, None] + moves[..., None] * (travel + swing)
    half_side = random.uniform(stream + "/size", low=0.13, high=0.27) * height
    breath = 1.0 + moves * 0.12 * torch.sin(5.0 * time + phase[:, :1])
    turn = random.uniform(stream + "/spin", low=-1.2, high=1.2)[:, None] * moves * time
    angle = random.uniform(stream + "/start", low=-0.6, high=0.6)[:, None] + turn
    return Path(centre, half_side[:, None] * breath, angle)
