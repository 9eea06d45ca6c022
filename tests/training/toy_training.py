"""A task with every kind of state: dropout (torch), python and numpy randomness, batch norm, frozen layer.

Run as a script it trains in a folder and kills its own process at a batch: `toy_training.py FOLDER KILL_AT`.
"""

import os
import random
import signal
import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn

from novakit.training import TrainConfig, Trainer, step_generator

CONFIG = TrainConfig(
    steps=24,
    lr=1e-2,
    warmup=4,
    ema=0.9,
    precision="fp32",
    accumulate=2,
    checkpoint_every=7,
    validate_every=5,
    log_every=4,
    best_metric="score",
    seed=3,
)


class ToyTask:
    """Learns the identity on 6 numbers through a noisy little net."""

    def __init__(self, at_batch=None, weights_seed=0):
        with torch.random.fork_rng():
            torch.manual_seed(weights_seed)
            self.module = nn.Sequential(
                nn.Linear(6, 16),
                nn.BatchNorm1d(16),
                nn.GELU(),
                nn.Dropout(0.2),
                nn.Linear(16, 6),
                nn.Linear(6, 6),
            )
        self.module[5].requires_grad_(False)
        self.settings = {"batch": 8, "sizes": (6, 6)}
        self.at_batch = at_batch or {}  # batch index -> function called there
        self.seen = []

    def loss(self, step):
        self.seen.append(step)
        if step in self.at_batch:
            self.at_batch[step]()
        batch = torch.randn(8, 6, generator=step_generator(1, step))
        scale = 1 + 0.1 * random.random() + 0.1 * np.random.rand()
        return scale * (self.module(batch) - batch).square().mean(), {"scale": scale}

    def validate(self, step):
        batch = torch.randn(8, 6)  # drawn from the global state on purpose
        return {"score": -(self.module(batch) - batch).square().mean().item()}


def kill_myself():
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    torch.set_num_threads(1)
    task = ToyTask({int(sys.argv[2]): kill_myself})
    Trainer(task, CONFIG, Path(sys.argv[1])).fit(progress=False)
