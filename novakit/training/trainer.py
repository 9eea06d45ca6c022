"""The training loop: AdamW, exact resume, checkpoints that survive a kill, logs, validation.

A task says what is learned (`Task`), a `TrainConfig` how, and `Trainer(task, config, folder).fit()` does it.
Whatever the run draws at random depends on (seed, step) or is stored, so a killed and resumed run gives the
same losses and weights, bit for bit, as one that was never interrupted (same machine, same thread count).
"""

import json
import math
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor
from tqdm.auto import tqdm

from novakit.errors import NovaError
from novakit.files import atomic_path, atomic_write_json, require_writable_folder
from novakit.training.checkpoint import latest_checkpoint, write_checkpoint
from novakit.training.config import TrainConfig, check_same_run, check_same_settings, learning_rate
from novakit.training.ema import WeightAverage, trainable_parameters
from novakit.training.optimizer import check_parameters, make_optimizer
from novakit.training.run_folder import RunLock, RunLog, StopSignals, write_clips
from novakit.training.state import (
    TrainingState,
    capture_optimizer,
    capture_rng,
    capture_weights,
    cpu_copies,
    frozen_fingerprint,
    preserved_rng,
    restore_ema,
    restore_optimizer,
    restore_rng,
    restore_weights,
    seed_everything,
)
from novakit.training.task import Task


class Trainer:
    """Trains a task in a folder: checkpoints/, log.jsonl, tensorboard/, samples/, last.safetensors, best."""

    def __init__(self, task: Task, config: TrainConfig, folder: str | Path) -> None:
        self.task, self.config = task, config
        self.folder = Path(folder)
        if config.gradient_checkpointing:
            if not hasattr(task.module, "enable_gradient_checkpointing"):
                raise NovaError(f"{type(task.module).__name__} cannot checkpoint gradients; set it to False.")
            task.module.enable_gradient_checkpointing()
        self.parameters = trainable_parameters(task.module)
        check_parameters(self.parameters)
        self.device = next(iter(self.parameters.values())).device
        self.average = WeightAverage(task.module, config.ema)
        self.optimizer = make_optimizer(self.parameters, config)
        self.step = 0  # updates done
        self.best: float | None = None
        self.window: list[dict[str, float]] = []  # updates since the last log line
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
        require_writable_folder(self.folder)
        with RunLock(self.folder), preserved_rng(), StopSignals() as signals:
            self._start(resume, tuple(accept_changes))
            log = RunLog(self.folder, self.step)
            try:
                self._loop(log, signals, progress)
            finally:
                log.close()
        signals.reraise()
        return log.history

    def _start(self, resume: bool, accept_changes: tuple[str, ...]) -> None:
        """Load the newest valid checkpoint, or seed everything and write checkpoint 0."""
        traces = [name for name in ("checkpoints", "log.jsonl") if (self.folder / name).exists()]
        if traces and not resume:
            raise NovaError(f"{self.folder} already holds a run; pass resume=True or an empty folder.")
        state = latest_checkpoint(self.folder / "checkpoints")
        if state is not None:
            self._restore(state, accept_changes)
            return
        if "log.jsonl" in traces:
            raise NovaError(f"{self.folder} has a log but no checkpoint; restore it or use an empty folder.")
        seed_everything(self.config.seed)
        self._save_checkpoint()

    def _loop(self, log: RunLog, signals: StopSignals, progress: bool) -> None:
        started, config = time.monotonic(), self.config
        self.stop_reason = "done"
        self.task.module.train()
        with tqdm(total=config.steps, initial=self.step, disable=not progress, desc=self.folder.name) as bar:
            while self.step < config.steps:
                self.window.append(self.train_step())
                self.step += 1
                bar.update()
                self._report(log, bar)
                over = config.minutes is not None and time.monotonic() - started >= 60 * config.minutes
                stop = signals.caught is not None or over
                if stop or self._due(config.checkpoint_every):
                    self._save_checkpoint()
                if stop and self.step < config.steps:
                    self.stop_reason = "signal" if signals.caught is not None else "minutes"
                    break

    def _due(self, every: int) -> bool:
        return every > 0 and (self.step % every == 0 or self.step == self.config.steps)

    def train_step(self) -> dict[str, float]:
        """One update: gradients of `accumulate` batches, guard, clip, AdamW, average.

        Batch i of update s has the index s * accumulate + i, so the step is the data position.

        Returns:
            The mean of the loss and of the task's numbers, with "lr" and "grad_norm".
        """
        count, batches = self.config.accumulate, []
        for index in range(self.step * count, (self.step + 1) * count):
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.precision == "bf16"):
                loss, numbers = self.task.loss(index)
            self._guard(loss.detach(), "loss")
            (loss / count).backward()
            batches.append({"loss": loss.item(), **{name: float(number) for name, number in numbers.items()}})
        norm = torch.nn.utils.clip_grad_norm_(list(self.parameters.values()), self.config.grad_clip or math.inf)
        self._guard(norm, "gradient")
        rate = learning_rate(self.config, self.step)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.average.update(self.step)
        return {**_mean(batches), "lr": rate, "grad_norm": norm.item()}

    def _guard(self, value: Tensor, what: str) -> None:
        """Stop before the update when a number is NaN or infinite."""
        if not torch.isfinite(value).all():
            self.optimizer.zero_grad(set_to_none=True)
            raise NovaError(
                f"the {what} of step {self.step} is {value.item()}: stopped before the update. The last good "
                f"checkpoint is in {self.folder}/checkpoints; lower lr or grad_clip, or look at that batch."
            )

    def _report(self, log: RunLog, bar: tqdm) -> None:
        """Write the log line and the validation that are due after this update."""
        if self._due(self.config.log_every):
            numbers, self.window = _mean(self.window), []
            log.write(self.step, numbers, "train")
            bar.set_postfix(loss=f"{numbers['loss']:.4f}", lr=f"{numbers['lr']:.1e}")
        if self._due(self.config.validate_every):
            scores = self._validate()
            if scores:
                log.write(self.step, scores, "validation")
                self._keep_best(scores)

    def _validate(self) -> dict[str, float]:
        """Scores of the averaged weights; leaves weights, mode and random state as they were."""
        validate = getattr(self.task, "validate", None)
        render = getattr(self.task, "validation_clips", None)
        self.task.module.eval()
        with preserved_rng(), torch.no_grad(), self.average.applied():
            scores = validate(self.step) if validate else {}
            clips = render(self.step) if render else {}
        write_clips(self.folder / "samples" / f"step-{self.step:06d}", clips)
        self.task.module.train()
        return scores or {}

    def _keep_best(self, scores: dict[str, float]) -> None:
        """Write best.safetensors when the chosen metric is the best so far."""
        metric, sign = self.config.best_metric, 1 if self.config.best_direction == "max" else -1
        if metric is None:
            return
        if metric not in scores:
            raise NovaError(f"best_metric {metric!r} is not among the validation metrics {sorted(scores)}.")
        value = float(scores[metric])
        if math.isfinite(value) and (self.best is None or sign * value > sign * self.best):
            self.best = value
            self.save_weights(self.folder / "best.safetensors")
            atomic_write_json(self.folder / "best.json", {"step": self.step, metric: value})

    def save_weights(self, path: str | Path) -> Path:
        """Write the weights for use (the averaged ones when EMA is on) as safetensors, atomically."""
        with self.average.applied():
            weights = capture_weights(self.task.module)
        with atomic_path(path) as partial:
            try:
                save_file(weights, partial, metadata={"step": str(self.step)})
            except (OSError, SafetensorError) as error:
                raise NovaError(f"{path} could not be written ({error}); free disk space, then resume.") from error
        return Path(path)

    def _settings(self) -> dict[str, Any]:
        """What must be the same on resume beside the config: the task's settings and the frozen weights."""
        settings = {
            **getattr(self.task, "settings", {}),
            "frozen_weights": frozen_fingerprint(self.task.module),
        }
        return json.loads(json.dumps(settings))  # as a checkpoint gives them back: tuples become lists

    def _save_checkpoint(self) -> None:
        tensors, plain = capture_rng()
        scalars = {
            "config": asdict(self.config),
            "settings": self._settings(),
            "rng": plain,
            "best": self.best,
            "window": self.window,
        }
        state = TrainingState(
            step=self.step,
            weights=capture_weights(self.task.module),
            ema=cpu_copies(self.average.shadow),
            optimizer=capture_optimizer(self.task.module, self.optimizer),
            rng=tensors,
            scalars=scalars,
        )
        write_checkpoint(self.folder / "checkpoints", state, self.config.keep)
        self.save_weights(self.folder / "last.safetensors")

    def _restore(self, state: TrainingState, accept_changes: tuple[str, ...]) -> None:
        check_same_run(state.scalars["config"], self.config, accept_changes)
        check_same_settings(state.scalars["settings"], self._settings(), accept_changes)
        restore_weights(self.task.module, state.weights)
        restore_ema(self.average.shadow, state.ema)
        restore_optimizer(self.task.module, self.optimizer, state.optimizer)
        restore_rng(state.rng, state.scalars["rng"])
        self.step = state.step
        self.best = state.scalars["best"]
        self.window = state.scalars["window"]
        self.save_weights(self.folder / "last.safetensors")  # a kill may have left an older one


def _mean(records: list[dict[str, float]]) -> dict[str, float]:
    """Mean of every key over the records that have it."""
    keys = dict.fromkeys(key for record in records for key in record)
    columns = {key: [record[key] for record in records if key in record] for key in keys}
    return {key: math.fsum(column) / len(column) for key, column in columns.items()}
