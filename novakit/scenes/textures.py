"""Textures of the nano world: procedural patterns and public-domain photographs.

Every split has textures that the others never show: other photographs, other noise, other streets (`walker.STREETS`),
and val and test a pattern family of their own. The photographs ship inside the scikit-image wheel (`skimage.data`); see
`data_samples/README.md` for origins.

Source: ours.
"""

from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from novakit.errors import NovaError
from novakit.scenes.randomness import SceneRandom

# Photographs by split, so that a test scene shows no photograph that training has seen.
PHOTOGRAPHS = {
    "train": (
        "astronaut",
        "camera",
        "coffee",
        "brick",
        "gravel",
        "hubble_deep_field",
        "coins",
        "immunohistochemistry",
    ),
    "val": ("rocket", "moon"),
    "test": ("chelsea", "grass", "retina"),
}
# Pattern families by split; zigzag (val), rings and bricks (test) are seen in no other split.
PATTERNS = {
    "train": ("marble", "stripes", "checks", "dots", "waves"),
    "val": ("marble", "stripes", "checks", "dots", "zigzag"),
    "test": ("marble", "stripes", "dots", "rings", "bricks"),
}
PHOTO_SIDE = 192


def _photograph(name: str) -> Tensor:
    """One photograph as `(3, PHOTO_SIDE, PHOTO_SIDE)` in [0, 1], centre-cropped to a square."""
    from skimage import data

    image = torch.as_tensor(getattr(data, name)()).float() / 255.0
    image = image[..., None].expand(-1, -1, 3) if image.ndim == 2 else image[..., :3]
    side = min(image.shape[:2])
    top, left = (image.shape[0] - side) // 2, (image.shape[1] - side) // 2
    square = image[top : top + side, left : left + side].permute(2, 0, 1)[None]
    return F.interpolate(square, (PHOTO_SIDE, PHOTO_SIDE), mode="area")[0]


@lru_cache(maxsize=8)
def photographs(split: str, device: str = "cpu") -> Tensor:
    """All photographs of a split, `(P, 3, PHOTO_SIDE, PHOTO_SIDE)` in [0, 1]."""
    check_split(split)
    return torch.stack([_photograph(name) for name in PHOTOGRAPHS[split]]).to(device)


def check_split(split: str) -> None:
    """Raise NovaError unless `split` is known."""
    if split not in PATTERNS:
        raise NovaError(f"Unknown split {split!r}; the nano world has {', '.join(PATTERNS)}.")


def palette(random: SceneRandom, stream: str) -> Tensor:
    """Three colours per scene that differ from each other, `(B, 3 colours, 3 channels)` in [0, 1]."""
    hue = random.uniform(stream + "/hue", 1) + torch.tensor([0.0, 0.33, 0.61], device=random.seeds.device)
    hue = hue + random.uniform(stream + "/jitter", 3, low=-0.1, high=0.1)
    saturation = random.uniform(stream + "/saturation", 3, low=0.25, high=0.95)
    value = random.uniform(stream + "/value", 3, low=0.2, high=1.0)
    return hsv_to_rgb(hue % 1.0, saturation, value)


def hsv_to_rgb(hue: Tensor, saturation: Tensor, value: Tensor) -> Tensor:
    """HSV in [0, 1] to RGB in [0, 1]; the channel becomes the last axis."""
    offsets = torch.tensor([5.0, 3.0, 1.0], device=hue.device)
    k = (offsets + hue[..., None] * 6.0) % 6.0
    ramp = torch.minimum(k, 4.0 - k).clamp(0.0, 1.0)
    return value[..., None] * (1.0 - saturation[..., None] * ramp)


def smooth_noise(random: SceneRandom, stream: str, channels: int, side: int, octaves: int = 3) -> Tensor:
    """Sum of upsampled random grids (1/f noise), `(B, channels, side, side)` about in [0, 1]."""
    total = torch.zeros(len(random), channels, side, side, device=random.seeds.device)
    weight_sum = 0.0
    for octave in range(octaves):
        cells = 3 * 2**octave
        grid = random.uniform(f"{stream}/{octave}", channels, cells, cells)
        weight = 0.6**octave
        total += weight * F.interpolate(grid, (side, side), mode="bicubic", align_corners=False)
        weight_sum += weight
    return (total / weight_sum).clamp_(0.0, 1.0)


def _pattern_fields(random: SceneRandom, stream: str, side: int) -> dict[str, Tensor]:
    """Scalar pattern fields in [0, 1], each `(B, side, side)`; colours are put on afterwards."""
    axis = torch.linspace(-1.0, 1.0, side, device=random.seeds.device)
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    angle = random.uniform(stream + "/angle", 1, 1, high=3.1416)
    u = x * torch.cos(angle) + y * torch.sin(angle)  # (B, side, side)
    v = y * torch.cos(angle) - x * torch.sin(angle)
    frequency = random.uniform(stream + "/frequency", 1, 1, low=5.0, high=16.0)

    def soft(wave: Tensor) -> Tensor:
        return torch.sigmoid(4.0 * wave)

    warp = smooth_noise(random, stream + "/warp", 1, side, octaves=2)[:, 0]
    row_shift = 1.57 * torch.round(v * frequency / 3.1416)
    return {
        "marble": soft(torch.sin(frequency * (u + 1.2 * warp))),
        "stripes": soft(torch.sin(frequency * u)),
        "checks": soft(2.0 * torch.sin(frequency * u) * torch.sin(frequency * v)),
        "dots": soft(2.0 * (torch.cos(frequency * u) + torch.cos(frequency * v) - 0.6)),
        "waves": soft(torch.sin(frequency * (u + 0.15 * torch.sin(4.0 * v)))),
        "zigzag": soft(torch.sin(frequency * (u + 0.2 * (4.0 * v % 2.0 - 1.0).abs()))),
        "rings": soft(torch.sin(1.5 * frequency * torch.sqrt(u * u + v * v))),
        "bricks": soft(4.0 * (torch.cos(frequency * u + row_shift).abs() * torch.sin(frequency * v).abs() - 0.25)),
    }


def pattern_texture(random: SceneRandom, stream: str, split: str, side: int) -> Tensor:
    """A coloured pattern per scene, `(B, 3, side, side)` in [0, 1]."""
    fields = _pattern_fields(random, stream, side)
    stack = torch.stack([fields[name] for name in PATTERNS[split]], dim=1)  # (B, K, side, side)
    choice = random.integers(stream + "/family", stack.shape[1])
    field = stack[torch.arange(len(random), device=stack.device), choice][:, None]  # (B, 1, side, side)
    colours = palette(random, stream)[..., None, None]  # (B, 3, 3, 1, 1)
    shade = 0.75 + 0.5 * smooth_noise(random, stream + "/shade", 1, side)
    return ((colours[:, 0] * field + colours[:, 1] * (1.0 - field)) * shade).clamp_(0.0, 1.0)


def photo_texture(random: SceneRandom, stream: str, split: str, side: int) -> Tensor:
    """A random crop of a photograph, mirrored and tinted at random, `(B, 3, side, side)` in [0, 1]."""
    atlas = photographs(split, str(random.seeds.device))
    chosen = atlas[random.integers(stream + "/photo", atlas.shape[0])]  # (B, 3, P, P)
    zoom = random.uniform(stream + "/zoom", low=0.45, high=0.95)
    mirror = torch.where(random.chance(stream + "/mirror", 0.5), -1.0, 1.0)
    shift = random.uniform(stream + "/shift", 2, low=-1.0, high=1.0) * (1.0 - zoom)[:, None]
    theta = torch.zeros(len(random), 2, 3, device=chosen.device)
    theta[:, 0, 0], theta[:, 1, 1], theta[:, :, 2] = zoom * mirror, zoom, shift
    grid = F.affine_grid(theta, [len(random), 3, side, side], align_corners=False)
    tint = random.uniform(stream + "/tint", 3, 1, 1, low=0.8, high=1.2)
    sampled = F.grid_sample(chosen, grid, mode="bilinear", padding_mode="reflection", align_corners=False)
    return (sampled * tint).clamp_(0.0, 1.0)


def texture(random: SceneRandom, stream: str, split: str, side: int, photo_share: float = 0.5) -> Tensor:
    """A texture per scene, photograph or pattern, `(B, 3, side, side)` in [0, 1]."""
    is_photo = random.chance(stream + "/is_photo", photo_share)[:, None, None, None]
    return torch.where(
        is_photo, photo_texture(random, stream, split, side), pattern_texture(random, stream, split, side)
    )
