"""The five kinds of edit, each a change of one object's look that the renderer can carry out exactly.

Source: ours.
"""

from __future__ import annotations

import torch
from torch import Tensor

from novakit.errors import NovaError
from novakit.scenes.randomness import SceneRandom
from novakit.scenes.render import Camera
from novakit.scenes.sprites import Look, Path
from novakit.scenes.textures import hsv_to_rgb, palette

EDITS = ("recolour", "replace", "remove", "add", "restyle")


def edit_codes(random: SceneRandom, edit: str | None) -> Tensor:
    """The kind of edit of every scene as an index into EDITS, `(B,)`; `None` draws one per scene."""
    if edit is None:
        return random.integers("edit/kind", len(EDITS))
    if edit not in EDITS:
        raise NovaError(f"Unknown edit {edit!r}; the nano world knows {', '.join(EDITS)}.")
    return torch.full((len(random),), EDITS.index(edit), device=random.seeds.device)


def luminance(colour: Tensor) -> Tensor:
    """Rec. 601 luma of RGB `(..., 3, H, W)`, channel kept with size 1."""
    weights = torch.tensor([0.299, 0.587, 0.114], device=colour.device)[:, None, None]
    return (colour * weights).sum(-3, keepdim=True)


def recoloured(look: Look, random: SceneRandom) -> Look:
    """The same object in another colour: its shading is kept, its `edit` part is tinted."""
    tint = hsv_to_rgb(
        random.uniform("edit/hue"),
        random.uniform("edit/saturation", low=0.65, high=0.95),
        random.uniform("edit/value", low=0.7, high=1.0),
    )
    tinted = (0.2 + 1.2 * luminance(look.colour)).clamp(0.0, 1.0) * tint[:, None, :, None, None]
    return Look(look.colour * (1.0 - look.edit) + tinted * look.edit, look.alpha, look.edit)


def restyle_region(random: SceneRandom, camera: Camera, size: tuple[int, int]) -> Path:
    """A region glued to the background: it moves only because the camera moves."""
    height, width = size
    room = torch.tensor([width * 0.3, height * 0.25], device=camera.zoom.device)
    place = random.uniform("edit/region", 2, low=-1.0, high=1.0) * room
    middle = camera.shift.shape[1] // 2
    anchor = place * camera.zoom[:, middle, None] + camera.shift[:, middle]  # texels, fixed to the background
    centre = (anchor[:, None] - camera.shift) / camera.zoom[..., None]
    half = random.uniform("edit/region_size", low=0.2, high=0.38)[:, None] * height
    return Path(centre, half / camera.zoom, torch.zeros_like(camera.zoom))


def restyled(canvas: Tensor, random: SceneRandom) -> Tensor:
    """A poster look: luma mapped onto three colours. `canvas` `(B, T, 3, H, W)` in [0, 1]."""
    colours = palette(random, "edit/style")  # (B, 3, 3)
    order = luminance(colours[..., None, None])[..., 0, 0, 0].argsort(dim=1)
    dark, middle, bright = (
        torch.gather(colours, 1, order[:, i, None, None].expand(-1, 1, 3))[:, :, :, None, None] for i in range(3)
    )
    level = luminance(canvas) * 2.0
    low = dark + (middle - dark) * level.clamp(0.0, 1.0)
    return (low + (bright - middle) * (level - 1.0).clamp(0.0, 1.0)).clamp(0.0, 1.0)
