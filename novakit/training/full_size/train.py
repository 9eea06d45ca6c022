"""NOVA's training at full size, in one process or in many: a script that calls `train` runs under `torchrun
--nproc_per_node 8` and `accelerate launch` as well as alone.

    train("wan-1.3b", source, "run", base="FOLDER")        source: see `BatchSource`

The loop is `Trainer`, the same that trains nano (`ladder` adds what happens when memory runs out); here are the
recipe, the model and the processes around it.
Source: the recipe is the paper's where it says (AdamW, lr 1e-4, 8,000 updates, only the cross-attention learns).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from novakit.errors import NovaError, NovaNotice
from novakit.presets import Preset, get_preset
from novakit.training.config import TrainConfig
from novakit.training.distributed.logs import open_log
from novakit.training.distributed.processes import Processes
from novakit.training.distributed.task import BatchSource, SampleTask, Share
from novakit.training.full_size.ladder import LadderTrainer
from novakit.training.nova_task import NovaBatch, NovaTaskConfig
from novakit.training.trainer import Trainer

MOST_PATIENCE = 7 * 24 * 3600.0  # seconds, a week; infinity would overflow the timers


@dataclass(frozen=True)
class Recipe:
    """Everything that `train` lets one choose; defaults are the paper's where the paper says."""

    steps: int = 8000  # updates in the whole run (paper)
    batch: int = 8  # clips per update over all processes (the paper does not say; ours)
    accumulation: int = 1  # passes per update and process: the same numbers with less memory
    lr: float = 1e-4  # peak learning rate (paper)
    warmup: int = 100  # updates of linear warm-up
    schedule: str = "cosine"  # after the warm-up: "cosine" or "constant"
    weight_decay: float = 0.01  # AdamW decay of matrices
    grad_clip: float = 1.0  # largest gradient norm; 0 = off
    ema: float = 0.0  # decay of the averaged weights; 0 = none
    seed: int = 0  # of batches, noise and noise levels
    window: int | None = None  # tokens see the source's own latent frame +- n; None = all (paper), or as in `dense`
    learn: str = "dense"  # "dense" is NOVA; "main" and "sparse" train the base
    shift: float = 3.0  # timestep shift of the noise levels
    weighting: str = "velocity"  # "velocity", or "epsilon" for eq. 4 to the letter
    precision: str = "bf16"  # "bf16" (frozen weights too) or "fp32"
    gradient_checkpointing: bool = True  # of main, VACE and dense blocks
    keep_attention: bool = False  # not of what attention gave: 6 GB more at full size, a seventh less to compute
    activation_offload: bool = False  # saved activations wait in CPU memory
    fsdp: bool = False  # shard the weights over the processes instead of copying them
    device: str = "auto"  # "auto", "cpu" or "cuda"
    patience: float = 600.0  # seconds without an answer after which a process counts as lost
    checkpoint_every: int = 200  # updates between checkpoints
    background_checkpoints: bool = True  # write them in a thread while training goes on
    validate_every: int = 200  # updates between validations
    log_every: int = 10  # updates per line of the log
    keep: int = 2  # newest checkpoints kept
    minutes: float | None = None  # stop after that long, with a checkpoint
    wandb: str | None = None  # project at Weights & Biases; None = TensorBoard and log.jsonl only

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Recipe:
        """Build a recipe; an unknown key fails with a NovaError that lists the known ones."""
        known = [field.name for field in fields(cls)]
        if unknown := sorted(set(values) - set(known)):
            raise NovaError(f"unknown training setting {unknown}; use one of {known}.")
        return cls(**values)

    def loop(self) -> TrainConfig:
        """The settings of `Trainer`.

        Raises:
            NovaError: an impossible setting.
        """
        if self.batch < 1:
            raise NovaError(f"batch is {self.batch}; it must be at least 1. Pass --batch 8, or leave it out.")
        if not 0 < self.patience <= MOST_PATIENCE:
            raise NovaError(
                f"patience is {self.patience:g} s; it must be more than 0 and at most {MOST_PATIENCE:g}. Leave it out "
                f"for {Recipe.patience:g}."
            )
        if self.window is not None and self.window < 0:
            raise NovaError(f"window is {self.window}; pass a number of latent frames >= 0, or none to see all.")
        if self.keep_attention and self.activation_offload:
            raise NovaError(
                "keep_attention keeps results on the GPU, activation_offload moves what is kept off it; drop one."
            )
        names = {field.name for field in fields(TrainConfig)}
        same = {key: value for key, value in asdict(self).items() if key in names}
        return TrainConfig(**same, accumulate=self.accumulation)

    def noise(self) -> NovaTaskConfig:
        """The settings of the objective."""
        return NovaTaskConfig(seed=self.seed, shift=self.shift, weighting=self.weighting)


def train(
    preset: str | Preset,
    data: BatchSource,
    out: str | Path,
    *,
    base: str | Path | None = None,
    dense: str | Path | None = None,
    model: nn.Module | None = None,
    text: Tensor | None = None,
    validation: Sequence[NovaBatch] = (),
    preview: Callable[[nn.Module], dict[str, Tensor]] | None = None,
    processes: Processes | None = None,
    resume: bool = True,
    progress: bool = True,
    accept_changes: Sequence[str] = (),
    **recipe: Any,
) -> Trainer:
    """Train, or go on with the run in `out`; ends with a checkpoint whatever happens.

    Args:
        preset: "wan-1.3b" or "nano".
        data: encoded clips, see `BatchSource`.
        out: the run's folder: checkpoints/, log.jsonl, tensorboard/, last.safetensors, dense.safetensors.
        base: folder of the published base; None = the hub's cache, or the weights that ship (nano).
        dense: a dense file to start from; refused when it belongs to another base.
        model: a model in place of `base` and `dense`.
        text: the encoded empty prompt (1, L, text_dim); None = what the data has as `text`, else the null token.
        validation: held-out batches.
        preview: makes clips of the model for every validation, see LatentPreview.
        processes: None = those that the launcher started.
        resume: False demands an empty folder.
        progress: show a progress bar (main process).
        accept_changes: settings that may differ from the checkpoint's.
        **recipe: fields of `Recipe`.

    Returns:
        The trainer after the run.

    Raises:
        NovaError: bad settings, data or weights; NaN; a lost process; a full disk; too little memory for one clip.
        SystemExit, KeyboardInterrupt: after saving, when SIGTERM or Ctrl-C came to any process.
    """
    chosen, preset = Recipe.from_dict(recipe), get_preset(preset)
    loop, noise = chosen.loop(), chosen.noise()  # refuse bad settings before anything is loaded
    team = processes or Processes.start(chosen.device, chosen.fsdp, chosen.patience)
    share = Share(chosen.batch, chosen.accumulation)
    share.rows(team, 0)
    source = check_source(data)
    if model is None:
        model = team.together(lambda: build_model(preset, base, dense, chosen.precision))
    if chosen.window is not None:
        model.register_to_config(dense_window=chosen.window)
    model = place(model, chosen, team)
    task = SampleTask(
        model,
        source,
        share,
        team,
        noise,
        validation=validation,
        learn=chosen.learn,
        preview=partial(preview, model) if preview else None,
        text=empty_prompt(preset, text, source),
        offload=chosen.activation_offload,
        settings={"preset": preset.name, "window": model.config.dense_window},
        patience=chosen.patience / 2,  # a disk that hangs is told before the processes give each other up
    )
    trainer = LadderTrainer(task, loop, out, team)
    trainer.open_log = partial(open_log, wandb=chosen.wandb, config=asdict(chosen))
    # another number of processes needs another accumulation for the same batch: the numbers are the same
    with team.closing(task):
        trainer.fit(resume=resume, progress=progress, accept_changes=(*accept_changes, "accumulate"))
    return trainer


def check_source(data: BatchSource) -> BatchSource:
    """The source itself.

    Raises:
        NovaError: something that gives no batches.
    """
    if not hasattr(data, "batch"):
        raise NovaError(f"{data!r} gives no batches; pass an object with `batch(step, size, seed) -> NovaBatch`.")
    return data


def empty_prompt(preset: Preset, text: Tensor | None, source: BatchSource) -> Tensor | None:
    """The encoded empty prompt: given, or kept with the data; a notice when the preset wants one and there is none."""
    found = text if text is not None else getattr(source, "text", None)
    if found is None and preset.text:
        warnings.warn(
            f"{preset.name} reads text and no encoded empty prompt came with the data: the null token stands in. Edit "
            "with the null token too, or pass text=.",
            NovaNotice,
            stacklevel=3,
        )
    return found


def build_model(
    preset: Preset, base: str | Path | None, dense: str | Path | None, precision: str = "bf16"
) -> nn.Module:
    """The model to train, on the CPU: a frozen base, and a dense branch that is fresh or read from a file.

    Raises:
        NovaError: missing, partial or damaged weights, a base of another size, or a dense file of another base.
    """
    from novakit.editing.loading import find_base, find_dense
    from novakit.models.weights import load_base, load_dense
    from novakit.paths import shipped_weights

    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    if base is None and preset.weights == "shipped":
        from novakit.models import NovaTransformer3DModel

        folder = shipped_weights() / preset.name / "transformer"
        model = NovaTransformer3DModel.from_pretrained(str(folder), dtype=dtype)
    else:
        model = load_base(find_base(preset, base), dtype, preset.transformer, **preset.dense)
    return model if dense is None else load_dense(model, find_dense(dense))


def place(model: nn.Module, recipe: Recipe, processes: Processes) -> nn.Module:
    """Freeze all but what learns, give that float32, and move the model where it trains.

    Under FSDP the model stays on the CPU: sharding moves each process's slices.
    """
    from novakit.models import learn_only

    for weight in learn_only(model, recipe.learn):
        weight.data = weight.data.to(torch.promote_types(weight.dtype, torch.float32))
    return model if processes.shard else model.to(processes.device)
