"""Scenes: a source clip, the exact mask of an edit, and the true edited clip.

Source: ours. The paper has no ground truth; a rendered world does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from novakit.scenes import edits as edit_kinds
from novakit.scenes.edits import EDITS
from novakit.scenes.randomness import SceneRandom
from novakit.scenes.render import Layer, as_clip, over, render_sprite
from novakit.scenes.sprites import Path, random_look
from novakit.scenes.textures import check_split
from novakit.scenes.world import World, build_world, merge_looks

VISIBLE = 0.01  # an edited layer counts as visible above this coverage


@dataclass(frozen=True)
class SceneBatch:
    """A batch of scenes.

    Attributes:
        source: `(B, 3, T, H, W)` in [-1, 1], the clip before the edit.
        truth: `(B, 3, T, H, W)` in [-1, 1], the clip after the edit; equals `source` wherever `mask` is 0.
        mask: `(B, 1, T, H, W)` in {0, 1}, 1 where the edit may change content.
        edits: the kind of edit of every scene, one of EDITS.
        moving: `(B,)` booleans; the edited object moves 2 px or more in 8 frames on average.
        still_camera: `(B,)` booleans; the background does not move, so that copying a keyframe comes close.
        seeds: `(B,)`.
    """

    source: Tensor
    truth: Tensor
    mask: Tensor
    edits: list[str]
    moving: Tensor
    still_camera: Tensor
    seeds: Tensor


def _edited_object(random: SceneRandom, split: str, world: World, codes: Tensor) -> tuple[Layer, Path]:
    """The edited object as the truth shows it, and its path."""
    size = tuple(world.background.shape[-2:])
    look, path = world.chosen_object()
    look = merge_looks(codes == EDITS.index("recolour"), edit_kinds.recoloured(look, random), look)
    look = merge_looks(codes == EDITS.index("replace"), random_look(random, "edit/new", split), look)
    return render_sprite(look, path, size), path


def _composite(world: World, edited: Layer, codes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Source, truth and the coverage of the edited parts, each `(B, T, C, H, W)`."""
    source, truth = world.background, world.background.clone()
    seen = torch.zeros_like(source[:, :, :1])
    is_restyle, is_recolour, is_add, is_remove = (
        codes == EDITS.index(name) for name in ("restyle", "recolour", "add", "remove")
    )
    for slot, (rows, layer) in enumerate(world.layers()):
        chosen = (world.chosen == slot)[rows] & ~is_restyle[rows]  # (n,) of the worlds that have this object
        over(source, layer, rows, ~(chosen & is_add[rows]))
        over(truth, layer, rows, ~chosen)
        seen[rows[~chosen]] *= 1.0 - layer.alpha[~chosen]  # what stands before the edited object hides it
        edits = rows[chosen]
        over(truth, edited.take(edits), edits, ~is_remove[edits])
        both = torch.maximum(layer.alpha[chosen], edited.alpha[edits])
        seen[edits] = torch.where(is_recolour[edits, None, None, None, None], layer.edit[chosen], both)
    return source, truth, seen


def _restyle(random: SceneRandom, split: str, world: World, truth: Tensor, rows: Tensor) -> tuple[Tensor, Path]:
    """Restyle a region of some scenes `(n,)` of `truth` in place; its coverage `(n, T, 1, H, W)`, and its path."""
    chosen, size = random.take(rows), tuple(truth.shape[-2:])
    region = edit_kinds.restyle_region(chosen, world.camera.take(rows), size)
    patch = render_sprite(random_look(chosen, "edit/region_shape", split), region, size).alpha
    plain = truth[rows]
    truth[rows] = plain.lerp(edit_kinds.restyled(plain.clamp(0.0, 1.0), chosen), patch)
    return patch, region


@torch.no_grad()
def render_scenes(
    seeds: Sequence[int] | Tensor,
    *,
    split: str = "train",
    size: tuple[int, int] = (64, 96),
    num_frames: int = 33,
    edit: str | None = None,
    walker: bool | None = None,
    device: str | torch.device = "cpu",
) -> SceneBatch:
    """Render scenes with their true edits.

    Args:
        seeds: one integer per scene; the same seed and split always give the same scene, in any batch.
        split: "train", "val" or "test"; each has seeds and textures of its own.
        size: frame size `(H, W)` in pixels.
        num_frames: T.
        edit: one of EDITS for all scenes, or None to draw one per scene.
        walker: True puts the walker on the street in every scene, False in none, None in about 15 %.
        device: where to render.

    Raises:
        NovaError: unknown split or edit.
    """
    check_split(split)
    random = SceneRandom(torch.as_tensor(seeds, device=device), salt=split)
    codes = edit_kinds.edit_codes(random, edit)
    world = build_world(random, split, size, num_frames, walker)
    edited, path = _edited_object(random, split, world, codes)
    source, truth, seen = _composite(world, edited, codes)
    source *= world.light
    truth *= world.light
    rows = (codes == EDITS.index("restyle")).nonzero()[:, 0]
    if len(rows):
        seen[rows], region = _restyle(random, split, world, truth, rows)
        path.centre[rows] = region.centre
    source, truth, mask = as_clip(source), as_clip(truth), (seen > VISIBLE).transpose(1, 2)
    truth = torch.where(mask, truth, source)
    step = min(8, num_frames - 1)
    moving = (path.centre[:, step:] - path.centre[:, :-step]).norm(dim=-1).mean(dim=1) >= 2.0
    names = [EDITS[code] for code in codes.tolist()]
    return SceneBatch(source, truth, mask.float(), names, moving, world.camera.still, random.seeds)
