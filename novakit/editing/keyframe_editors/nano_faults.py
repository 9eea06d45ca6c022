"""The faults that real keyframe editors have, as strengths: another tone, place and style in every keyframe.

Each call of an editor without a reference draws its own `Look`; that is why keyframes that were edited independently
flicker (eq. 5 is the cure). Source: ours.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from novakit.errors import NovaError


@dataclass(frozen=True)
class Faults:
    """How far an editor strays at worst; each 0 (never) to 1. The defaults are of the size that real editors show."""

    tone: float = 0.12  # brightness and tint: off by up to this share of the range, in every channel
    position: float = 0.08  # place: off by up to this share of the mask's (without one: the frame's) height and width
    style: float = 0.5  # hue, pattern, choice of the background behind a removed object; 1 = all that it could do
    residual: float = 0.15  # share of all these that stays although there is a reference

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not isinstance(value, int | float) or not 0 <= value <= 1:
                raise NovaError(f"Faults.{field.name} is {value!r}; wanted a number from 0 (none) to 1.")

    @classmethod
    def none(cls) -> Faults:
        """An editor that does the same thing every time."""
        return cls(0.0, 0.0, 0.0, 0.0)

    def scaled(self, factor: float) -> Faults:
        """Tone, position and style times `factor`, at most 1 each; the residual stays."""
        scaled = {name: min(1.0, getattr(self, name) * factor) for name in ("tone", "position", "style")}
        return replace(self, **scaled)


@dataclass(frozen=True)
class Look:
    """What one edit came out like: one draw of the faults, or what was measured on a reference."""

    style: float  # -1 to 1; 0 = as it was asked for
    shift: Tensor  # (2,) down and right, as shares of the mask's height and width
    gain: Tensor  # (3,) per channel: toned = gain * content + offset, on pixels in [0, 1]
    offset: Tensor  # (3,)

    @classmethod
    def neutral(cls) -> Look:
        """No fault at all."""
        return cls(0.0, torch.zeros(2), torch.ones(3), torch.zeros(3))

    def towards(self, other: Look, share: float) -> Look:
        """The look `share` of the way from this one to another; 0 = this one."""
        mixed = [torch.lerp(getattr(self, name), getattr(other, name), share) for name in ("shift", "gain", "offset")]
        return Look(self.style + share * (other.style - self.style), *mixed)


def draw_look(faults: Faults, seed: int) -> Look:
    """Draw the look of one edit.

    Args:
        faults: how far it may stray.
        seed: the same seed and faults give the same look.
    """
    generator = torch.Generator().manual_seed(seed)
    style, down, right, exposure, contrast, *tints = (torch.rand(8, generator=generator) * 2 - 1).unbind()
    gain = 1 + faults.tone * contrast
    off = faults.tone * (0.7 * exposure + 0.3 * torch.stack(tints))  # (3,)
    offset = off + (1 - gain) * 0.5  # contrast turns about middle grey
    return Look(faults.style * style.item(), faults.position * torch.stack([down, right]), gain.expand(3), offset)
