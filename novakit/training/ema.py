"""An exponential moving average of the weights that learn."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


def trainable_parameters(module: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that learn (requires_grad), by name."""
    return {name: parameter for name, parameter in module.named_parameters() if parameter.requires_grad}


class WeightAverage:
    """shadow <- d * shadow + (1 - d) * weight, with d = min(decay, (1 + n) / (10 + n)) after n updates.

    The growing d lets the average forget the random start; it depends on the step only.
    Source: Polyak averaging as diffusers' EMAModel does it; ours in size.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self.weights = trainable_parameters(module)
        self.shadow: dict[str, Tensor] = {}
        if decay > 0:
            self.shadow = {name: weight.detach().clone() for name, weight in self.weights.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Move the average towards the current weights after update `step` (0-based)."""
        if self.shadow:
            decay = min(self.decay, (1 + step) / (10 + step))
            torch._foreach_lerp_(list(self.shadow.values()), list(self.weights.values()), 1 - decay)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Inside the context the module holds the averaged weights; outside its own again, bit for bit."""
        own = {name: self.weights[name].detach().clone() for name in self.shadow}
        self._copy_into_module(self.shadow)
        try:
            yield
        finally:
            self._copy_into_module(own)

    @torch.no_grad()
    def _copy_into_module(self, values: dict[str, Tensor]) -> None:
        for name, value in values.items():
            self.weights[name].copy_(value)
