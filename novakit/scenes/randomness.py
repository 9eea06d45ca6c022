"""Counter-based random numbers: a scene depends on its seed alone, never on its batch or its device.

`torch.Generator` streams differ between CPU and CUDA and between batch sizes. Here every number is a hash of
(seed, stream name, index), so scene 17 is the same picture wherever and with whomever it is rendered.

Source: ours. The mixing function is the 32-bit finaliser "lowbias32".
"""

from __future__ import annotations

import zlib

import torch
from torch import Tensor

_MASK = 0xFFFFFFFF


def _mix(x: Tensor) -> Tensor:
    """Scramble 32-bit integers held in an int64 tensor."""
    x = ((x ^ (x >> 16)) * 0x7FEB352D) & _MASK
    x = ((x ^ (x >> 15)) * 0x846CA68B) & _MASK
    return x ^ (x >> 16)


class SceneRandom:
    """Random draws for a batch of scenes.

    Args:
        seeds: `(B,)` integers in [0, 2**31), one per scene.
        salt: text that separates whole families of scenes (the split: train, val, test).
    """

    def __init__(self, seeds: Tensor, salt: str = "") -> None:
        self.seeds, self.salt = seeds.to(torch.int64), salt
        self._base = _mix((self.seeds + zlib.crc32(salt.encode())) & _MASK)

    def __len__(self) -> int:
        return self.seeds.shape[0]

    def take(self, rows: Tensor) -> SceneRandom:
        """The draws of some scenes, by index or by booleans; the same numbers as in the whole batch."""
        return SceneRandom(self.seeds[rows], self.salt)

    def uniform(self, stream: str, *shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        """Uniform numbers in [low, high), shape `(B, *shape)`, float32; the same stream gives the same numbers."""
        count = 1
        for size in shape:
            count *= size
        index = torch.arange(count, device=self.seeds.device, dtype=torch.int64)
        keys = _mix((self._base ^ zlib.crc32(stream.encode())) & _MASK)
        bits = _mix((keys[:, None] + index[None, :] * 0x9E3779B1) & _MASK)  # (B, count)
        unit = (bits >> 8).to(torch.float32) / float(1 << 24)
        return (low + (high - low) * unit).reshape(len(self), *shape)

    def integers(self, stream: str, high: int, *shape: int) -> Tensor:
        """Integers in [0, high), shape `(B, *shape)`, int64."""
        return (self.uniform(stream, *shape) * high).long().clamp_(max=high - 1)

    def chance(self, stream: str, probability: float) -> Tensor:
        """`(B,)` booleans, true with the given probability."""
        return self.uniform(stream) < probability
