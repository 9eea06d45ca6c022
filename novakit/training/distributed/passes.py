"""An update shared out pass by pass: for tasks that do not divide their batches among processes.

An update has `accumulate` passes, each a batch that follows from its number. Process r of n takes the passes r, r + n,
..., and the gradients of all are added up, so a run gives the same numbers on one process and on several.

Source: ours, on torch.distributed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import nn

from novakit.errors import NovaError


def check_passes(team: Any, task: str, accumulate: int) -> None:
    """Refuse what cannot be shared out.

    Args:
        team: Processes.
        task: name of the task.
        accumulate: passes per update.

    Raises:
        NovaError: weights that are to be split, or passes that are no multiple of the processes.
    """
    if team.shard:
        raise NovaError(f"{task} cannot be trained with split weights; leave FSDP out, or use SampleTask.")
    if accumulate % team.count:
        raise NovaError(
            f"{task} cannot be trained by {team.count} processes with accumulate {accumulate}: each takes whole passes "
            f"of an update, so accumulate must be a multiple of {team.count}. Start another number of processes."
        )


def own_passes(team: Any, passes: Sequence[int]) -> Sequence[int]:
    """The passes of an update that this process computes."""
    return passes[team.rank :: team.count]


def add_gradients(team: Any, parameters: Iterable[nn.Parameter]) -> None:
    """Give every process the sum of all gradients; a weight that some passes left out counts as zero there."""
    if team.count == 1:
        return
    weights = list(parameters)
    learned = torch.tensor([float(weight.grad is not None) for weight in weights], device=team.device)
    torch.distributed.all_reduce(learned)
    used = [weight for weight, processes in zip(weights, learned.tolist(), strict=True) if processes]
    for weight in used:
        weight.grad = torch.zeros_like(weight) if weight.grad is None else weight.grad
    total = torch.cat([weight.grad.flatten() for weight in used])  # one exchange instead of hundreds
    torch.distributed.all_reduce(total)
    for weight, part in zip(used, total.split([weight.numel() for weight in used]), strict=True):
        weight.grad.copy_(part.view_as(weight))
