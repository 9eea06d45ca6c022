"""What an encoder is to the metrics: a name for the label, and features of length 1. Source: ours."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from novakit.errors import NovaError

TINY = 1e-12


class Encoder(Protocol):
    """Turns frames into features whose cosine says how alike two frames look.

    Attributes:
        name: as it stands in a label, `TC[name, adjacent]`.
    """

    name: str

    def encode(self, frames: Tensor) -> Tensor:
        """Features of frames.

        Args:
            frames: `(N, 3, H, W)` in [-1, 1], of any size.

        Returns:
            `(N, D)`, each of length 1.
        """
        ...


def unit_length(features: Tensor) -> Tensor:
    """Features `(N, D)` divided by their length."""
    return features / features.norm(dim=1, keepdim=True).clamp_min(TINY)


def check_frames(frames: Tensor) -> None:
    """Refuse what is no batch of frames.

    Raises:
        NovaError: wrong axes or type, or numbers that are not finite.
    """
    if frames.ndim != 4 or frames.shape[1] != 3 or not frames.is_floating_point():
        raise NovaError(
            f"frames have shape {tuple(frames.shape)} and type {frames.dtype}; wanted floats (N, 3, H, W) in [-1, 1]. "
            "For a clip use clip.transpose(1, 2).flatten(0, 1)."
        )
    if not torch.isfinite(frames).all():
        raise NovaError("frames hold NaN or infinity; no features can be given for them. Look at what made them.")
