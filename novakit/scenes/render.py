"""Rendering: a background seen by a moving camera, sprites composited over it in depth order.

Source: ours.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from novakit.scenes.randomness import SceneRandom
from novakit.scenes.sprites import Look, Path

BACKGROUND_SIDE = 160  # texels of a background; about one texel per pixel


@dataclass(frozen=True)
class Layer:
    """One object as seen by the camera: colour `(B, T, 3, H, W)`, alpha and edit part `(B, T, 1, H, W)`."""

    colour: Tensor
    alpha: Tensor
    edit: Tensor

    def take(self, rows: Tensor) -> Layer:
        """The layers of some scenes, by index or by booleans."""
        return Layer(self.colour[rows], self.alpha[rows], self.edit[rows])


@dataclass(frozen=True)
class Camera:
    """View of the background: shift in texels `(B, T, 2)` and zoom `(B, T)` (1 = one texel per pixel).

    `still` `(B,)`: booleans, the camera does not move at all.
    """

    shift: Tensor
    zoom: Tensor
    still: Tensor

    def take(self, rows: Tensor) -> Camera:
        """The cameras of some scenes, by index or by booleans."""
        return Camera(self.shift[rows], self.zoom[rows], self.still[rows])


def random_camera(random: SceneRandom, num_frames: int, still_share: float = 0.2) -> Camera:
    """Pan, zoom and a little hand shake; a share of the cameras stands still."""
    time = torch.arange(num_frames, device=random.seeds.device)[None, :, None] / 33.0
    still = random.chance("camera/still", still_share)
    moves = (~still).float()[:, None, None]
    pan = random.uniform("camera/pan", 1, 2, low=-1.0, high=1.0) * torch.tensor([26.0, 10.0], device=time.device)
    start = random.uniform("camera/start", 1, 2, low=-1.0, high=1.0) * torch.tensor([8.0, 14.0], device=time.device)
    shake = random.uniform("camera/shake", 1, 2, high=0.8) * torch.sin(
        random.uniform("camera/beat", 1, 2, low=12.0, high=40.0) * time
    )
    zoom_rate = random.uniform("camera/zoom", 1, low=-0.14, high=0.14)
    zoom = 0.95 + moves[..., 0] * zoom_rate * (time[..., 0] - 0.5)
    return Camera(start + moves * (pan * (time - 0.5) + shake), zoom, still)


def affine_points(theta: Tensor, size: tuple[int, int]) -> Tensor:
    """Where each pixel looks in a texture, `(B, T, H, W, 2)`: `F.affine_grid` for `theta` `(B, T, 2, 3)`.

    Written as a sum of a row and a column, which on a CPU takes a fifth of the time of affine_grid's matrix product.
    """
    height, width = size
    x = (torch.arange(width, device=theta.device) + 0.5) / width * 2.0 - 1.0
    y = (torch.arange(height, device=theta.device) + 0.5) / height * 2.0 - 1.0
    along_x = theta[..., 0, None] * x  # (B, T, 2, W)
    along_y = theta[..., 1, None] * y + theta[..., 2, None]  # (B, T, 2, H)
    return (along_x.transpose(-1, -2)[:, :, None] + along_y.transpose(-1, -2)[:, :, :, None]).contiguous()


def render_background(background: Tensor, camera: Camera, size: tuple[int, int]) -> Tensor:
    """The background through the camera, `(B, T, 3, H, W)`.

    Args:
        background: `(B, 3, S, S)` in [0, 1]; mirrored at its border.
    """
    height, width = size
    batch, frames = camera.zoom.shape
    side = background.shape[-1]
    theta = torch.zeros(batch, frames, 2, 3, device=background.device)
    theta[..., 0, 0] = camera.zoom * width / side
    theta[..., 1, 1] = camera.zoom * height / side
    theta[..., 2] = camera.shift * 2.0 / side
    # The frames of a clip side by side in one tall grid: one grid_sample per batch, no copy of the background.
    grid = affine_points(theta, size)
    tall = F.grid_sample(
        background,
        grid.reshape(batch, frames * height, width, 2),
        padding_mode="reflection",
        align_corners=False,
    )  # (B, 3, T*H, W)
    return tall.reshape(batch, 3, frames, height, width).transpose(1, 2)


def render_sprite(look: Look, path: Path, size: tuple[int, int]) -> Layer:
    """An object at its place in every frame of `(H, W)` pixels."""
    height, width = size
    batch, frames = path.angle.shape
    stack = torch.cat([look.colour, look.alpha, look.edit], dim=2)  # (B, T or 1, 5, S, S)
    cos, sin = torch.cos(path.angle) / path.half_side, torch.sin(path.angle) / path.half_side
    theta = torch.stack([cos * width / 2, sin * height / 2, -sin * width / 2, cos * height / 2], dim=-1)
    theta = theta.reshape(batch, frames, 2, 2)
    rotate = torch.stack([cos, sin, -sin, cos], dim=-1).reshape(batch, frames, 2, 2)
    offset = -(rotate @ path.centre[..., None])  # (B, T, 2, 1)
    theta = torch.cat([theta, offset], dim=-1)
    grid = affine_points(theta, size)
    if stack.shape[1] == 1:
        tall = F.grid_sample(stack[:, 0], grid.reshape(batch, frames * height, width, 2), align_corners=False)
        seen = tall.reshape(batch, 5, frames, height, width).transpose(1, 2)
    else:
        seen = F.grid_sample(stack.flatten(0, 1), grid.flatten(0, 1), align_corners=False).unflatten(0, (batch, frames))
    return Layer(seen[:, :, :3], seen[:, :, 3:4], torch.minimum(seen[:, :, 4:5], seen[:, :, 3:4]))


def over(canvas: Tensor, layer: Layer, rows: Tensor, where: Tensor | None = None) -> None:
    """Lay a layer over some scenes of a canvas, in place.

    Args:
        canvas: `(B, T, 3, H, W)`.
        layer: of n scenes.
        rows: `(n,)` which scenes of the canvas these are.
        where: `(n,)` booleans, only these; None = all.
    """
    if where is not None and not where.all():
        rows, layer = rows[where], layer.take(where)
    if len(rows) == len(canvas):  # rows are in order, so these are all
        canvas.lerp_(layer.colour, layer.alpha)
    elif len(rows):
        canvas[rows] = canvas[rows].lerp_(layer.colour, layer.alpha)


def as_clip(canvas: Tensor) -> Tensor:
    """A canvas `(B, T, 3, H, W)` about in [0, 1] as a clip `(B, 3, T, H, W)` in [-1, 1]."""
    return canvas.transpose(1, 2).clamp(0.0, 1.0).mul_(2.0).sub_(1.0).contiguous()
