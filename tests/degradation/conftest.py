"""Small clips that every degradation test uses."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor


def smooth_clips(seed: int, batch: int = 3, frames: int = 9, height: int = 32, width: int = 48) -> Tensor:
    """Clips of moving coloured waves, (B, 3, T, H, W) in (-1, 1); no two pixels are alike."""
    generator = torch.Generator().manual_seed(seed)
    speed, phase = torch.rand(2, batch, 3, 1, 1, 1, generator=generator)
    t = torch.arange(frames)[:, None, None] * (0.3 + speed)
    y, x = torch.meshgrid(torch.arange(height) / 5.0, torch.arange(width) / 7.0, indexing="ij")
    waves = torch.sin(x + t + 6 * phase) * torch.cos(y * (1 + speed) - t)
    noise = torch.rand(batch, 3, frames, height, width, generator=generator) - 0.5
    return 0.8 * waves + 0.2 * noise


@pytest.fixture
def target() -> Tensor:
    return smooth_clips(1)


@pytest.fixture
def irrelevant() -> Tensor:
    return smooth_clips(2)


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)
