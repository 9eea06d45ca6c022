"""What stands before the camera before any edit: a background, up to three objects and the light.

Source: ours.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from novakit.scenes.randomness import SceneRandom
from novakit.scenes.render import BACKGROUND_SIDE, Camera, Layer, random_camera, render_background, render_sprite
from novakit.scenes.sprites import Look, Path, random_look, random_path
from novakit.scenes.textures import texture
from novakit.scenes.walker import coat_colour, street_texture, walker_look

MAX_OBJECTS = 3
WALKER_SHARE = 0.15
STILL_SHARE = 0.2


@dataclass(frozen=True)
class World:
    """A batch of B worlds, ready to be rendered."""

    camera: Camera
    background: Tensor  # (B, T, 3, H, W) in [0, 1], as the camera sees it
    looks: list[Look]  # of MAX_OBJECTS objects, the later ones nearer to the camera
    paths: list[Path]
    present: Tensor  # (B, MAX_OBJECTS) booleans
    chosen: Tensor  # (B,) the object that an edit is about
    light: Tensor  # (B, T, 1, 1, 1) factor around 1

    def layers(self) -> Iterator[tuple[Tensor, Layer]]:
        """From the farthest object to the nearest: the worlds (n,) that have it, and its layer there."""
        size = tuple(self.background.shape[-2:])
        for slot, (look, path) in enumerate(zip(self.looks, self.paths, strict=True)):
            rows = self.present[:, slot].nonzero()[:, 0]
            yield rows, render_sprite(look.take(rows), path.take(rows), size)

    def chosen_object(self) -> tuple[Look, Path]:
        """Look and path of the object that an edit is about."""
        look, path = self.looks[0], self.paths[0]
        for slot in range(1, MAX_OBJECTS):
            look = merge_looks(self.chosen == slot, self.looks[slot], look)
            path = merge_paths(self.chosen == slot, self.paths[slot], path)
        return look, path


def merge_looks(condition: Tensor, yes: Look, no: Look) -> Look:
    """Per scene `(B,)` one of two looks; still looks are repeated over time when the other one moves."""

    def pick(a: Tensor, b: Tensor) -> Tensor:
        return torch.where(condition[:, None, None, None, None], a, b)

    return Look(pick(yes.colour, no.colour), pick(yes.alpha, no.alpha), pick(yes.edit, no.edit))


def merge_paths(condition: Tensor, yes: Path, no: Path) -> Path:
    """Per scene `(B,)` one of two paths."""
    where = condition[:, None]
    return Path(
        torch.where(where[..., None], yes.centre, no.centre),
        torch.where(where, yes.half_side, no.half_side),
        torch.where(where, yes.angle, no.angle),
    )


def build_world(
    random: SceneRandom, split: str, size: tuple[int, int], num_frames: int, walker: bool | None = None
) -> World:
    """Draw B worlds.

    Args:
        random: of the scenes.
        split: whose textures.
        size: (H, W) in pixels.
        num_frames: T.
        walker: True puts the walker on the street in every world, False in none, None in about 15 %.
    """
    walkers = random.chance("walker/is", WALKER_SHARE if walker is None else float(walker))
    camera = random_camera(random, num_frames)
    ground = texture(random, "background", split, BACKGROUND_SIDE)
    if walkers.any():
        street = street_texture(random, "street", split, BACKGROUND_SIDE)
        ground = torch.where(walkers[:, None, None, None], street, ground)
    background = render_background(ground, camera, size)
    count = 1 + random.integers("objects/count", MAX_OBJECTS)
    present = torch.arange(MAX_OBJECTS, device=count.device)[None] < count[:, None]
    chosen = (random.uniform("objects/edited") * count).long().clamp(max=MAX_OBJECTS - 1)
    chosen = torch.where(walkers, torch.zeros_like(chosen), chosen)
    looks, paths = _objects(random, split, size, num_frames, walkers)
    return World(camera, background, looks, paths, present, chosen, _light(random, num_frames))


def _objects(
    random: SceneRandom, split: str, size: tuple[int, int], frames: int, walkers: Tensor
) -> tuple[list[Look], list[Path]]:
    """Looks and paths of MAX_OBJECTS objects; the first one is the walker where there is one."""
    looks, paths = [], []
    for slot in range(MAX_OBJECTS):
        still = random.chance(f"object{slot}/still", STILL_SHARE)
        looks.append(random_look(random, f"object{slot}", split))
        paths.append(random_path(random, f"object{slot}", frames, size, still))
    if walkers.any():
        figure = walker_look(random, "walker", frames, coat_colour(random, "walker/coat"))
        looks[0] = merge_looks(walkers, figure, looks[0])
        paths[0] = merge_paths(walkers, _walking_path(paths[0], random, size), paths[0])
    return looks, paths


def _walking_path(path: Path, random: SceneRandom, size: tuple[int, int]) -> Path:
    """Walkers stay upright and on the pavement, and stride in one direction."""
    height, width = size
    frames = path.angle.shape[1]
    time = torch.arange(frames, device=path.angle.device)[None] / 33.0
    way = torch.where(random.chance("walker/left", 0.5), -1.0, 1.0)[:, None]
    pace = random.uniform("walker/pace", 1, low=0.15, high=0.5)
    x = way * pace * width * (time - 0.5) + random.uniform("walker/x", 1, low=-0.15, high=0.15) * width
    half = random.uniform("walker/size", 1, low=0.24, high=0.34) * height
    y = random.uniform("walker/y", 1, low=0.08, high=0.2) * height + 0.0 * time
    return Path(torch.stack([x, y], dim=-1), half.expand(-1, frames), torch.zeros_like(path.angle))


def _light(random: SceneRandom, frames: int) -> Tensor:
    """A slow change of brightness, `(B, T, 1, 1, 1)` around 1."""
    time = torch.arange(frames, device=random.seeds.device)[None] / 33.0
    depth = random.uniform("light/depth", 1, high=0.1)
    beat = random.uniform("light/beat", 1, low=2.0, high=8.0)
    return (1.0 + depth * torch.sin(beat * time + random.uniform("light/phase", 1, high=6.28)))[..., None, None, None]
