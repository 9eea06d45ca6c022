"""The optimiser over the weights that learn: AdamW (the paper's), or Muon for the nano VAE and base."""

import torch
from torch import nn

from novakit.errors import NovaError
from novakit.training.config import TrainConfig
from novakit.training.muon import Muon


def make_optimizer(parameters: dict[str, nn.Parameter], config: TrainConfig) -> torch.optim.Optimizer:
    """AdamW (betas 0.9, 0.99) or Muon; matrices decay, vectors do not."""
    if config.optimizer == "muon":
        is_matrix = {name: p.squeeze().ndim >= 2 and p.shape[0] > 1 for name, p in parameters.items()}
        matrices, vectors = ([p for name, p in parameters.items() if is_matrix[name] == kind] for kind in (True, False))
        return Muon(matrices, vectors, config.lr, config.weight_decay)
    groups = [
        {"params": [p for p in parameters.values() if p.ndim >= 2], "weight_decay": config.weight_decay},
        {"params": [p for p in parameters.values() if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW([g for g in groups if g["params"]], lr=config.lr, betas=(0.9, 0.99), fused=True)


def check_parameters(parameters: dict[str, nn.Parameter]) -> None:
    """Refuse a module in which nothing learns, or in which half-precision weights do."""
    if not parameters:
        raise NovaError("no parameter of task.module has requires_grad; unfreeze what should learn.")
    for name, weight in parameters.items():
        if weight.dtype not in (torch.float32, torch.float64):
            raise NovaError(
                f"weight {name!r} learns but is {weight.dtype}; small updates would be lost. Convert it with "
                '.float(); precision="bf16" only casts inside the forward pass.'
            )
