"""Random clips of nano's shape for the tests of `novakit train`."""

import torch
from safetensors.torch import save_file

from novakit.training.data import LatentStore
from novakit.training.full_size.data import SHARDS, VAL_SHARDS, TrainingData
from novakit.training.nova_task import NovaBatch

QUICK = {"steps": 2, "batch": 2, "device": "cpu", "settings": ["precision=fp32", "log_every=1"]}


class Clips:
    """Random latents of nano's shape, 9 frames of 32x32 pixels."""

    fingerprint, channels = "random", 48

    def batch(self, step, size, seed):
        generator = torch.Generator().manual_seed(1000 * seed + step)
        target, source = torch.randn(2, size, self.channels, 3, 4, 4, generator=generator)
        return NovaBatch(target, source, torch.randn(size, 160, 3, 4, 4, generator=generator))


def random_data(*_args, **_options):
    """What `open_data` would return."""
    return TrainingData(Clips(), [Clips().batch(99, 1, 0)], "random clips")


def write_examples(folder):
    """Small random clips in the place of the rendered ones."""
    folder.mkdir(parents=True)
    for count, split in ((SHARDS, "train"), (VAL_SHARDS, "val")):
        for shard in range(count):
            shape = (2, 48, 2 + (shard % 4 == 3), 4, 4)
            generator = torch.Generator().manual_seed(shard)
            parts = {name: torch.randn(shape, generator=generator) for name in ("target_latents", "source_latents")}
            parts["control"] = torch.randn(shape[0], 160, *shape[2:], generator=generator)
            path = LatentStore(folder, "dense", count, split=split).path(shard)
            save_file({name: value.half() for name, value in parts.items()}, path)
