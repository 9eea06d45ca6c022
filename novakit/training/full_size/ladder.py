"""When memory runs out, step down: recompute more, then hold fewer clips at a time. The update stays the same.

    gradient checkpointing of all, where some is off  the same numbers, more time
    half the clips in a pass, twice as many passes    the same batch; gradients equal but for rounding
    ... until a pass holds one clip: then the run ends, and says so

An update that ran out of memory is thrown away before it touched a weight, and begun anew one step lower; the step
is told and stands in the log, group "memory". One process may step down at any update. Of several, one that runs out
in the middle of an exchange would leave the others waiting, so they rehearse the first updates of a sitting, each
alone and without exchange, and step down together; what runs out later ends the run with an error, as under FSDP,
where even a forward pass is an exchange.

Source: ours; accelerate knows what the errors look like.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

import torch

from novakit.editing.inputs import notice
from novakit.errors import NovaError
from novakit.models.checkpointing import checkpoint_gradients
from novakit.training.distributed.processes import Processes
from novakit.training.trainer import Trainer

T = TypeVar("T")
REHEARSALS = 2  # updates; from the second on the optimiser's state takes its memory too


class LadderTrainer(Trainer):
    """`Trainer` of a `SampleTask` that meets a lack of memory with more passes over fewer clips."""

    rehearsals = 0  # still to come

    def _loop(self, log: Any, *rest: Any) -> None:
        self.log = log
        self.rehearsals = REHEARSALS if self.processes.count > 1 and not self.processes.shard else 0
        super()._loop(log, *rest)

    def _gradients(self) -> tuple[dict[str, float], list[str]]:
        """As the trainer's, on the first step of the ladder that fits.

        Raises:
            NovaError: a pass of one clip does not fit.
            OutOfMemoryError: several processes, after the rehearsals.
        """
        passes = super()._gradients
        if self.processes.count == 1:
            return self._fitting(passes)
        if self.rehearsals:
            self.rehearsals -= 1
            self._fitting(lambda: self._alone(passes))
            self.optimizer.zero_grad(set_to_none=True)
        return passes()

    def _alone(self, passes: Callable[[], T]) -> T:
        """The passes of this process without a word to the others."""
        team, network = self.processes, self.task.network
        self.processes, self.task.network = Processes(), self.task.module
        try:
            return passes()
        finally:
            self.processes, self.task.network = team, network

    def _fitting(self, passes: Callable[[], T]) -> T:
        """What `passes` gives, once it fits into the memory of every process."""
        while True:
            found, lack = None, []
            try:
                found = passes()
            except RuntimeError as error:
                if not ran_out(error):
                    raise
                lack = [f"process {self.processes.rank}: {str(error).splitlines()[0][:200]}"]
            if not (lacks := self.processes.gather(lack)):
                return found
            self._step_down(lacks[0])

    def _step_down(self, why: str) -> None:
        """One step of the ladder, in all processes alike; the update's clips are read again.

        Raises:
            NovaError: there is no lower one.
        """
        from accelerate.utils.memory import clear_device_cache

        self.optimizer.zero_grad(set_to_none=True)
        clear_device_cache(garbage_collection=True)
        clips = len(self.task.share.rows(self.processes, 0))
        if self.config.keep_attention or not self.config.gradient_checkpointing:
            checkpoint_gradients(self.task.module)
            self.config = replace(self.config, gradient_checkpointing=True, keep_attention=False)
        elif clips > 1:
            self.config = replace(self.config, accumulate=self.config.accumulate * smallest_divisor(clips))
            self.task.divide(self.config.accumulate)
        else:
            raise NovaError(
                f"a pass of one clip with gradient checkpointing does not fit ({why}). What is left: --fsdp, "
                f"--activation-offload, a larger GPU. The checkpoints in {self.folder}/checkpoints are whole: the same "
                "command with one of these goes on."
            )
        self.processes.together(lambda: self.task.prepare(self.step))
        self._tell(why)

    def _tell(self, why: str) -> None:
        """Say and write down how an update is made from now on."""
        passes, clips = self.config.accumulate, len(self.task.share.rows(self.processes, 0))
        self.log.write(self.step, {"accumulation": passes, "clips_per_pass": clips, "checkpointing": 1}, "memory")
        notice(
            f"update {self.step} ran out of memory ({why}). From now on: gradient checkpointing, accumulation "
            f"{passes}, clips a pass {clips}; the batch is still {self.task.share.batch}, the gradients are the same. "
            f"Next time begin with --gradient-checkpointing --accumulation {passes}."
        )


def ran_out(error: RuntimeError) -> bool:
    """Does this error mean that the memory of a GPU, or of the CPU, is full?"""
    from accelerate.utils.memory import should_reduce_batch_size

    return isinstance(error, torch.OutOfMemoryError) or should_reduce_batch_size(error)


def smallest_divisor(number: int) -> int:
    """The smallest divisor above 1: 2 for every even number."""
    return next(divisor for divisor in range(2, number + 1) if number % divisor == 0)
