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
    """The orthogonal factor of `matrix` `(rows, columns)`, approximately: singular values between 0.7 and 1.2."""
    a, b, c = _COEFFICIENTS
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    x = wide / (wide.norm() + 1e-7)
    for _ in range(steps):
        square = x @ x.T
        x = a * x + (b * square + c * square @ square) @ x
    return x if matrix.shape[0] <= matrix.shape[1] else x.T


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
            update = self._muon if group["muon"] else self._adam
            for weight in group["params"]:
                if weight.grad is not None:
                    weight.mul_(1.0 - group["lr"] * group["weight_decay"])
                    update(weight, self.state[weight], group["lr"])

    def _muon(self, weight: Tensor, state: dict, lr: float) -> None:
        momentum = state.setdefault("momentum", torch.zeros_like(weight))
        momentum.mul_(0.9).add_(weight.grad)
        matrix = (weight.grad + 0.9 * momentum).flatten(1)  # (out, in * kernel)
        shape_scale = max(1.0, matrix.shape[0] / matrix.shape[1]) ** 0.5
        weight.add_(orthogonalise(matrix).view_as(weight), alpha=-lr * MUON_SCALE * shape_scale)

    def _adam(self, weight: Tensor, state: dict, lr: float) -> None:
        mean = state.setdefault("mean", torch.zeros_like(weight))
        square = state.setdefault("square", torch.zeros_like(weight))
        count = state["count"] = state.setdefault("count", torch.zeros(())) + 1
        mean.lerp_(weight.grad, 0.1)
        square.lerp_(weight.grad.square(), 0.01)
        correction = (1.0 - 0.99**count).sqrt() / (1.0 - 0.9**count)
        weight.addcdiv_(mean, square.sqrt().add_(1e-8), value=-lr * float(correction))
