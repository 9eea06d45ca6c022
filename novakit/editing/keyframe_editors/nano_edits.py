"""Painting offline: recolour, replace, remove, add and restyle, with plain arithmetic on pixels. Source: ours.

Every edit is: base + coverage * (toned content - base), all of them inside the mask:

    edit       base                  content                              coverage
    recolour   the frame             its brightness times a colour        the mask, soft at its edge
    restyle    the frame             its brightness on a three-colour ramp  the mask, soft at its edge
    remove     the frame             the surroundings, continued          the mask
    add        the frame             a patterned ball                     the ball
    replace    the removed frame     a patterned ball                     the ball

"plain" paints softly; "poster" in flat steps with ink lines and hard edges, and what it continues has no texture.
"""

from __future__ import annotations

import colorsys
import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from novakit.editing.keyframe_editors.nano_faults import Look
from novakit.editing.keyframe_editors.nano_fill import fill
from novakit.editing.keyframe_editors.nano_places import Box, cut
from novakit.scenes.edits import luminance

STYLES = ("plain", "poster")
HUE_SPREAD = 0.1  # share of the colour circle by which style 1 turns the colour
CHOICES = 4  # style 1 removes with the fifth best background
INK = 0.08


@dataclass(frozen=True)
class Canvas:
    """The part of a frame that an edit works on."""

    frame: Tensor  # (3, h, w) in [0, 1]
    mask: Tensor  # (1, h, w) in {0, 1}
    fills: tuple[Tensor, ...]  # (3, h, w) each: the removed frame, best first; only where the edit needs them
    centre: tuple[float, float]  # of the mask, (y, x) in pixels
    half: tuple[float, float]  # half its height and width, in pixels
    whole: bool  # no mask was given: all of the frame is painted


@dataclass(frozen=True)
class Painter:
    """One edit in one colour and style; paints it with any look."""

    edit: str  # one of novakit.scenes.EDITS
    style: str  # one of STYLES
    colour: tuple[float, float, float]  # RGB in [0, 1]

    def canvas(self, frame: Tensor, mask: Tensor, box: Box, whole: bool, styles: tuple[float, ...]) -> Canvas:
        """Cut out the box and compute what does not depend on the look.

        Args:
            frame: (3, H, W) in [-1, 1].
            mask: (1, H, W) in {0, 1}.
            box: part of the frame to paint, with the whole mask in it.
            whole: True when there is no mask.
            styles: the styles that will be painted on this canvas.
        """
        choices: tuple[int | None, ...] = ()
        if self.edit in ("remove", "replace"):
            deepest = max(_choice(style) for style in styles) if self.edit == "remove" else 0
            choices = (None,) if self.style == "poster" else tuple(range(deepest + 1))
        fills = tuple(to_unit(fill(frame, mask, box, choice)) for choice in choices)
        return Canvas(to_unit(cut(frame, box)), cut(mask, box), fills, *_moments(cut(mask, box)[0]), whole)

    def paint(self, canvas: Canvas, look: Look) -> Tensor:
        """The edited canvas, (3, h, w) in [0, 1]; outside the mask it is the frame."""
        content, coverage, base = self.layers(canvas, look)
        toned = (content * look.gain[:, None, None] + look.offset[:, None, None]).clamp(0, 1)
        return toned if canvas.whole else base + coverage * (toned - base)

    def layers(self, canvas: Canvas, look: Look) -> tuple[Tensor, Tensor, Tensor]:
        """Content before its tone drifts (3, h, w), coverage (1, h, w), base (3, h, w)."""
        colour = turned(self.colour, look.style * HUE_SPREAD)
        if self.edit in ("add", "replace"):
            content, coverage = _ball(canvas, look, colour, self.style)
            base = canvas.fills[0] if self.edit == "replace" else canvas.frame
            return content, coverage * canvas.mask, base
        if self.edit == "remove":
            content = canvas.fills[min(_choice(look.style), len(canvas.fills) - 1)]
            return content, _moved(canvas.mask, canvas, look) * canvas.mask, canvas.frame
        picture = _moved(canvas.frame, canvas, look) if canvas.whole else canvas.frame
        content = _recoloured(picture, colour) if self.edit == "recolour" else _ramp(picture, colour, look.style)
        edge = canvas.mask if self.style == "poster" else _soft(canvas)
        coverage = canvas.mask if canvas.whole else _moved(edge, canvas, look) * canvas.mask
        return (_flat(content, picture) if self.style == "poster" else content), coverage, canvas.frame


def to_unit(image: Tensor) -> Tensor:
    """Pixels in [-1, 1] as pixels in [0, 1]."""
    return image / 2 + 0.5


def turned(colour: tuple[float, float, float], by: float) -> tuple[float, float, float]:
    """A colour with its hue turned by a share of the colour circle."""
    hue, saturation, value = colorsys.rgb_to_hsv(*colour)
    return colorsys.hsv_to_rgb((hue + by) % 1.0, saturation, value)


def _choice(style: float) -> int:
    return round(abs(style) * CHOICES)


def _column(colour: tuple[float, float, float]) -> Tensor:
    """(3, 1, 1); no channel quite 0, so that shading survives in each."""
    return torch.tensor(colour)[:, None, None].clamp(0.06, 1.0)


def _moments(mask: Tensor) -> tuple[tuple[float, float], tuple[float, float]]:
    """Centre (y, x) and half sides of a mask (H, W); an ellipse or a box comes out about as large as it is."""
    middles, halves = [], []
    for axis in (1, 0):
        weight = mask.sum(axis)
        place = torch.arange(len(weight), dtype=torch.float32)
        middle = (weight * place).sum() / weight.sum()
        spread = ((weight * (place - middle).square()).sum() / weight.sum()).sqrt()
        middles.append(middle.item()), halves.append(max(0.5, 1.8 * spread.item()))
    return tuple(middles), tuple(halves)


def _moved(image: Tensor, canvas: Canvas, look: Look) -> Tensor:
    """The image (C, h, w) displaced by the look's shift; black comes in at the rim, or the rim when painting it all."""
    if not look.shift.any():
        return image
    height, width = image.shape[-2:]
    down, right = (share.item() * 2 * half for share, half in zip(look.shift, canvas.half))
    theta = torch.tensor([[[1.0, 0.0, -2 * right / width], [0.0, 1.0, -2 * down / height]]])
    grid = F.affine_grid(theta, [1, 1, height, width], align_corners=False)
    rim = "border" if canvas.whole else "zeros"
    return F.grid_sample(image[None], grid, mode="bilinear", padding_mode=rim, align_corners=False)[0]


def _soft(canvas: Canvas) -> Tensor:
    """The mask (1, h, w), fading inwards over about 2 % of its size; never below 0.35 inside it."""
    reach = max(1, round(0.04 * min(canvas.half)))
    padded, window = F.pad(canvas.mask[None], (reach,) * 4, mode="replicate"), 2 * reach + 1
    inside = F.avg_pool2d(F.avg_pool2d(padded, (window, 1), stride=1), (1, window), stride=1)[0]  # 0.5 at the edge
    return (2 * inside - 1).clamp(0.35, 1) * canvas.mask


def _recoloured(picture: Tensor, colour: tuple[float, float, float]) -> Tensor:
    """Shading kept, colour new; the renderer of the nano world recolours in the same way."""
    return (0.2 + 1.2 * luminance(picture)).clamp(0, 1) * _column(colour)


def _ramp(picture: Tensor, colour: tuple[float, float, float], style: float) -> Tensor:
    """Brightness laid on a ramp of three colours: deep complement, the colour, pale neighbour."""
    hue, saturation, _ = colorsys.rgb_to_hsv(*colour)
    dark = _column(colorsys.hsv_to_rgb((hue + 0.5) % 1, 0.7 * saturation, 0.25))
    middle = _column(colour)
    bright = _column(colorsys.hsv_to_rgb((hue + 0.12) % 1, 0.35 * saturation, 1.0))
    level = luminance(picture).clamp(0, 1) ** (2.0 ** (-0.5 * style)) * 2
    low = dark + (middle - dark) * level.clamp(0, 1)
    return low + (bright - middle) * (level - 1).clamp(0, 1)


def _flat(content: Tensor, picture: Tensor) -> Tensor:
    """Three flat steps of brightness, the brightest towards white, and ink where the picture has an edge."""
    level = luminance(picture)  # (1, h, w)
    step = (level * 3).floor().clamp(0, 2) / 2
    pure = content / content.amax(0, keepdim=True).clamp(min=0.05)  # full brightness, same hue
    flat = torch.lerp(pure * (0.45 + 0.55 * step), torch.ones_like(pure), 0.3 * step)
    return torch.where(_edges(level) > 0.3, torch.full_like(flat, INK), flat)


def _edges(level: Tensor) -> Tensor:
    """Difference of brightness across about 1/75 of the shorter side, (1, h, w)."""
    reach = max(1, round(min(level.shape[-2:]) / 150))
    padded = F.pad(level[None], (reach,) * 4, mode="replicate")[0]
    across = (padded[:, reach:-reach, 2 * reach :] - padded[:, reach:-reach, : -2 * reach]).abs()
    down = (padded[:, 2 * reach :, reach:-reach] - padded[:, : -2 * reach, reach:-reach]).abs()
    return torch.maximum(across, down)


def _ball(canvas: Canvas, look: Look, colour: tuple[float, float, float], style: str) -> tuple[Tensor, Tensor]:
    """A striped (plain) or dotted (poster) ball as large as the mask: colour (3, h, w) and alpha (1, h, w)."""
    (middle_y, middle_x), (half_y, half_x) = canvas.centre, canvas.half
    down, right = look.shift.tolist()
    y = (torch.arange(canvas.mask.shape[1]) - middle_y)[:, None] / half_y - 2 * down
    x = (torch.arange(canvas.mask.shape[2]) - middle_x)[None] / half_x - 2 * right
    radius = (x.square() + y.square()).sqrt()[None]  # (1, h, w), 1 at the rim
    turn, frequency = 0.6 + 0.8 * look.style, 6.0 * 2 ** (0.5 * look.style)
    u, v = (x * math.cos(turn) + y * math.sin(turn))[None], (y * math.cos(turn) - x * math.sin(turn))[None]
    first, second = _column(colour), 0.3 * _column(colour) + 0.7
    if style == "poster":
        share = ((torch.sin(frequency * u) * torch.sin(frequency * v)) > 0.25).float()
        content = torch.where(radius > 0.86, torch.full_like(first, INK), first + (second - first) * share)
        return content, (radius < 1).float()
    share = torch.sigmoid(6 * torch.sin(frequency * u))
    light = 0.6 + 0.4 * (1 - radius.square()).clamp(min=0).sqrt() - 0.12 * (x + y)[None]
    content = (first + (second - first) * share) * light
    return content.clamp(0, 1), (0.5 + (1 - radius) * min(half_y, half_x)).clamp(0, 1)
