"""The training loop: AdamW, exact resume, checkpoints that survive a kill, logs, validation.

A task says what is learned (`Task`), a `TrainConfig` how, and `Trainer(task, config, folder).fit()` does it.
Whatever the run draws at random depends on (seed, step) or is stored, so a killed and resumed run gives the
same losses and weights, bit for bit, as one that was never interrupted (same machine, same thread count).
With `Processes.start()` the same loop runs in several processes: the main one writes, all decide together."""

import json
import math
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from tqdm.auto import tqdm

from novakit.errors import NovaError
from novakit.files import atomic_write_json, require_writable_folder
from novakit.models.checkpointing import checkpoint_gradients
from novakit.training.checkpoint import CheckpointWriter, latest_checkpoint, write_checkpoint, write_weights
from novakit.training.config import TrainConfig, better_score, check_same_run, check_same_settings, learning_rate
from novakit.training.distributed.logs import open_log
from novakit.training.distributed.passes import add_gradients, own_passes
from novakit.training.distributed.processes import Processes, mean_of
from novakit.training.distributed.sharding import whole
from novakit.training.ema import WeightAverage, trainable_parameters
from novakit.training.graphs import StepGraphs
from novakit.training.optimizer import check_parameters, make_optimizer
from novakit.training.run_folder import RunLock, RunLog, StopSignals, write_clips
from novakit.training.state import (
    TrainingState,
    capture_state,
    capture_weights,
    frozen_fingerprint,
    preserved_rng,
    restore_state,
    seed_everything,
)
from novakit.training.task import Task

#: What interrupts the loop, beside the signals 2 and 15; of all processes' reasons the largest counts.
CHECKPOINT_DUE, TIME_IS_UP, CHECKPOINT_FAILED = 0.5, 1, 99


class Trainer:
    """Trains a task in a folder: checkpoints/, log.jsonl, tensorboard/, samples/, last.safetensors, best."""

    def __init__(self, task: Task, config: TrainConfig, folder: str | Path, processes: Processes | None = None) -> None:
        self.task, self.config = task, config
        self.folder, self.processes = Path(folder), processes or Processes()
        if config.gradient_checkpointing:
            checkpoint_gradients(task.module, config.keep_attention)
        self.frozen = frozen_fingerprint(task.module)
        self.processes.wrap(task, config.accumulate)
        self.writer = CheckpointWriter(config.background_checkpoints)
        self.parameters = trainable_parameters(task.module)
        check_parameters(self.parameters)
        self.device = next(iter(self.parameters.values())).device
        self.graphs = StepGraphs(task, config.precision) if config.cuda_graphs else None
        self.average = WeightAverage(task.module, config.ema)
        self.optimizer = make_optimizer(self.parameters, config)
        self.step = 0  # updates done
        self.best: float | None = None
        self.window: list[dict[str, float]] = []  # updates since the last log line
        self.open_log = open_log  # what makes the log of a sitting
        self.saved_at = 0.0  # when the last checkpoint was taken, by the clock that only runs forward (seconds)
        self.stop_reason = ""  # "done", "minutes" or "signal" after fit

    def fit(
        self, resume: bool = True, progress: bool = True, accept_changes: Sequence[str] = ()
    ) -> list[dict[str, Any]]:
        """Train until `config.steps`, the minutes limit or a signal; always ends with a checkpoint.

        Args:
            resume: continue the run in the folder when there is one; False demands an empty folder.
            progress: show a progress bar with the remaining time (switch off in notebooks).
            accept_changes: settings that may differ from the checkpoint's on purpose.

        Returns:
            The log: dicts with "step", "group" ("train" or "validation") and the numbers.

        Raises:
            NovaError: NaN/Inf loss or gradient (before the update), other settings than the checkpoint's,
                damaged checkpoints, or a folder in use.
            SystemExit, KeyboardInterrupt: after saving, when SIGTERM or SIGINT came.
        """
        together = self.processes
        together.on_main(lambda: require_writable_folder(self.folder))
        with together.watch(self.folder), ExitStack() as stack:
            together.on_main(lambda: stack.enter_context(RunLock(self.folder)))
            stack.enter_context(preserved_rng())
            signals = stack.enter_context(StopSignals())
            self._start(resume, tuple(accept_changes))
            log = self.open_log(self.folder, self.step, together)
            try:
                self._loop(log, signals, progress and together.is_main)
                together.on_main(self.writer.wait)
            finally:
                self.writer.finish()
                log.close()
        signals.reraise()
        return log.history

    def _start(self, resume: bool, accept_changes: tuple[str, ...]) -> None:
        """Load the newest valid checkpoint, or seed everything and write checkpoint 0."""
        state = self.processes.share_state(self.processes.on_main(lambda: self._find_state(resume)))
        if state is not None:
            return self._restore(state, accept_changes)
        seed_everything(self.config.seed)
        self._save_checkpoint()
        self.processes.on_main(self.writer.wait)  # a log without a checkpoint would be refused

    def _find_state(self, resume: bool) -> TrainingState | None:
        """The newest valid checkpoint, None in an empty folder; refuses to start over silently."""
        traces = [name for name in ("checkpoints", "log.jsonl") if (self.folder / name).exists()]
        if traces and not resume:
            raise NovaError(f"{self.folder} already holds a run; pass resume=True or an empty folder.")
        state = latest_checkpoint(self.folder / "checkpoints")
        if state is None and "log.jsonl" in traces:
            raise NovaError(f"{self.folder} has a log but no checkpoint; restore it or use an empty folder.")
        return state

    def _loop(self, log: RunLog, signals: StopSignals, progress: bool) -> None:
        started, config = time.monotonic(), self.config
        self.saved_at, self.stop_reason = started, "done"
        self.task.module.train()
        with tqdm(total=config.steps, initial=self.step, disable=not progress, desc=self.folder.name) as bar:
            while self.step < config.steps:
                self.window.append(self.train_step())
                self.step += 1
                bar.update()
                self._report(log, bar)
                reason = self._agreed_reason(signals, minutes=(time.monotonic() - started) / 60)
                if reason or self._due(config.checkpoint_every):
                    self._save_checkpoint()
                if reason >= TIME_IS_UP and self.step < config.steps:
                    self.stop_reason = "signal" if signals.caught is not None else "minutes"
                    break

    def _agreed_reason(self, signals: StopSignals, minutes: float) -> float:
        """0 to go on, or the weightiest reason that any process has, which then is the reason of all."""
        over = self.config.minutes is not None and minutes >= self.config.minutes
        failed = self.writer.failed * CHECKPOINT_FAILED
        agreed = self.processes.largest(max(failed, signals.caught or 0, over * TIME_IS_UP, self._overdue()))
        if agreed == CHECKPOINT_FAILED:
            self.processes.on_main(self.writer.wait)  # raises in all
        if agreed > TIME_IS_UP:
            signals.caught = int(agreed)
        return agreed

    def _overdue(self) -> float:
        """CHECKPOINT_DUE once the last checkpoint is older than `checkpoint_seconds`, else 0."""
        limit = self.config.checkpoint_seconds
        return CHECKPOINT_DUE if limit is not None and time.monotonic() - self.saved_at >= limit else 0

    def _due(self, every: int) -> bool:
        return every > 0 and (self.step % every == 0 or self.step == self.config.steps)

    def train_step(self) -> dict[str, float]:
        """One update: gradients of `accumulate` batches, guard, clip, AdamW, average.

        Batch i of update s has the index s * accumulate + i, so the step is the data position. Returns the mean of
        loss and numbers over batches and processes, with "lr" and "grad_norm".
        """
        if hasattr(self.task, "prepare"):
            self.processes.together(lambda: self.task.prepare(self.step))
        numbers, faults = self._gradients()
        self._guard(numbers["loss"], "loss", faults)
        norm = whole(torch.nn.utils.clip_grad_norm_(self.parameters.values(), self.config.grad_clip or math.inf)).item()
        self._guard(norm, "gradient", [])
        rate = learning_rate(self.config, self.step)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.average.update(self.step)
        return {**numbers, "lr": rate, "grad_norm": norm}

    def _gradients(self) -> tuple[dict[str, float], list[str]]:
        """Backward passes of one update; the mean numbers, and where this process met a loss that is no number."""
        count, batches, faults = self.config.accumulate, [], []
        network = getattr(self.task, "network", None)
        passes = range(self.step * count, (self.step + 1) * count)
        for index in own_passes(self.processes, passes) if network is None else passes:
            with self.processes.accumulating(network, last=index == passes[-1]):
                loss, numbers = self._one_pass(index)
            batches.append({"loss": loss.item(), **{name: float(number) for name, number in numbers.items()}})
            if not math.isfinite(batches[-1]["loss"]):
                faults.append(getattr(self.task, "blame", "batch {}".format)(index))
        if network is None:
            add_gradients(self.processes, self.parameters.values())
        return self.processes.mean(mean_of(batches)), faults

    def _one_pass(self, index: int) -> tuple[torch.Tensor, dict[str, Any]]:
        """Forward and backward of one batch: loss and numbers."""
        if self.graphs is not None:
            return self.graphs(index)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.precision == "bf16"):
            loss, numbers = self.task.loss(index)
        (loss / self.config.accumulate).backward()
        return loss, numbers

    def _guard(self, value: float, what: str, faults: list[str]) -> None:
        """Stop before the update, in all processes, when a number is NaN or infinite; name where it came from."""
        if not math.isfinite(value):
            self.optimizer.zero_grad(set_to_none=True)
            places = f" ({'; '.join(found)})" if (found := self.processes.gather(faults)) else ""
            raise NovaError(
                f"the {what} of step {self.step} is {value}: stopped before the update{places}. The last good "
                f"checkpoint is in {self.folder}/checkpoints; lower lr or grad_clip, or look at that batch."
            )

    def _report(self, log: RunLog, bar: tqdm) -> None:
        """Write the log line and the validation that are due after this update."""
        if self._due(self.config.log_every):
            numbers, self.window = mean_of(self.window), []
            log.write(self.step, numbers, "train")
            bar.set_postfix(loss=f"{numbers['loss']:.4f}", lr=f"{numbers['lr']:.1e}")
        if self._due(self.config.validate_every) and (scores := self._validate()):
            log.write(self.step, scores, "validation")
            self._keep_best(scores)

    def _validate(self) -> dict[str, float]:
        """Scores of the averaged weights; leaves weights, mode and random state as they were."""
        validate, render = (getattr(self.task, name, None) for name in ("validate", "validation_clips"))
        self.task.module.eval()
        with preserved_rng(), torch.no_grad(), self.average.applied():
            scores = validate(self.step) if validate else {}
            clips = render(self.step) if render else {}
        folder = self.folder / "samples" / f"step-{self.step:06d}"
        self.processes.on_main(lambda: write_clips(folder, clips))
        self.task.module.train()
        return self.processes.share(scores or {})  # one verdict: processes may differ in the last bits

    def _keep_best(self, scores: dict[str, float]) -> None:
        """Write best.safetensors when the chosen metric is the best so far."""
        value = better_score(self.config, scores, self.best)
        if value is not None:
            self.best, best = value, {"step": self.step, self.config.best_metric: value}
            self.save_weights(self.folder / "best.safetensors")
            self.processes.on_main(lambda: atomic_write_json(self.folder / "best.json", best))

    def save_weights(self, path: str | Path) -> Path:
        """Write the weights for use (the averaged ones when EMA is on) as safetensors, atomically."""
        with self.average.applied():
            weights = capture_weights(self.task.module, self.processes.is_main)
        self.processes.on_main(lambda: write_weights(path, weights, self.step))
        return Path(path)

    def _settings(self) -> dict[str, Any]:
        """What must be the same on resume beside the config: the task's settings and the frozen weights."""
        settings = {**getattr(self.task, "settings", {}), "frozen_weights": self.frozen}
        return json.loads(json.dumps(settings))  # as a checkpoint gives them back: tuples become lists

    def _save_checkpoint(self) -> None:
        """Take a snapshot, and write it now or in the background; only the main process keeps one."""
        scalars = {"config": asdict(self.config), "settings": self._settings()}
        scalars |= {"best": self.best, "window": list(self.window)}
        live = (self.task.module, self.optimizer, self.average.shadow)
        state = capture_state(self.step, *live, scalars, self.processes.is_main)
        self.saved_at = time.monotonic()
        self.processes.on_main(lambda: self.writer.submit(lambda: self._write(state)))

    def _write(self, state: TrainingState) -> None:
        write_checkpoint(self.folder / "checkpoints", state, self.config.keep)
        self._write_last(state)

    def _write_last(self, state: TrainingState) -> None:
        """The weights for use, and what else the task makes of them."""
        weights = {**state.weights, **state.ema}
        write_weights(self.folder / "last.safetensors", weights, state.step)
        if hasattr(self.task, "export"):
            self.task.export(weights, self.folder)

    def _restore(self, state: TrainingState, accept_changes: tuple[str, ...]) -> None:
        check_same_run(state.scalars["config"], self.config, accept_changes)
        check_same_settings(state.scalars["settings"], self._settings(), accept_changes)
        restore_state(state, self.task.module, self.optimizer, self.average.shadow)
        self.step, self.best, self.window = state.step, state.scalars["best"], state.scalars["window"]
        self.processes.on_main(lambda: self._write_last(state))  # a kill may have left an older one
