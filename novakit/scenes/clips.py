"""Clips without an edit: what pair-free training sees, and the cut-outs that source fidelity pastes into them.

Source: ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from novakit.scenes.randomness import SceneRandom
from novakit.scenes.render import as_clip, over, render_sprite
from novakit.scenes.sprites import Path, random_look, random_path
from novakit.scenes.textures import check_split
from novakit.scenes.world import STILL_SHARE, World, build_world


def _compose(world: World) -> Tensor:
    """The worlds through their cameras, `(B, T, 3, H, W)`, before the light; uses up the background."""
    canvas = world.background
    for rows, layer in world.layers():
        over(canvas, layer, rows)
    return canvas


@torch.no_grad()
def render_clips(
    seeds: Sequence[int] | Tensor,
    *,
    split: str = "train",
    size: tuple[int, int] = (64, 96),
    num_frames: int = 33,
    device: str | torch.device = "cpu",
) -> Tensor:
    """Clips without an edit, `(B, 3, T, H, W)` in [-1, 1]: the sources of `render_scenes`, and cheaper.

    Arguments as `render_scenes`.
    """
    check_split(split)
    random = SceneRandom(torch.as_tensor(seeds, device=device), salt=split)
    world = build_world(random, split, size, num_frames)
    return as_clip(_compose(world).mul_(world.light))


@dataclass(frozen=True)
class ClipsWithCutOuts:
    """Training clips, and what an object mask gives for free: no clip here is an edit of another.

    Attributes:
        clip: `(B, 3, T, H, W)` in [-1, 1], as `render_clips`.
        matte: `(B, 1, T, H, W)` in [0, 1], where one object of the clip is seen (on real footage: a segmenter's mask).
        stranger: `(B, 3, T, H, W)` in [-1, 1], an object that was cut out of somewhere else, on its own path.
        stranger_matte: `(B, 1, T, H, W)` in [0, 1], where that object is.
        placed: `(B, 3, T, H, W)`, the same stranger put where the clip's object is, a little larger.
        placed_matte: `(B, 1, T, H, W)`.
    """

    clip: Tensor
    matte: Tensor
    stranger: Tensor
    stranger_matte: Tensor
    placed: Tensor
    placed_matte: Tensor


def _visible_matte(world: World) -> Tensor:
    """Where the chosen object is seen, `(B, T, 1, H, W)`: its silhouette less what stands before it."""
    matte = torch.zeros_like(world.background[:, :, :1])
    for slot, (rows, layer) in enumerate(world.layers()):
        chosen = (world.chosen == slot)[rows]
        matte[rows] *= 1.0 - layer.alpha
        matte[rows[chosen]] = layer.alpha[chosen]
    return matte


@torch.no_grad()
def render_cut_outs(
    seeds: Sequence[int] | Tensor,
    *,
    split: str = "train",
    size: tuple[int, int] = (64, 96),
    num_frames: int = 33,
    device: str | torch.device = "cpu",
) -> ClipsWithCutOuts:
    """Clips with the matte of one of their objects, and a stranger to paste.

    Arguments as `render_scenes`.
    """
    check_split(split)
    random = SceneRandom(torch.as_tensor(seeds, device=device), salt=split)
    world = build_world(random, split, size, num_frames)
    matte = _visible_matte(world)
    clip = _compose(world).mul_(world.light)
    look = random_look(random, "stranger", split)
    still = random.chance("stranger/still", STILL_SHARE)
    alone = render_sprite(look, random_path(random, "stranger", num_frames, size, still), size)
    there = world.chosen_object()[1]
    growth = random.uniform("stranger/growth", 1, low=0.9, high=1.3)
    placed = render_sprite(look, Path(there.centre, there.half_side * growth, there.angle), size)
    pairs = [(as_clip(layer.colour * world.light), layer.alpha.transpose(1, 2)) for layer in (alone, placed)]
    return ClipsWithCutOuts(as_clip(clip), matte.transpose(1, 2), *pairs[0], *pairs[1])
