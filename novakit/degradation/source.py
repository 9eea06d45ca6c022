"""Source fidelity (eq. 3): paste a moving patch of another clip into the target, giving the pseudo source.

The masks m_t are drawn here, from their own random numbers: they know nothing of the regions b_k in which
anchored control spoils the keyframes. So the model meets all four cases: both inputs right, either one
wrong, both wrong.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from novakit.errors import NovaError

from .draws import (
    chance,
    check_clip,
    check_generator,
    check_names,
    check_probabilities,
    check_range,
    integers,
    uniform,
)
from .paste import FILL, Patch, farthest, paste_patch, rasterise
from .shapes import SHAPE_KINDS, Shapes, draw_shapes


@dataclass(frozen=True)
class CutAndPasteConfig:
    """What is pasted, and how it moves."""

    patches: tuple[int, int] = (1, 3)  # fewest and most patches in a clip
    empty_prob: float = 0.1  # chance per clip of no patch at all (the source is then the target)
    kinds: tuple[str, ...] = SHAPE_KINDS  # outlines to choose from
    area: tuple[float, float] = (0.03, 0.18)  # range of one patch's share of the frame at scale 1
    elongation: tuple[float, float] = (1.0, 1.8)  # range of long side : short side
    travel: float = 0.5  # extent of the box that holds the path's four control points, share of the frame
    turn: float = 1.0  # greatest rotation over the whole clip, radians either way
    zoom: float = 0.2  # scale swings between 1 - this and 1 + this, slowly
    recolour_prob: float = 0.0  # chance of the target's own content in other colours (ours; paper: 0)
    hue_jitter: float = 0.1  # greatest hue turn of irrelevant content, share of the colour circle
    gain_jitter: float = 0.2  # colours are multiplied by 1 - this ... 1 + this
    feather: float = 0.0  # width in pixels of a soft inner edge; 0 = hard. The mask stays {0, 1} either way

    def __post_init__(self) -> None:
        check_names("CutAndPasteConfig.kinds", self.kinds, SHAPE_KINDS)
        check_range("CutAndPasteConfig.patches", self.patches, 1, 16)
        check_range("CutAndPasteConfig.area", self.area, 1e-4, 1.0)
        check_range("CutAndPasteConfig.elongation", self.elongation, 1.0, 2.0)
        check_probabilities(self, ("empty_prob", "recolour_prob", "zoom", "hue_jitter", "gain_jitter"))
        if self.feather < 0 or self.travel < 0:
            raise NovaError(f"feather is {self.feather}, travel {self.travel}; both must be 0 or more.")


@dataclass(frozen=True)
class PseudoSource:
    """The pseudo source x̃ of a batch and every random choice behind it."""

    pseudo_source: Tensor  # (B, 3, T, H, W) in [-1, 1]
    mask: Tensor  # (B, 1, T, H, W): m_t in {0, 1}, 1 = pasted
    irrelevant: Tensor  # (B, 3, T, H, W): the clip y that patches were cut from
    path: Tensor  # (B, P, T, 2): patch centres (x, y) in pixels; later patches lie on top
    scale: Tensor  # (B, P, T)
    angle: Tensor  # (B, P, T) radians
    anchor: Tensor  # (B, P, 2): the place in y that the patch's centre shows, (x, y) in pixels
    area: Tensor  # (B, P) share of the frame at scale 1
    active: Tensor  # (B, P) bool: which patches exist
    recoloured: Tensor  # (B, P) bool: shows the target's own content in other colours
    colours: Tensor  # (B, P, 3, 3) matrix that was applied to the patch's colours
    kinds: tuple[tuple[str, ...], ...]  # B x P names of outlines


@dataclass(frozen=True)
class _Patches:
    """Everything drawn for B x P patches, on the generator's device."""

    shapes: Shapes  # B*P outlines
    active: Tensor  # (B, P) bool
    area: Tensor  # (B, P)
    path: Tensor  # (B, P, T, 2) pixels
    scale: Tensor  # (B, P, T)
    angle: Tensor  # (B, P, T)
    anchor: Tensor  # (B, P, 2) pixels
    recoloured: Tensor  # (B, P) bool
    colours: Tensor  # (B, P, 3, 3)


def cut_and_paste(
    target: Tensor, irrelevant: Tensor, generator: torch.Generator, config: CutAndPasteConfig | None = None
) -> PseudoSource:
    """Make the pseudo source of a training clip by pasting moving patches of another clip.

    Eq. 3: x̃_t = m_t ⊙ y_t + (1 - m_t) ⊙ x_t, with m_t drawn independently of the keyframe regions b_k.
    A patch is a window on the irrelevant clip that keeps playing while it moves, turns and grows.

    Args:
        target: clean clip x, (B, 3, T, H, W) in [-1, 1], any device.
        irrelevant: another clip y of the same shape, for example ``target.roll(1, 0)``.
        generator: where every random choice comes from.
        config: what to draw; the defaults of CutAndPasteConfig if None.

    Returns:
        PseudoSource on the target's device (its choices stay on the generator's device).

    Raises:
        NovaError: wrong shapes, or shapes that differ.

    Source: paper, eq. 3; outlines, paths and colour jitter are ours.
    """
    config = config or CutAndPasteConfig()
    check_generator(generator)
    check_clip("target", target)
    check_clip("irrelevant", irrelevant)
    if target.shape != irrelevant.shape or target.device != irrelevant.device:
        raise NovaError(
            f"irrelevant clip is {tuple(irrelevant.shape)} on {irrelevant.device}, target is "
            f"{tuple(target.shape)} on {target.device}; both must agree. Resize or trim one of them, or use "
            "target.roll(1, 0)."
        )
    patches = _draw_patches(target.shape, generator, config)
    pseudo_source, mask = _paste_all(target, irrelevant, patches, config.feather)
    names, count = patches.shapes.names(), config.patches[1]
    kinds = tuple(names[i * count : (i + 1) * count] for i in range(len(target)))
    fields = ("path", "scale", "angle", "anchor", "area", "active", "recoloured", "colours")
    choices = {name: getattr(patches, name) for name in fields}
    return PseudoSource(pseudo_source, mask, irrelevant, kinds=kinds, **choices)


def _draw_patches(shape: torch.Size, generator: torch.Generator, config: CutAndPasteConfig) -> _Patches:
    """Draw outlines, poses and colours of all patches of a batch of clips (B, 3, T, H, W)."""
    batch, _, frames, height, width = shape
    slots = (batch, config.patches[1])
    extent = torch.tensor([width, height], device=generator.device)
    shapes = draw_shapes(slots[0] * slots[1], config.kinds, config.elongation, generator)
    wanted = integers(generator, (batch, 1), *config.patches)
    active = torch.arange(slots[1], device=generator.device) < wanted
    active = active & ~chance(generator, (batch, 1), config.empty_prob)
    path = _draw_path(slots, frames, generator, config) * extent
    scale, angle = _draw_swing(slots, frames, generator, config)
    recoloured = chance(generator, slots, config.recolour_prob)
    hue = config.hue_jitter * uniform(generator, slots, -1, 1)
    strong = uniform(generator, slots, 0.15, 0.85)  # a recoloured patch must differ clearly from the target
    gain = 1 + config.gain_jitter * uniform(generator, (*slots, 1, 1), -1, 1)
    colours = _hue_matrix(torch.where(recoloured, strong, hue)) * gain
    anchor = uniform(generator, (*slots, 2), 0.2, 0.8) * extent
    area = uniform(generator, slots, *config.area)
    return _Patches(shapes, active, area, path, scale, angle, anchor, recoloured, colours)


def _draw_path(slots: tuple[int, int], frames: int, generator: torch.Generator, config: CutAndPasteConfig) -> Tensor:
    """Smooth paths (B, P, T, 2) as shares of the frame: cubic Bezier curves through time."""
    middle = uniform(generator, (*slots, 1, 2), 0.2, 0.8)
    corners = middle + config.travel * uniform(generator, (*slots, 4, 2), -0.5, 0.5)
    s = torch.linspace(0, 1, frames, device=generator.device)
    weights = torch.stack([(1 - s) ** 3, 3 * s * (1 - s) ** 2, 3 * s**2 * (1 - s), s**3], 1)  # (T, 4)
    return weights @ corners


def _draw_swing(
    slots: tuple[int, int], frames: int, generator: torch.Generator, config: CutAndPasteConfig
) -> tuple[Tensor, Tensor]:
    """Slow changes of scale and angle, each (B, P, T)."""
    s = torch.linspace(0, 1, frames, device=generator.device)
    phase = uniform(generator, (*slots, 1), 0, 2 * math.pi)
    rate = uniform(generator, (*slots, 1), 0.2, 1.0)  # swings per clip
    scale = 1 + config.zoom * torch.sin(phase + 2 * math.pi * rate * s)
    start = uniform(generator, (*slots, 1), 0, 2 * math.pi)
    angle = start + config.turn * uniform(generator, (*slots, 1), -1, 1) * s
    return scale, angle


def _hue_matrix(hue: Tensor) -> Tensor:
    """Rotation of RGB about the grey axis by a share of the colour circle; (...) -> (..., 3, 3)."""
    turn = 2 * math.pi * hue
    same = (1 + 2 * turn.cos()) / 3
    swing, base = turn.sin() / math.sqrt(3), (1 - turn.cos()) / 3
    less, more = base - swing, base + swing
    rows = [same, less, more, more, same, less, less, more, same]
    return torch.stack(rows, -1).unflatten(-1, (3, 3))


def _paste_all(target: Tensor, irrelevant: Tensor, patches: _Patches, feather: float) -> tuple[Tensor, Tensor]:
    """Paste every active patch, the later ones on top; the pseudo source and m_t (B, 1, T, H, W)."""
    height, width = target.shape[-2:]
    pseudo_source = target.clone()
    mask = target.new_zeros(len(target), 1, *target.shape[2:])
    outlines = rasterise(patches.shapes)  # (B*P, 1, RASTER, RASTER)
    reaches = farthest(outlines).tolist()
    outlines = outlines.to(target.device)
    for clip, place in patches.active.nonzero().tolist():
        number, at = clip * patches.active.shape[1] + place, (clip, place)
        half = math.sqrt(float(patches.area[at]) * height * width / FILL) / 2
        recoloured = bool(patches.recoloured[at])
        patch = Patch(
            outline=outlines[number],
            half=half,
            reach=half * reaches[number],
            path=patches.path[at],
            scale=patches.scale[at],
            angle=patches.angle[at],
            anchor=tuple(patches.anchor[at].tolist()),
            recoloured=recoloured,
            colours=patches.colours[at],
        )
        content = target[clip] if recoloured else irrelevant[clip]
        paste_patch(pseudo_source[clip], mask[clip], content, patch, feather)
    return pseudo_source, mask
