"""NOVA's task for several processes: each takes its share of a batch that all of them agree on.

Update s learns from `batch` clips, whatever the number of processes: clip i of them is a function of (seed, s),
its noise and noise level of (seed, s, i), never of the process that happens to hold it. So a run gives the same
losses on one process and on two, and may be resumed on another number of them.

    update s, accumulation 2, two processes, batch 8:   clip  0 1 | 2 3 | 4 5 | 6 7
                                             process and pass  0, 0 | 1, 0 | 0, 1 | 1, 1

Source: ours; objective as in `novakit.training.nova_task`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from novakit.errors import NovaError
from novakit.training.distributed.processes import Processes
from novakit.training.distributed.reader import ReadAhead
from novakit.training.nova_task import NovaBatch, NovaTask, NovaTaskConfig
from novakit.training.objective import (
    NUM_TRAIN_TIMESTEPS,
    add_noise,
    epsilon_loss_weight,
    sample_sigmas,
    step_generator,
    velocity_target,
    without_autocast,
)


class BatchSource(Protocol):
    """Where clips come from: anything with this method.

    Optional beside it: `rows(step, size, seed, rows) -> NovaBatch`, only the clips `rows` (a range) of that batch,
    so that a process need not read what others train on; `name(step, size, seed, row) -> str`, for messages; and
    `fingerprint: str`, which a resumed run must share.
    """

    def batch(self, step: int, size: int, seed: int) -> NovaBatch:
        """Batch `step` of `size` clips: a pure function of its arguments."""
        ...


@dataclass(frozen=True)
class Share:
    """How a batch is divided."""

    batch: int  # clips per update, over all processes
    accumulation: int = 1  # passes per update and process

    def rows(self, processes: Processes, part: int) -> range:
        """The clips of pass `part` in this process.

        Raises:
            NovaError: the batch cannot be divided.
        """
        size, rest = divmod(self.batch, processes.count * self.accumulation)
        if rest or size < 1:
            raise NovaError(
                f"a batch of {self.batch} cannot be divided among {processes.count} processes with accumulation "
                f"{self.accumulation}: it must be a multiple of {processes.count * self.accumulation}."
            )
        first = (part * processes.count + processes.rank) * size
        return range(first, first + size)


class SampleTask(NovaTask):
    """`NovaTask` on a share of each batch.

    Args:
        model: NovaTransformer3DModel; everything but `learn` is frozen here.
        source: where batches come from.
        share: batch and accumulation.
        processes: who else is there.
        config: noise levels, weighting, seed.
        validation, learn, preview: as in NovaTask.
        text: what the network reads in place of a prompt, (1, L, text_dim): the encoded empty prompt; None = the
            null token.
        offload: keep saved activations in the memory of the CPU: less memory on the GPU, more time.
        settings: JSON values that a resumed run must share.
        patience: seconds after which a source that does not answer is given up.
    """

    def __init__(
        self,
        model: nn.Module,
        source: BatchSource,
        share: Share,
        processes: Processes | None = None,
        config: NovaTaskConfig | None = None,
        *,
        validation: Sequence[NovaBatch] = (),
        learn: str = "dense",
        preview: Any = None,
        text: Tensor | None = None,
        offload: bool = False,
        settings: dict[str, Any] | None = None,
        patience: float = 600.0,
    ) -> None:
        self.processes = processes or Processes()
        share.rows(self.processes, 0)  # refuses a batch that cannot be divided
        about = {"batch": share.batch, "data": getattr(source, "fingerprint", None), **(settings or {})}
        super().__init__(model, lambda step: self._read(step)[0], config, validation, about, learn, preview)
        self.source, self.share, self.text, self.offload = source, share, text, offload
        self.network = model  # what is called for gradients: `Processes.wrap` puts DDP or FSDP here
        self.device = self.processes.device if self.processes.accelerator else self.device
        self.dtype = torch.promote_types(next(p.dtype for p in model.parameters() if p.requires_grad), torch.float32)
        self.batches = ReadAhead(self._read, patience)
        self._losses = torch.zeros(0)

    def divide(self, accumulation: int) -> None:
        """Take each batch in that many passes from now on; clips that were read for other passes are read again."""
        self.share = replace(self.share, accumulation=accumulation)
        self.batches = ReadAhead(self._read, self.batches.patience)

    def prepare(self, step: int) -> None:
        """Have this process's clips of update `step` in memory, and begin to read those of the next.

        Raises:
            NovaError: the source cannot give them, or a batch has nothing to learn from.
        """
        for batch in self.batches.take(step):
            if batch.source_latents is None and self.settings["learn"] == "dense":
                raise NovaError(f"batch {step} has no source latents: nothing to learn for the dense branch.")

    def _read(self, step: int) -> list[NovaBatch]:
        """This process's clips of update `step`, pass by pass, on the CPU."""
        size, seed = self.share.batch, self.config.seed
        ranges = [self.share.rows(self.processes, part) for part in range(self.share.accumulation)]
        if hasattr(self.source, "rows"):
            return [self.source.rows(step, size, seed, rows) for rows in ranges]
        whole = self.source.batch(step, size, seed)
        if len(whole.target_latents) != size:
            raise NovaError(
                f"the source gave {len(whole.target_latents)} clips for batch {step}; {size} were asked for."
            )
        return [_map(whole, lambda part, rows=rows: part[rows.start : rows.stop]) for rows in ranges]

    def loss(self, index: int) -> tuple[Tensor, dict[str, float]]:
        """Eq. 4 on pass `index % accumulation` of update `index // accumulation`.

        Returns:
            Scalar loss of this process's clips, and their mean noise level for the log.
        """
        step, part = divmod(index, self.share.accumulation)
        with without_autocast(self.device), torch.no_grad():
            self.prepare(step)
            batch = self.batches.take(step)[part].to(self.device)
        rows = self.share.rows(self.processes, part)
        sigmas, noise = self.draw(step, rows, batch.target_latents.shape[1:])
        weight = epsilon_loss_weight(sigmas) if self.config.weighting == "epsilon" else None
        loss = self._loss(batch, sigmas, noise.to(self.device), weight)
        return loss, {"sigma": sigmas.mean().item()}

    def draw(self, step: int, rows: range, shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        """Noise levels (B,) and noise (B, *shape) of the clips `rows` of update `step`; each has its own generator."""
        drawn = []
        for row in rows:
            generator = step_generator(self.config.seed, step * self.share.batch + row)
            sigma = sample_sigmas(1, generator, self.config.shift, self.config.scheme)
            drawn.append((sigma, torch.randn(tuple(shape), generator=generator)))
        return torch.cat([sigma for sigma, _ in drawn]), torch.stack([noise for _, noise in drawn])

    def _loss(self, batch: NovaBatch, sigmas: Tensor, noise: Tensor, weight: Tensor | None = None) -> Tensor:
        """As `flow_matching_loss`, in the precision of the weights."""
        batch, noise = _map(batch, lambda part: part.to(self.dtype)), noise.to(self.dtype)
        latents = batch.target_latents
        with self._saving():
            prediction = self._velocity(batch, add_noise(latents, noise, sigmas), sigmas)
        error = (prediction.to(self.dtype) - velocity_target(latents, noise)).square()
        losses = error.flatten(1).mean(1)  # (B,)
        if weight is not None:
            losses = losses * weight.to(losses)
        self._losses = losses.detach()
        return losses.mean()

    def _velocity(self, batch: NovaBatch, noisy: Tensor, sigmas: Tensor) -> Tensor:
        network = self.network if torch.is_grad_enabled() else self.module
        text = self.text if self.text is not None else noisy.new_zeros(1, 1, self.module.base.config.text_dim)
        return network(
            hidden_states=noisy,
            timestep=(NUM_TRAIN_TIMESTEPS * sigmas).to(self.device),
            encoder_hidden_states=text.to(noisy).expand(len(noisy), -1, -1),
            control_hidden_states=batch.control,
            source_latents=batch.source_latents,
            return_dict=False,
        )[0]

    @property
    def _half_precision_base(self) -> bool:
        return self.module.base.patch_embedding.weight.dtype in (torch.bfloat16, torch.float16)

    def _saving(self) -> AbstractContextManager:
        return saved_on_cpu() if self.offload and torch.is_grad_enabled() else nullcontext()

    def blame(self, index: int) -> str:
        """Which clips of the pass just computed have a loss that is no number, and whether their latents have too."""
        step, part = divmod(index, self.share.accumulation)
        rows, batch = self.share.rows(self.processes, part), self.batches.take(step)[part]
        found = []
        for place, row in enumerate(rows):
            if not torch.isfinite(self._losses[place]):
                parts = [f.name for f in fields(batch) if not _finite(getattr(batch, f.name), place)]
                why = f", NaN or infinite in its {' and '.join(parts)}" if parts else ""
                found.append(f"clip {row} of batch {step}{self._name(step, row)}, process {self.processes.rank}{why}")
        return "; ".join(found)

    def _name(self, step: int, row: int) -> str:
        if not hasattr(self.source, "name"):
            return ""
        return f" = {self.source.name(step, self.share.batch, self.config.seed, row)}"

    def export(self, weights: dict[str, Tensor], folder: Path) -> None:
        """Write `dense.safetensors`, the file that `--dense` reads, from a run's weights."""
        if self.settings["learn"] == "dense":
            from novakit.training.distributed.export import write_dense

            write_dense(self.module, weights, folder / "dense.safetensors")


@contextmanager
def saved_on_cpu() -> Iterator[None]:
    """Activations saved for the backward pass wait in CPU memory; weights stay where they are."""

    def pack(tensor: Tensor) -> Any:
        if isinstance(tensor, nn.Parameter) or tensor.numel() < 2**16 or hasattr(tensor, "full_tensor"):
            return tensor
        return tensor.device, tensor.to("cpu", non_blocking=False)

    def unpack(packed: Any) -> Tensor:
        return packed if isinstance(packed, Tensor) else packed[1].to(packed[0], non_blocking=True)

    with torch.autograd.graph.saved_tensors_hooks(pack, unpack):
        yield


def _map(batch: NovaBatch, change: Any) -> NovaBatch:
    """A batch with `change` done to each of its tensors."""
    parts = (getattr(batch, field.name) for field in fields(batch))
    return NovaBatch(*(None if part is None else change(part) for part in parts))


def _finite(part: Tensor | None, place: int) -> bool:
    return part is None or bool(torch.isfinite(part[place]).all())
