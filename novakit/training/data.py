"""Training examples of the nano world as latents: what each stage of training reads.

The VAE is the costly part of a training step on a CPU, so examples are rendered, degraded and encoded once
(`training.makers`), kept in small shards on disk, and drawn from there. A shard is a function of (seed, shard number):
an interrupted build goes on where it stopped, several processes can build side by side, and a batch is a function of
(seed, step).

Source: ours.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from novakit.errors import NovaError
from novakit.files import atomic_path
from novakit.training.makers import MAKERS, Maker
from novakit.training.nova_task import NovaBatch
from novakit.training.objective import step_generator
from novakit.training.recipe import FEED

CROP = (6, 8)  # latents (h, w) of a cropped batch; a whole frame has 8 x 12


@dataclass(frozen=True)
class LatentStore:
    """A folder of encoded examples for one stage.

    Attributes:
        folder: where the shards lie.
        learn: the stage: "main", "sparse" or "dense".
        num_shards: how many shards the store has when complete.
        clips: clips per shard of 17 frames; shards of 33 frames hold half as many.
        seed: of the whole store.
        split: which textures; "val" for a validation store.
        frame_counts: shard i holds clips of frame_counts[i % len] frames.
        maker: another way of making the examples of this stage, from the same scenes; None = MAKERS[learn].
    """

    folder: Path
    learn: str
    num_shards: int
    clips: int = FEED.clips
    seed: int = 0
    split: str = "train"
    frame_counts: tuple[int, ...] = FEED.frame_counts
    maker: Maker | None = None

    def __post_init__(self) -> None:
        if self.learn not in MAKERS:
            raise NovaError(f"There is no stage {self.learn!r}; choose one of {', '.join(MAKERS)}.")

    def path(self, shard: int) -> Path:
        """File of one shard."""
        return Path(self.folder) / f"{self.split}-{self.seed}-{shard:05d}.safetensors"

    @torch.no_grad()
    def make(self, vae: nn.Module, shard: int) -> NovaBatch:
        """Render, degrade and encode one shard; a function of (seed, split, shard)."""
        generator = step_generator(self.seed, shard, f"store/{self.learn}/{self.split}")
        num_frames = self.frame_counts[shard % len(self.frame_counts)]
        count = self.clips if num_frames == 17 else max(1, self.clips // 2)
        seeds = torch.randint(2**31 - 1, (count,), generator=generator)
        device = next(vae.parameters()).device
        render, make_batch = self.maker or MAKERS[self.learn]
        return make_batch(vae, render(seeds, split=self.split, num_frames=num_frames, device=device), generator)

    def build(self, vae: nn.Module, shards: range | None = None, report: Callable[[int], None] | None = None) -> None:
        """Make the shards that are missing; call `report(shard)` after each."""
        Path(self.folder).mkdir(parents=True, exist_ok=True)
        for shard in range(self.num_shards) if shards is None else shards:
            if not self.path(shard).exists():
                batch = self.make(vae, shard)
                tensors = {f.name: getattr(batch, f.name) for f in fields(batch) if getattr(batch, f.name) is not None}
                with atomic_path(self.path(shard)) as partial:
                    save_file({name: t.half().contiguous().cpu() for name, t in tensors.items()}, partial)
            if report:
                report(shard)

    def missing(self) -> list[int]:
        """The shards that are not there yet."""
        return [shard for shard in range(self.num_shards) if not self.path(shard).exists()]

    def load(self, device: str | torch.device = "cpu") -> LoadedStore:
        """All shards in the memory of a device.

        Raises:
            NovaError: a shard is missing.
        """
        if missing := self.missing():
            raise NovaError(
                f"{len(missing)} of {self.num_shards} shards are missing in {self.folder} (first {missing[0]}); "
                "call build() first."
            )
        groups: dict[int, list[dict[str, Tensor]]] = {}
        for shard in range(self.num_shards):
            tensors = load_file(self.path(shard), str(device))
            groups.setdefault(tensors["target_latents"].shape[2], []).append(tensors)
        merged = {
            t: {name: torch.cat([part[name] for part in parts]) for name in parts[0]} for t, parts in groups.items()
        }
        return LoadedStore(merged, self.seed)


@dataclass(frozen=True)
class LoadedStore:
    """Encoded examples in memory, grouped by their number of latent frames."""

    groups: dict[int, dict[str, Tensor]]
    seed: int

    def batch(
        self,
        step: int,
        size: int = FEED.batch,
        crop_share: float = FEED.crop_share,
        long_share: float = FEED.long_share,
    ) -> NovaBatch:
        """Batch `step`: examples of one length, `size` short clips or `size // 2` long ones.

        Args:
            step: batch number; the batch is a function of it.
            size: clips of 17 frames.
            crop_share: share of batches cut to CROP latents at a random place: half the tokens, half the time. RoPE
                is relative, so what is learned on crops holds on whole frames, which the other batches show.
            long_share: share of batches with 33 frames.
        """
        generator = step_generator(self.seed, step, "pick")
        long_draw, crop_draw, *place = torch.rand(4, generator=generator).tolist()
        lengths = sorted(self.groups)
        long = len(lengths) > 1 and long_draw < long_share
        group = self.groups[lengths[-1] if long else lengths[0]]
        rows = torch.randint(len(group["target_latents"]), (max(1, size // 2) if long else size,), generator=generator)
        rows = rows.to(group["target_latents"].device)
        height, width = group["target_latents"].shape[-2:]
        crop_h, crop_w = CROP if crop_draw < crop_share else (height, width)
        top, left = int(place[0] * (height - crop_h + 1)), int(place[1] * (width - crop_w + 1))
        return NovaBatch(
            *(
                group[f.name][rows][..., top : top + crop_h, left : left + crop_w].float() if f.name in group else None
                for f in fields(NovaBatch)
            )
        )
