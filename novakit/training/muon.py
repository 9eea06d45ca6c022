"""Muon: momentum whose update is made orthogonal; for the matrices and kernels of the small nets trained here.

The update of a weight matrix is replaced by the nearest orthogonal matrix (five Newton-Schulz steps), so every
direction learns at the same rate. Convolution kernels are seen as matrices (out, in * kernel). `torch.optim.Muon`
takes 2-D weights only, which leaves out a video VAE; this one covers both and keeps AdamW for vectors.

Source: Jordan et al. 2024, "Muon"; coefficients are theirs. Used for all nano weights (ours); the paper trains with
AdamW, which stays TrainConfig's default.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

MUON_SCALE = 10.0  # Muon's rate relative to AdamW's, so that one learning rate serves both
_COEFFICIENTS = (3.4445, -4.7750, 2.0315)


def orthogonalise(matrix: Tensor, steps: int = 5) -> Tensor:
    """The orthogonal factors of matrices `(..., rows, columns)`, approximately: singular values between 0.7 and 1.2."""
    a, b, c = _COEFFICIENTS
    tall = matrix.shape[-2] > matrix.shape[-1]
    wide = matrix.mT if tall else matrix
    x = wide / (wide.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(steps):
        square = x @ x.mT
        x = a * x + (b * square + c * square @ square) @ x
    return x.mT if tall else x


class Muon(torch.optim.Optimizer):
    """Muon for matrices and kernels, AdamW (betas 0.9, 0.99) for vectors.

    Args:
        matrices: weights of two or more dimensions.
        vectors: biases, norms and other small weights.
        lr: AdamW's learning rate; Muon's is MUON_SCALE times as large.
        weight_decay: decoupled decay of the matrices.
    """

    def __init__(
        self,
        matrices: Iterable[nn.Parameter],
        vectors: Iterable[nn.Parameter],
        lr: float,
        weight_decay: float = 0.0,
    ) -> None:
        groups = [
            {"params": list(matrices), "muon": True, "weight_decay": weight_decay},
            {"params": list(vectors), "muon": False, "weight_decay": 0.0},
        ]
        super().__init__([group for group in groups if group["params"]], {"lr": lr})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:
        """One update of every weight that has a gradient."""
        for group in self.param_groups:
            weights = [weight for weight in group["params"] if weight.grad is not None]
            if weights:
                torch._foreach_mul_(weights, 1.0 - group["lr"] * group["weight_decay"])
                (self._muon if group["muon"] else self._adam)(weights, group["lr"])

    def _slots(self, weights: list[Tensor], name: str) -> list[Tensor]:
        return [self.state[weight].setdefault(name, torch.zeros_like(weight)) for weight in weights]

    def _muon(self, weights: list[Tensor], lr: float) -> None:
        """Matrices of one shape are made orthogonal together: a GPU waits for launches, not for arithmetic."""
        momenta, gradients = self._slots(weights, "momentum"), [weight.grad for weight in weights]
        torch._foreach_mul_(momenta, 0.9)
        torch._foreach_add_(momenta, gradients)
        ahead = torch._foreach_add(gradients, momenta, alpha=0.9)
        alike: dict[torch.Size, list[int]] = {}
        for number, update in enumerate(ahead):
            alike.setdefault(update.flatten(1).shape, []).append(number)  # (out, in * kernel)
        for (rows, columns), numbers in alike.items():
            updates = orthogonalise(torch.stack([ahead[i].flatten(1) for i in numbers]))
            rate = -lr * MUON_SCALE * max(1.0, rows / columns) ** 0.5
            for number, update in zip(numbers, updates, strict=True):
                weights[number].add_(update.view_as(weights[number]), alpha=rate)

    def _adam(self, weights: list[Tensor], lr: float) -> None:
        gradients = [weight.grad for weight in weights]
        means, squares = self._slots(weights, "mean"), self._slots(weights, "square")
        torch._foreach_lerp_(means, gradients, 0.1)
        torch._foreach_lerp_(squares, torch._foreach_mul(gradients, gradients), 0.01)
        scales = torch._foreach_sqrt(squares)
        torch._foreach_add_(scales, 1e-8)
        rates = [-lr * self._correction(weight) for weight in weights]
        torch._foreach_addcdiv_(weights, means, scales, rates)

    def _correction(self, weight: Tensor) -> float:
        """What AdamW divides out of a young average; counts the update."""
        count = self.state[weight]["count"] = self.state[weight].get("count", torch.zeros(())) + 1
        return float((1.0 - 0.99**count).sqrt() / (1.0 - 0.9**count))
