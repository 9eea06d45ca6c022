"""Small trainings of one budget, for the claims and baselines that need weights of their own.

Every variant starts from the shipped base, sees the same worlds, takes the same number of steps with the same
optimiser, and differs from "reference" in one thing. What they are compared with is the reference, never the shipped
NOVA, which learned for longer.

    novakit pretrain --stage variant --variant interval_8

Source: the recipe is ours; what is changed comes from the paper's claims and the baselines' papers.
"""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from torch import nn
from tqdm.auto import tqdm

from novakit.device import choose_device
from novakit.errors import NovaError
from novakit.files import atomic_write_json
from novakit.models import NovaTransformer3DModel
from novakit.models.shallow_replica import ShallowReplicaTransformer
from novakit.models.token_concat import TokenConcatTransformer
from novakit.paths import build
from novakit.training.nova_task import NovaTask, NovaTaskConfig
from novakit.training.recipe import FEED, RECIPE, VAL_SHARDS
from novakit.training.state import frozen_fingerprint, load_trained
from novakit.training.trainer import Trainer
from novakit.training.variants.examples import open_store, recipe_of
from novakit.training.variants.tasks import ConcatTask, ShallowTask

#: The budget of all, whatever the recipe of the shipped weights grows to: updates of `FEED.batch` clips. With the
#: examples about 14 minutes of one core; 10 for "add" and "paired", 20 for "token_concat".
BUDGET = replace(RECIPE["nova"], steps=500, accumulate=1, ema=0.98, validate_every=200, seed=1, best_metric=None)
SHARDS = 160  # 1,120 clips: every four shards hold 28
FINISHED = "variant.json"  # written when the last step is done; `load_variant` asks for it


@dataclass(frozen=True)
class Variant:
    """One small training."""

    name: str
    title: str  # what differs from the reference, in one line
    serves: str  # the claim or the row of Table 1 that needs it
    store: str  # the variant whose examples it reads, and in whose folder they lie
    model: Callable[[NovaTransformer3DModel], nn.Module]  # a fresh model around a copy of the shipped base
    task: type[NovaTask] = NovaTask
    shards: int | None = None  # of the store, the first ones; None = SHARDS
    lr: float = BUDGET.lr  # peak learning rate; weights that have learned before want less


def _fresh_nova(shipped: NovaTransformer3DModel, kind: type = NovaTransformer3DModel, **options) -> nn.Module:
    """A NOVA around a copy of the shipped base, its dense branch as before any training."""
    config = {key: value for key, value in dict(shipped.base.config).items() if not key.startswith("_")}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(BUDGET.seed)
        model = kind(base_config=config, **options)
    model.base.load_state_dict(shipped.base.state_dict())
    return model


def _shallow(shipped: NovaTransformer3DModel) -> nn.Module:
    """The base with two of its blocks copied as a replica that learns."""
    model = _fresh_nova(shipped, ShallowReplicaTransformer)
    model.copy_from_base()
    return model


def _concatenated(shipped: NovaTransformer3DModel) -> nn.Module:
    """The plain DiT of the shipped base, its self-attention open to source and cues."""
    return TokenConcatTransformer(shipped.base).float()


VARIANTS: dict[str, Variant] = {
    variant.name: variant
    for variant in (
        Variant("reference", "the full recipe", "what all others are compared with", "reference", _fresh_nova),
        Variant("interval_8", "keyframes always 8 apart", "C4", "interval_8", _fresh_nova),
        Variant(
            "add",
            "dense features are added, not queried",
            "C6",
            "reference",
            partial(_fresh_nova, dense_injection="add"),
        ),
        Variant("clips_28", "28 clips", "limit: size of the training set", "reference", _fresh_nova, shards=4),
        Variant("clips_112", "112 clips", "limit: size of the training set", "reference", _fresh_nova, shards=16),
        Variant("no_degradation", "clean keyframes, the source is the target", "C10", "no_degradation", _fresh_nova),
        Variant(
            "paired",
            "true pairs, a shallow replica that is added",
            "Table 1: Senorita-2M",
            "paired",
            _shallow,
            ShallowTask,
        ),
        Variant(
            "token_concat",
            "source, cues and target in one self-attention",
            "Table 1: official release",
            "token_concat",
            _concatenated,
            ConcatTask,
            lr=1e-3,
        ),
    )
}


def get_variant(name: str) -> Variant:
    """A variant by name.

    Raises:
        NovaError: there is none of that name.
    """
    if name not in VARIANTS:
        raise NovaError(f"There is no variant {name!r}; choose one of {', '.join(VARIANTS)}.")
    return VARIANTS[name]


def train_variant(
    name: str,
    folder: str | Path | None = None,
    *,
    minutes: float | None = None,
    steps: int | None = None,
    device: str = "cpu",
    resume: bool = True,
    threads: int | None = None,
    progress: bool = True,
) -> Path:
    """Train or continue one variant; its examples are made first, or found.

    Args:
        name: one of VARIANTS.
        folder: where all variants lie, each in a folder of its name; `build()/variants` if None.
        minutes: stop the training after that long and keep the state; the next call goes on.
        steps: number of updates; None = the budget of all.
        device: "auto", "cpu" or "cuda".
        resume: continue what the folder holds; False demands an empty one.
        threads: CPU threads.
        progress: show progress bars.

    Returns:
        The variant's folder.

    Raises:
        NovaError: unknown variant, a bad number of threads or steps, several processes, or a folder that holds another
            run.
    """
    from novakit.editing.pipeline import NovaEditPipeline

    variant = get_variant(name)
    if int(os.environ.get("WORLD_SIZE", 1)) > 1:
        raise NovaError("a small training is not shared out; run it once, without a launcher.")
    if threads is not None:
        if threads < 1:
            raise NovaError(f"threads is {threads}; pass 1 or more.")
        torch.set_num_threads(threads)
    root = _root(folder)
    pipe = NovaEditPipeline.from_preset("nano", device=choose_device(device).device)
    config = replace(BUDGET, minutes=minutes, lr=variant.lr, steps=BUDGET.steps if steps is None else steps)
    trainer = Trainer(_task(variant, pipe, root, progress), config, root / name)
    (root / name / FINISHED).unlink(missing_ok=True)  # until the last step is done again
    trainer.fit(resume=resume, progress=progress, accept_changes=("steps", "shards"))
    if trainer.stop_reason == "done":
        shards = variant.shards or SHARDS
        about = {"variant": name, "steps": trainer.step, "shards": shards, "batch": FEED.batch, "lr": variant.lr}
        about |= {"parameters": _count(trainer.parameters.values()), "base": _fingerprint(pipe.transformer.base)}
        atomic_write_json(root / name / FINISHED, about)
    return root / name


def load_variant(name: str, folder: str | Path | None = None, pipe=None):
    """The shipped pipeline with a variant's weights.

    Args:
        name: one of VARIANTS.
        folder: where all variants lie; `build()/variants` if None.
        pipe: the shipped pipeline, left as it is; None loads it.

    Returns:
        NovaEditPipeline with the variant as its transformer. That of "token_concat" reads other inputs than a NOVA:
        edit with `novakit.evaluation.baselines.token_concat`.

    Raises:
        NovaError: unknown variant, or one that has not been trained to its end or on this base; names the command.
    """
    from novakit.editing.pipeline import NovaEditPipeline

    variant, home = get_variant(name), _root(folder) / name
    command = f"novakit pretrain --stage variant --variant {name}"
    if not (home / FINISHED).exists():
        state = "has not been trained to its end" if (home / "checkpoints").exists() else "is not trained"
        raise NovaError(f"variant {name!r} {state} in {home}. Run: {command}")
    pipe = pipe or NovaEditPipeline.from_preset("nano", device="cpu")
    learned_on, here = json.loads((home / FINISHED).read_text())["base"], _fingerprint(pipe.transformer.base)
    if learned_on != here:
        raise NovaError(f"variant {name!r} learned on the base {learned_on}, not {here}. Remove {home}; run: {command}")
    model = load_trained(variant.model(pipe.transformer), home / "last.safetensors")
    model = model.to(pipe.transformer.device).eval().requires_grad_(False)
    return NovaEditPipeline(vae=pipe.vae, transformer=model, scheduler=pipe.scheduler, preset=pipe.config.preset)


def trained_parameters(name: str, pipe) -> int:
    """How many parameters a variant trains, on the base of this pipeline."""
    variant = get_variant(name)
    task = variant.task(variant.model(pipe.transformer), lambda step: None)
    return _count(weight for weight in task.module.parameters() if weight.requires_grad)


def _task(variant: Variant, pipe, root: Path, progress: bool) -> NovaTask:
    """The task of a variant on its own store of examples, which is completed first."""
    folder, vae = root / variant.store / "store", pipe.vae.requires_grad_(False)
    counts = {"val": VAL_SHARDS, "train": variant.shards or SHARDS}
    stores = {split: open_store(folder, variant.store, count, split, vae) for split, count in counts.items()}
    for split, store in stores.items():
        with tqdm(total=store.num_shards, desc=f"{variant.store}: {split} examples", disable=not progress) as bar:
            store.build(vae, report=lambda shard, bar=bar: bar.update())
    loaded, held_out = stores["train"].load(), stores["val"].load()
    return variant.task(
        variant.model(pipe.transformer).to(pipe.device),
        lambda step: loaded.batch(step, FEED.batch),
        NovaTaskConfig(seed=BUDGET.seed),
        validation=[held_out.batch(step, 4, crop_share=0.0) for step in range(4)],
        settings={"variant": variant.name, "shards": counts["train"], "batch": FEED.batch, "examples": recipe_of(vae)},
    )


def _root(folder: str | Path | None) -> Path:
    return Path(folder) if folder else build() / "variants"


def _fingerprint(base: nn.Module) -> str:
    """Short hash of a base's weights."""
    return frozen_fingerprint(copy.deepcopy(base).requires_grad_(False))


def _count(parameters) -> int:
    return sum(weight.numel() for weight in parameters)
