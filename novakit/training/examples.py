"""Encoded examples of a part, made by one process or by several side by side.

One process leaves a GPU waiting (thousands of small launches per shard) and uses one core of a CPU; shards do not
depend on each other, so several processes share them out.

Source: ours.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

import torch
from torch import multiprocessing, nn
from tqdm.auto import tqdm

from novakit.errors import NovaError
from novakit.training.data import LatentStore

VaeMaker = Callable[[], nn.Module]  # a picklable function: the frozen VAE, on the device that renders and encodes


def build_examples(
    stores: Iterable[LatentStore],
    make_vae: VaeMaker,
    workers: int = 1,
    progress: bool = True,
    what: str = "examples",
    share: tuple[int, int] = (0, 1),
) -> None:
    """Make the shards that are missing.

    Args:
        stores: where they lie.
        make_vae: gives every process its VAE.
        workers: processes; 1 = this one.
        progress: show how many shards are there.
        what: name of the progress bar.
        share: (i, n) when n programs make them together, each with its own workers, and this is the i-th.

    Raises:
        NovaError: no worker.
    """
    if workers < 1:
        raise NovaError(f"workers is {workers}; pass 1 or more.")
    stores = list(stores)
    total, there = sum(store.num_shards for store in stores), _there(stores)
    if there == total:
        return
    with tqdm(total=total, initial=there, desc=what, disable=not progress) as bar:
        if workers == 1:
            vae = make_vae()
            for store in stores:
                own = range(share[0], store.num_shards, share[1])
                store.build(vae, own, report=lambda shard: bar.update(_there(stores) - bar.n))
            return
        running = multiprocessing.spawn(_share, (workers, stores, make_vae, share), nprocs=workers, join=False)
        while not running.join(timeout=0.2):
            bar.update(_there(stores) - bar.n)
            time.sleep(0.2)
        bar.update(_there(stores) - bar.n)


def _there(stores: list[LatentStore]) -> int:
    return sum(store.num_shards - len(store.missing()) for store in stores)


def _share(worker: int, workers: int, stores: list[LatentStore], make_vae: VaeMaker, share: tuple[int, int]) -> None:
    """One worker's shards of all stores."""
    torch.set_num_threads(1)
    vae = make_vae()
    for store in stores:
        store.build(vae, range(share[0] * workers + worker, store.num_shards, share[1] * workers))
