"""`novakit train`: full-size training from the command line, alone or under `accelerate launch` and torchrun.

The words of the command become a `Recipe`; data and memory are checked before a weight is loaded; then `train` runs.
With a dry run nothing is loaded: the plan is printed, and a run that does not fit ends with exit code 2.
Source: ours.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from novakit.errors import NovaError, printed_notices
from novakit.presets import Preset, get_preset
from novakit.training.distributed.logs import require_wandb
from novakit.training.distributed.processes import OwnError, Processes
from novakit.training.distributed.task import Share
from novakit.training.full_size.data import TrainingData, open_data
from novakit.training.full_size.options import check_memory, plan_run, read_recipe
from novakit.training.full_size.plan import Plan
from novakit.training.full_size.preview import LatentPreview
from novakit.training.full_size.train import Recipe, train
from novakit.training.trainer import Trainer

SILENCE = 30.0  # seconds that a process which has nothing new to say waits for the launcher to end it


def train_command(
    preset: str = "nano",
    data: str | Path | None = None,
    out: str | Path | None = None,
    *,
    base: str | Path | None = None,
    dense: str | Path | None = None,
    resume: bool = True,
    accept_changes: Sequence[str] = (),
    settings: Sequence[str] = (),
    allow_missing: int = 0,
    preview: bool = True,
    download: bool = False,
    dry_run: bool = False,
    gpu: str = "h200",
    gpus: int | None = None,
    price: float | None = None,
    opener: Callable[..., TrainingData] = open_data,
    **options: Any,
) -> Trainer | Plan:
    """Train, go on with the run in `out`, or say what that would need.

    Args:
        preset: "wan-1.3b" or "nano".
        data: folder of a latent cache (`novakit prepare`); nano renders examples of its world without one.
        out: the run's folder.
        base, dense, resume, accept_changes: as in `train`.
        settings: fields of `Recipe` as "name=value".
        allow_missing: damaged clips of the cache that may be left out.
        preview: render a held-out clip at every validation.
        download: fetch what is missing of base and dense file, after a notice with licence and size.
        dry_run: print the plan and load nothing.
        gpu, gpus, price: of the dry run: a name of `GPUS`, their number (None = as many as processes were started),
            and money per GPU and hour.
        opener: what opens the data.
        **options: fields of `Recipe`; None = the recipe's own value.

    Returns:
        The trainer after the run, or the plan.

    Raises:
        NovaError: bad options, data or weights, or too little memory, before anything is loaded; NaN; a lost process;
            a full disk; a dry run that does not fit.
        SystemExit, KeyboardInterrupt: after saving, when SIGTERM or Ctrl-C came to any process.
    """
    with one_voice() as is_main:
        chosen, recipe = get_preset(preset), read_recipe(options, settings)
        count = int(os.environ.get("WORLD_SIZE", 1)) if gpus is None else gpus
        if count < 1:
            raise NovaError(f"gpus is {count}; it must be at least 1. Pass --gpus 8, or leave it out.")
        if dry_run:
            made = plan_run(chosen, recipe, gpu, count, price)
            if is_main:
                print(made)
            return made.require_fit()
        if out is None:
            raise NovaError("--out is missing: the folder for checkpoints, log and weights. Pass one, or --dry-run.")
        out = Path(out)
        team = Processes.start(recipe.device, recipe.fsdp, recipe.patience)
        with _closed_on_error(team):
            team.on_main(lambda: require_wandb(recipe.wandb))
            home = team.together(lambda: _find_base(chosen, base, download))
            dense = team.together(lambda: None if dense is None else _find_dense(dense, download))
            given = {"base": home, "seed": recipe.seed, "allow_missing": allow_missing}
            ready = _checked(chosen, recipe, team, lambda: opener(chosen, data, out, team, **given))
            show = _preview(chosen, home, ready, team) if preview and ready.validation else None
        given = {"base": home, "dense": dense, "resume": resume, "accept_changes": accept_changes, "preview": show}
        return _run(chosen, ready, out, recipe, team, given)


@contextmanager
def _closed_on_error(team: Processes) -> Iterator[None]:
    """Leave the group of processes when the block fails."""
    try:
        yield
    except BaseException:
        team.close(wait=False)
        raise


def _find_base(preset: Preset, base: str | Path | None, download: bool) -> Path | None:
    """Where the published base lies; None where the weights ship."""
    from novakit.editing.loading import check_base_and_dense, find_base

    check_base_and_dense(preset, base, None)
    return None if preset.weights == "shipped" else find_base(preset, base, download)


def _find_dense(dense: str | Path, download: bool) -> Path:
    """Where the dense file lies that training starts from."""
    from novakit.editing.loading import find_dense

    return find_dense(dense, download)


def _checked(preset: Preset, recipe: Recipe, team: Processes, opened: Callable[[], TrainingData]) -> TrainingData:
    """The data, once all that can be refused before a weight is loaded has been looked at."""
    Share(recipe.batch, recipe.accumulation).rows(team, 0)  # refuses a batch that cannot be divided
    ready = opened()
    check_memory(preset, recipe, team, team.together(lambda: ready.clip_size(preset)))
    if team.is_main:
        print(ready.about, flush=True)
    return ready


def _preview(preset: Preset, base: Path | None, ready: TrainingData, team: Processes) -> LatentPreview:
    """What renders a held-out clip; the VAE is in the main process alone."""
    from novakit.training.preparation.encoding import load_encoder

    vae = team.on_main(lambda: load_encoder(preset, base, torch.device("cpu")).vae)
    return LatentPreview(preset, vae, ready.validation[0], getattr(ready.source, "text", None), team)


def _run(
    preset: Preset, ready: TrainingData, out: Path, recipe: Recipe, team: Processes, given: dict[str, Any]
) -> Trainer:
    """`train`, and a last line that says how it ended."""
    is_main = team.is_main
    given |= {"validation": ready.validation, "processes": team, "progress": is_main}
    try:
        trainer = train(preset, ready.source, out, **given, **asdict(recipe))
    except torch.OutOfMemoryError as error:
        raise OwnError(
            f"process {team.rank} ran out of GPU memory ({str(error).splitlines()[0][:200]}). What helps, cheapest "
            "first: --gradient-checkpointing, more --accumulation, --fsdp, --activation-offload. The checkpoints in "
            f"{out}/checkpoints are whole: the same command with one of these goes on."
        ) from error
    except (SystemExit, KeyboardInterrupt):
        if is_main:
            print(f"stopped: the same command goes on from the newest checkpoint in {out}.", flush=True)
        raise
    if is_main:
        print(_ending(trainer, out), flush=True)
    return trainer


def _ending(trainer: Trainer, out: Path) -> str:
    """One line about a run that ended by itself."""
    if trainer.stop_reason == "minutes":
        return f"{trainer.step} of {trainer.config.steps} steps are done: the same command goes on in {out}."
    file = "dense.safetensors" if (out / "dense.safetensors").exists() else "last.safetensors"
    return f"{trainer.step} steps are done: {out / file}"


@contextmanager
def one_voice() -> Iterator[bool]:
    """Let the main process alone speak: notices, and errors that all processes share.

    The others wait for the launcher, which ends them once the main process has ended with its message.

    Yields:
        True in the main process.
    """
    is_main = int(os.environ.get("RANK", 0)) == 0
    try:
        with printed_notices(quiet=not is_main):
            yield is_main
    except OwnError:
        raise
    except NovaError as error:
        if is_main:
            raise
        time.sleep(SILENCE)
        raise SystemExit(2) from error
