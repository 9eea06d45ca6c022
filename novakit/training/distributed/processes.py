"""Several processes as one run: who am I, what do all agree on, and what happens when one of them is lost.

Every process runs the same code on its own share of the batch, or on its own passes of an update. Gradients are
averaged by DDP or FSDP (through accelerate), or added up (`passes`); everything that decides the course of the run (a
NaN, a signal, a full disk) is agreed on by all of them, so that they stop at the same step and none waits for ever.
With one process all of this does nothing.

Source: ours, on accelerate and torch.distributed.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import fields
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from novakit.errors import NovaError
from novakit.training.distributed.passes import check_passes

T = TypeVar("T")
#: Parts of the messages with which gloo, NCCL and the store report a peer that is gone or does not answer.
LOST_PEER = ("closed by peer", "reset by peer", "broken pipe", "timed out", "timeout", "gloo", "nccl", "socket")


class OwnError(NovaError):
    """An error that the other processes of a run do not know: each tells its own. Any other is the same in all."""


class Processes:
    """The processes of one run. `Processes()` is a single one; `Processes.start()` asks the launcher."""

    def __init__(self, accelerator: Any = None, shard: bool = False) -> None:
        self.accelerator = accelerator
        self.count: int = accelerator.num_processes if accelerator else 1
        self.rank: int = accelerator.process_index if accelerator else 0
        self.shard = shard and self.count > 1
        self.device = accelerator.device if accelerator else torch.device("cpu")

    @classmethod
    def start(cls, device: str = "auto", fsdp: bool = False, patience: float = 600.0) -> Processes:
        """Join the processes that torchrun or `accelerate launch` started; without a launcher there is one.

        Args:
            device: "auto", "cpu" (gloo) or "cuda" (NCCL).
            fsdp: shard the weights over the processes (FSDP2) instead of copying them (DDP). An accelerate
                configuration that asks for FSDP has the same effect, and its settings are used.
            patience: seconds after which a process that does not answer counts as lost.

        Raises:
            NovaError: unknown device, or an accelerate configuration that this trainer cannot follow.
        """
        from accelerate import Accelerator
        from accelerate.utils import DistributedDataParallelKwargs, InitProcessGroupKwargs

        from novakit.device import choose_device

        handlers = [
            InitProcessGroupKwargs(timeout=timedelta(seconds=patience)),
            DistributedDataParallelKwargs(gradient_as_bucket_view=True),  # no second copy of the gradients
        ]
        on_cpu = choose_device(device).device == "cpu"
        accelerator = Accelerator(cpu=on_cpu, mixed_precision="no", kwargs_handlers=handlers)
        accelerator.wait_for_everyone()  # one that is refused and leaves must not break those that are still joining
        asked = _sharding_asked(accelerator)
        return cls(accelerator, shard=fsdp or asked)

    def close(self, task: Any = None, wait: bool = True) -> None:
        """Leave the group of processes; nothing works together afterwards.

        Without it the program's end takes the group's threads down in no order, and now and then aborts.

        Args:
            task: its DDP wrapper is taken off.
            wait: until all have come here; False after an error, when some may be gone.
        """
        if self.count == 1:
            return
        from accelerate.state import AcceleratorState, PartialState

        if task is not None:
            task.network = task.module
        if wait:
            self.accelerator.wait_for_everyone()
        self.accelerator.free_memory()
        torch.distributed.destroy_process_group()
        AcceleratorState._reset_state(True), PartialState._reset_state()

    @contextmanager
    def closing(self, task: Any = None) -> Iterator[Processes]:
        """Close the group when the block ends; `task` as in `close`. After an error of one process none waits."""
        try:
            yield self
        except BaseException as error:
            agreed = isinstance(error, SystemExit | KeyboardInterrupt) and error.args  # a bare Ctrl-C came in between
            self.close(task, wait=bool(agreed))
            raise
        self.close(task)

    @property
    def is_main(self) -> bool:
        """True in the process that writes files."""
        return self.rank == 0

    def wrap(self, task: Any, accumulate: int = 1) -> None:
        """Let gradients travel between the processes: DDP or FSDP around the task's `network`, if it has one.

        Args:
            task: the task; one without a network has its passes of an update shared out (`passes`).
            accumulate: passes per update.

        Raises:
            NovaError: passes that cannot be shared out.
        """
        if self.count == 1:
            return
        if not hasattr(task, "network"):
            return check_passes(self, type(task).__name__, accumulate)
        if self.shard:
            from novakit.training.distributed.sharding import shard_model

            task.network = shard_model(task.module, self.accelerator)
        else:
            task.network = self.accelerator.prepare(task.module)

    def accumulating(self, network: nn.Module | None, last: bool) -> AbstractContextManager:
        """Context of one backward pass: gradients travel between processes only in the last one of an update."""
        if self.count == 1 or last or network is None:
            return nullcontext()
        if self.shard:
            from novakit.training.distributed.sharding import without_exchange

            return without_exchange(network)
        return network.no_sync()

    def mean(self, values: dict[str, float]) -> dict[str, float]:
        """Mean of every number over the processes (all give the same keys); NaN anywhere is NaN everywhere."""
        if self.count == 1:
            return values
        numbers = torch.tensor(list(values.values()), dtype=torch.float64, device=self.device)
        return dict(zip(values, self.accelerator.reduce(numbers, reduction="mean").tolist()))

    def largest(self, value: float) -> float:
        """The largest value that any process gave."""
        if self.count == 1:
            return value
        number = torch.tensor([value], dtype=torch.float64, device=self.device)
        return self.accelerator.gather(number).max().item()

    def gather(self, items: list) -> list:
        """The lists of all processes, joined in the order of their ranks."""
        if self.count == 1:
            return items
        from accelerate.utils import gather_object

        return gather_object(items)

    def share(self, value: T) -> T:
        """What the main process has, in every process (small, plain values)."""
        if self.count == 1:
            return value
        from accelerate.utils import broadcast_object_list

        return broadcast_object_list([value])[0]

    def share_tensors(self, tensors: dict[str, Tensor] | None) -> dict[str, Tensor]:
        """The main process's tensors, by name and on the CPU, in every process."""
        if self.count == 1:
            return tensors or {}
        outline = self.share({name: (list(value.shape), value.dtype) for name, value in (tensors or {}).items()})
        received = {}
        for name, (shape, dtype) in outline.items():
            value = tensors[name].to(self.device) if self.is_main else torch.empty(shape, dtype=dtype).to(self.device)
            torch.distributed.broadcast(value.contiguous() if self.is_main else value, src=0)
            received[name] = value.cpu()
        return received

    def share_state(self, state: T | None) -> T | None:
        """A TrainingState of the main process, in every process; None stays None."""
        if self.count == 1:
            return state
        plain = self.share(None if state is None else (type(state), state.step, state.scalars))
        if plain is None:
            return None
        kind, step, scalars = plain
        names = [field.name for field in fields(kind) if field.name not in ("step", "scalars")]
        parts = {name: self.share_tensors(getattr(state, name, None)) for name in names}
        return kind(step=step, scalars=scalars, **parts)

    def on_main(self, function: Callable[[], T]) -> T | None:
        """Call `function` in the main process; all others wait for it, and its NovaError is raised in all."""
        if self.count == 1:
            return function()
        result, error = None, None
        if self.is_main:
            try:
                result = function()
            except NovaError as caught:
                error = caught
        message = self.share(None if error is None else str(error))
        if message is not None:
            raise NovaError(message) from error
        return result

    def together(self, function: Callable[[], T]) -> T:
        """Call `function` in every process; when one fails with a NovaError, all fail and name the process."""
        if self.count == 1:
            return function()
        result, errors = None, []
        try:
            result = function()
        except NovaError as caught:
            errors.append((self.rank, str(caught)))
        if self.largest(len(errors)):
            raise NovaError(_joined(self.gather(errors), self.count))
        return result

    @contextmanager
    def watch(self, folder: Path) -> Iterator[None]:
        """Turn the low-level error of a lost peer into one line that says what to do."""
        try:
            yield
        except RuntimeError as error:
            if self.count == 1 or not any(words in str(error).lower() for words in LOST_PEER):
                raise
            raise OwnError(
                f"process {self.rank} of {self.count} lost another one, which ended or no longer answers "
                f"({_line(error)}). Its own output says why; no word at all usually means too little memory. The "
                f"checkpoints in {folder}/checkpoints are whole: the same command goes on from the newest."
            ) from error


@contextmanager
def launched(device: str) -> Iterator[Processes]:
    """The processes that torchrun or `accelerate launch` started, until the block ends; without a launcher one alone.

    Args:
        device: as in `Processes.start`.
    """
    if "WORLD_SIZE" not in os.environ:
        yield Processes()
        return
    with Processes.start(device).closing() as team:
        yield team


def _sharding_asked(accelerator: Any) -> bool:
    """True when accelerate's own configuration asks for FSDP; refuses what would be ignored silently."""
    from accelerate.utils import DistributedType

    kind = accelerator.distributed_type
    if kind in (DistributedType.DEEPSPEED, DistributedType.MEGATRON_LM):
        raise NovaError(
            f"accelerate is configured for {kind.value}; this trainer knows DDP and FSDP (fsdp_version: 2)."
        )
    if kind == DistributedType.FSDP and accelerator.state.fsdp_plugin.fsdp_version != 2:
        raise NovaError("accelerate is configured for FSDP 1; write fsdp_version: 2 into its configuration.")
    return kind == DistributedType.FSDP


def _joined(errors: list[tuple[int, str]], count: int) -> str:
    """One message of many: what all processes say is said once, and of different ones the first three are told."""
    texts = dict.fromkeys(text for _, text in errors)
    if len(texts) == 1 and len(errors) == count:
        return errors[0][1]
    firsts = [f"process {next(rank for rank, said in errors if said == text)}: {text}" for text in texts]
    rest = f"; and {len(firsts) - 3} more" if len(firsts) > 3 else ""
    return "; ".join(firsts[:3]) + rest


def _line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:200]


def mean_of(records: list[dict[str, float]]) -> dict[str, float]:
    """Mean of every key over the records that have it."""
    keys = dict.fromkeys(key for record in records for key in record)
    columns = {key: [record[key] for record in records if key in record] for key in keys}
    return {key: math.fsum(column) / len(column) for key, column in columns.items()}
