"""A counterexample: features that look like features and prove nothing. Source: ours.

Measured on 16 test scenes: TC, FC and BC are 0.9995 and more for the truth, 0.994 for a flickering clip and still 0.967
for frames of unrelated scenes; a wrong object is missed in two scenes of 16.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from novakit.evaluation.encoders.protocol import check_frames, unit_length


class RandomProjection:
    """An untrained network: three random convolutions with ReLU, averaged over the frame. Not one of ENCODERS.

    Args:
        seed: of the weights.
        width: channels of the features.
    """

    name = "random-projection"

    def __init__(self, seed: int = 0, width: int = 256):
        generator = torch.Generator().manual_seed(seed)
        sizes = ((64, 3), (128, 64), (width, 128))
        self.weights = [torch.randn(a, b, 3, 3, generator=generator) * (2 / (9 * b)) ** 0.5 for a, b in sizes]

    @torch.no_grad()
    def encode(self, frames: Tensor) -> Tensor:
        """Features `(N, width)` of length 1 of frames `(N, 3, H, W)` in [-1, 1]."""
        check_frames(frames)
        hidden = (frames.float() + 1.0) / 2.0
        for weight in self.weights:
            hidden = F.relu(F.conv2d(hidden, weight.to(frames.device), stride=2, padding=1))
        return unit_length(hidden.mean(dim=(2, 3)))
