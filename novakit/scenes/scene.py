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
from novakit.scenes.render import (
    BACKGROUND_SIDE,
    Layer,
    over,
    random_camera,
    render_background,
    render_sprite,
)
from novakit.scenes.sprites import Look, Path, random_look, random_path
from novakit.scenes.textures import check_split, texture
from novakit.scenes.walker import coat_colour, street_texture, walker_look

MAX_OBJECTS = 3
WALKER_SHARE = 0.15
STILL_SHARE = 0.2
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


@dataclass(frozen=True)
class _Objects:
    """Everything on stage before rendering."""

    looks: list[Look]
    paths: list[Path]
    present: Tensor  # (B, MAX_OBJECTS) booleans
    edited: Tensor  # (B,) which object the edit is about


def _merge(condition: Tensor, yes: Look, no: Look) -> Look:
    """Per scene choose one of two looks; still looks are repeated over time when the other one moves."""

    def pick(a: Tensor, b: Tensor) -> Tensor:
        return torch.where(condition[:, None, None, None, None], a, b)

    return Look(pick(yes.colour, no.colour), pick(yes.alpha, no.alpha), pick(yes.edit, no.edit))


def _merge_paths(condition: Tensor, yes: Path, no: Path) -> Path:
    where = condition[:, None]
    return Path(
        torch.where(where[..., None], yes.centre, no.centre),
        torch.where(where, yes.half_side, no.half_side),
        torch.where(where, yes.angle, no.angle),
    )


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


def _stage(random: SceneRandom, split: str, size: tuple[int, int], frames: int, walkers: Tensor) -> _Objects:
    count = 1 + random.integers("objects/count", MAX_OBJECTS)
    present = torch.arange(MAX_OBJECTS, device=count.device)[None] < count[:, None]
    edited = (random.uniform("objects/edited") * count).long().clamp(max=MAX_OBJECTS - 1)
    edited = torch.where(walkers, torch.zeros_like(edited), edited)
    looks, paths = [], []
    for slot in range(MAX_OBJECTS):
        still = random.chance(f"object{slot}/still", STILL_SHARE)
        looks.append(random_look(random, f"object{slot}", split))
        paths.append(random_path(random, f"object{slot}", frames, size, still))
    if walkers.any():
        figure = walker_look(random, "walker", frames, coat_colour(random, "walker/coat"))
        looks[0] = _merge(walkers, figure, looks[0])
        paths[0] = _merge_paths(walkers, _walking_path(paths[0], random, size), paths[0])
    return _Objects(looks, paths, present, edited)


def _edited_layer(
    random: SceneRandom, split: str, stage: _Objects, codes: Tensor, size: tuple[int, int]
) -> tuple[Layer, Path]:
    """The edited object as the truth shows it, and its path."""
    look, path = stage.looks[0], stage.paths[0]
    for slot in range(1, MAX_OBJECTS):
        look = _merge(stage.edited == slot, stage.looks[slot], look)
        path = _merge_paths(stage.edited == slot, stage.paths[slot], path)
    look = _merge(codes == EDITS.index("recolour"), edit_kinds.recoloured(look, random), look)
    look = _merge(codes == EDITS.index("replace"), random_look(random, "edit/new", split), look)
    return render_sprite(look, path, size), path


def _composite(
    background: Tensor, layers: list[Layer], edited: Layer, stage: _Objects, codes: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Source, truth and the coverage of the edited parts, each `(B, T, C, H, W)`."""
    source = truth = background
    seen = torch.zeros_like(background[:, :, :1])
    is_recolour = (codes == EDITS.index("recolour"))[:, None, None, None, None]
    restyle = codes == EDITS.index("restyle")
    for slot, layer in enumerate(layers):
        chosen = (stage.edited == slot) & ~restyle
        present = stage.present[:, slot]
        in_source = present & ~(chosen & (codes == EDITS.index("add")))
        in_truth = present & ~(chosen & (codes == EDITS.index("remove")))
        pick = chosen[:, None, None, None, None]
        true_layer = Layer(
            *(torch.where(pick, getattr(edited, f), getattr(layer, f)) for f in ("colour", "alpha", "edit"))
        )
        changed = torch.maximum(layer.alpha, true_layer.alpha)
        changed = torch.where(is_recolour, layer.edit, changed) * pick
        hidden = torch.minimum(layer.alpha, true_layer.alpha) * (~chosen & present)[:, None, None, None, None]
        seen = torch.maximum(seen * (1.0 - hidden), changed)
        source = over(source, layer, in_source.float())
        truth = over(truth, true_layer, in_truth.float())
    return source, truth, seen


def _light(random: SceneRandom, frames: int) -> Tensor:
    """A slow change of brightness, `(B, T, 1, 1, 1)` around 1."""
    time = torch.arange(frames, device=random.seeds.device)[None] / 33.0
    depth = random.uniform("light/depth", 1, high=0.1)
    beat = random.uniform("light/beat", 1, low=2.0, high=8.0)
    return (1.0 + depth * torch.sin(beat * time + random.uniform("light/phase", 1, high=6.28)))[..., None, None, None]


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
    walkers = random.chance("walker/is", WALKER_SHARE if walker is None else float(walker))
    camera = random_camera(random, num_frames)
    ground = texture(random, "background", split, BACKGROUND_SIDE)
    if walkers.any():
        street = street_texture(random, "street", split, BACKGROUND_SIDE)
        ground = torch.where(walkers[:, None, None, None], street, ground)
    background = render_background(ground, camera, size)
    stage = _stage(random, split, size, num_frames, walkers)
    layers = [render_sprite(look, path, size) for look, path in zip(stage.looks, stage.paths, strict=True)]
    edited, path = _edited_layer(random, split, stage, codes, size)
    source, truth, seen = _composite(background, layers, edited, stage, codes)
    source, truth = (clip * _light(random, num_frames) for clip in (source, truth))

    region = edit_kinds.restyle_region(random, camera, size)
    restyle = (codes == EDITS.index("restyle"))[:, None, None, None, None]
    patch = render_sprite(random_look(random, "edit/region_shape", split), region, size).alpha * restyle
    truth = truth.lerp(edit_kinds.restyled(source.clamp(0.0, 1.0), random), patch)
    mask = (torch.maximum(seen, patch) > VISIBLE).float()

    source, truth = (clip.clamp(0.0, 1.0) * 2.0 - 1.0 for clip in (source, truth))
    truth = torch.where(mask.bool(), truth, source)
    track = _merge_paths(restyle[:, 0, 0, 0, 0], region, path).centre
    step = min(8, num_frames - 1)
    moving = (track[:, step:] - track[:, :-step]).norm(dim=-1).mean(dim=1) >= 2.0
    names = [EDITS[code] for code in codes.tolist()]
    to_clip = (0, 2, 1, 3, 4)  # (B, T, C, H, W) -> (B, C, T, H, W)
    return SceneBatch(
        source.permute(to_clip).contiguous(),
        truth.permute(to_clip).contiguous(),
        mask.permute(to_clip).contiguous(),
        names,
        moving,
        camera.still,
        random.seeds,
    )


@torch.no_grad()
def render_clips(
    seeds: Sequence[int] | Tensor,
    *,
    split: str = "train",
    size: tuple[int, int] = (64, 96),
    num_frames: int = 33,
    device: str | torch.device = "cpu",
) -> Tensor:
    """Clips without an edit, `(B, 3, T, H, W)` in [-1, 1]: what pair-free training sees. Cheaper than scenes."""
    check_split(split)
    random = SceneRandom(torch.as_tensor(seeds, device=device), salt=split)
    walkers = random.chance("walker/is", WALKER_SHARE)
    ground = texture(random, "background", split, BACKGROUND_SIDE)
    if walkers.any():
        street = street_texture(random, "street", split, BACKGROUND_SIDE)
        ground = torch.where(walkers[:, None, None, None], street, ground)
    canvas = render_background(ground, random_camera(random, num_frames), size)
    stage = _stage(random, split, size, num_frames, walkers)
    for slot, (look, path) in enumerate(zip(stage.looks, stage.paths, strict=True)):
        canvas = over(canvas, render_sprite(look, path, size), stage.present[:, slot].float())
    canvas = (canvas * _light(random, num_frames)).clamp(0.0, 1.0) * 2.0 - 1.0
    return canvas.permute(0, 2, 1, 3, 4).contiguous()
