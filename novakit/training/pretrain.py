"""The nano weights, from nothing: VAE, base in three parts, NOVA. One resumable command for each.

Under torchrun or `accelerate launch` the passes of an update are shared out, in parts whose `accumulate` is 2: the same
numbers, sooner.

    vae     "vae_codes": the best linear code of blocks, and back      encoder and decoder learn, each alone
            "vae": round trips of clips of 17 frames                   everything learns
            "vae_whole" (GPU): of 33 whole frames                      everything learns
    base    "main": the plain DiT, no condition                        the DiT learns
            "sparse": VACE blocks on a frozen DiT, as VACE was made    the VACE blocks learn
            "base": both together, a quarter without control           the base learns
    nova    the paper's training: base frozen                          the dense cross-attention learns
    export  puts the parts together as a pipeline folder               nothing learns
    unpack  the inverse: takes the shipped weights apart, so that any
            stage can go on from them                                  nothing learns
    carry   moves the shipped base and dense branch to the latents of
            a VAE trained anew in the folder                           nothing learns

Settings of every part, on a CPU and on a GPU: `novakit.training.recipe`.
Source: stages and freezing as in VACE and the paper; sizes, optimiser and schedule are ours (CPU minutes).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from torch import nn

from novakit.device import choose_device
from novakit.errors import NovaError
from novakit.files import atomic_write_json
from novakit.models import build_scheduler, build_transformer, build_vae, init_vace_from_main, zero_init_hints
from novakit.paths import ROOT, build, recorded, shipped_weights
from novakit.provenance import provenance
from novakit.training import Trainer, load_trained
from novakit.training.codes_task import CodesTask
from novakit.training.config import TrainConfig
from novakit.training.data import LatentStore
from novakit.training.distributed.passes import check_passes
from novakit.training.distributed.processes import Processes, launched
from novakit.training.examples import build_examples
from novakit.training.model_card import MACHINE, write_card
from novakit.training.new_latents import carry
from novakit.training.nova_task import NovaBatch, NovaTask, NovaTaskConfig
from novakit.training.objective import step_generator
from novakit.training.preview import edit_preview
from novakit.training.recipe import FREE_SHARE, VAE_CLIPS, VAL_SHARDS, feed, recipe
from novakit.training.state import frozen_fingerprint
from novakit.training.unpack import unpack
from novakit.training.vae_task import VaeTask, measure_latents

STAGES = ("vae", "base", "nova", "export", "unpack", "carry")


def pretrain(
    stage: str,
    folder: str | Path | None = None,
    *,
    minutes: float | None = None,
    device: str = "auto",
    resume: bool = True,
    threads: int | None = None,
    workers: int = 1,
    steps: int | None = None,
    lr: float | None = None,
    progress: bool = True,
) -> Path:
    """Run or continue one stage.

    Args:
        stage: one of STAGES.
        folder: where all stages keep their runs; `build/pretrain` if None.
        minutes: stop after that long and keep the state; the next call goes on.
        device: "auto", "cpu" or "cuda".
        resume: continue what the folder holds; False demands an empty one.
        threads: CPU threads.
        workers: processes that render and encode examples for base and NOVA; a GPU wants about eight.
        steps: another number of updates than the recipe's.
        lr: another peak learning rate than the recipe's; a part that goes on from unpacked weights wants less.
        progress: show progress bars.

    Returns:
        The folder of the stage (of the pipeline, for "export").

    Raises:
        NovaError: unknown stage, a stage before it is missing, or several processes for what cannot be shared out.
    """
    if stage not in STAGES:
        raise NovaError(f"There is no stage {stage!r}; choose one of {', '.join(STAGES)}.")
    if threads is not None:
        if threads < 1:
            raise NovaError(f"threads is {threads}; pass 1 or more.")
        torch.set_num_threads(threads)
    device = choose_device(device).device
    root = Path(folder) if folder else build() / "pretrain"
    with launched(device) as team:
        if stage in MOVES:
            if team.count > 1:
                raise NovaError(f"stage {stage} only moves weights; run it once, without a launcher.")
            return MOVES[stage](root)
        device = str(team.device) if team.device.type == "cuda" else device  # each process has its own card
        parts = stage_parts(stage, root, device)
        for part in parts:  # before any examples are made
            check_passes(team, f"part {part!r}", recipe(device)[part].accumulate)
        for part in parts:
            changes = {name: value for name, value in (("steps", steps), ("lr", lr)) if value is not None}
            config = replace(recipe(device)[part], minutes=minutes, **changes)
            if not train_part(root, part, config, device, resume, progress and team.is_main, workers, team):
                break
        return root / parts[-1]


def stage_parts(stage: str, root: Path, device: str) -> tuple[str, ...]:
    """The parts of a stage in their order; what was unpacked or carried over goes on with the last of them."""
    last = {"vae": "vae_whole", "base": "base", "nova": "nova"}[stage]
    if (root / last / "start.safetensors").exists():
        return (last,)
    whole = ("vae_whole",) if device.startswith("cuda") else ()
    return {"vae": ("vae_codes", "vae", *whole), "base": ("main", "sparse", "base"), "nova": ("nova",)}[stage]


def train_part(
    root: Path,
    part: str,
    config: TrainConfig,
    device: str = "cpu",
    resume: bool = True,
    progress: bool = True,
    workers: int = 1,
    team: Processes | None = None,
) -> bool:
    """Train one part of the recipe in `root/part`; True when it reached its last step.

    A finished part goes on when it is asked for more steps, or given more shards.
    """
    team = team or Processes()
    torch.manual_seed(config.seed)
    if device.startswith("cuda"):
        torch.backends.cudnn.benchmark = True  # the VAE's convolutions come in a handful of shapes
        torch.set_float32_matmul_precision("high")
    is_vae = part in VAE_CLIPS
    task = _vae_task(root, part, device) if is_vae else _flow_task(root, part, device, workers, progress, team)
    trainer = Trainer(task, config, root / part, team)
    team.on_main(lambda: atomic_write_json(root / part / MACHINE, provenance(config.seed, device)))
    trainer.fit(resume=resume, progress=progress, accept_changes=("steps", "shards"))
    if trainer.stop_reason == "done" and part in ("vae", "vae_whole"):
        team.on_main(lambda: _measure_vae(root, part, device))
    return trainer.stop_reason == "done"


def _measure_vae(root: Path, part: str, device: str) -> None:
    """Measure the latents of the trained VAE; every later stage normalises with these numbers."""
    vae = load_trained(build_vae("nano"), root / part / "last.safetensors").eval().to(device)
    mean, std = measure_latents(vae)
    atomic_write_json(root / part / "latents.json", {"latents_mean": mean, "latents_std": std})


def trained_vae(root: Path, device: str = "cpu") -> nn.Module:
    """The VAE of stage 1 with its measured statistics, frozen."""
    whole = root / "vae_whole" / "latents.json"  # written when that part is done
    statistics = whole if whole.exists() else root / "vae" / "latents.json"
    if not statistics.exists():
        raise NovaError(f"{statistics} is missing: finish `novakit pretrain --stage vae` first.")
    vae = load_trained(build_vae("nano"), statistics.with_name("last.safetensors"))
    vae.eval().requires_grad_(False)
    vae.register_to_config(**json.loads(statistics.read_text()))
    return vae.to(device)


def trained_transformer(root: Path, *parts: str) -> nn.Module:
    """The transformer with the weights of the named parts ("main", "sparse", "base", "nova"), each from its own run."""
    model = build_transformer("nano")
    zero_init_hints(model.base)
    for part in parts:
        weights = root / part / "last.safetensors"
        if not weights.exists():
            raise NovaError(
                f"{weights} is missing: run `novakit pretrain --stage {'nova' if part == 'nova' else 'base'}`."
            )
        load_trained(model, weights)
    return model


def _vae_task(root: Path, part: str, device: str) -> VaeTask:
    """The VAE on the clips of one part, from nothing or from the part before."""
    vae = build_vae("nano").to(device)
    if part == "vae_codes":
        return CodesTask(vae, seed=recipe(device)[part].seed, clips=VAE_CLIPS[part])
    task = VaeTask(vae, recipe(device)[part].seed, VAE_CLIPS[part])
    before = {"vae": "vae_codes", "vae_whole": "vae"}.get(part)
    start = root / part / "start.safetensors"  # weights of an earlier sitting (`unpack`)
    if before or start.exists():
        load_trained(vae, start if start.exists() else root / before / "last.safetensors")
    return task


def _flow_task(root: Path, part: str, device: str, workers: int, progress: bool, team: Processes) -> NovaTask:
    """The flow-matching task of one part, on its own store of encoded examples."""
    learn = "dense" if part == "nova" else part
    start = root / part / "start.safetensors"  # weights of an earlier sitting (`unpack`, `carry`)
    before = {"main": (), "sparse": ("main",), "base": ("main", "sparse"), "nova": ("base",)}[part]
    model = trained_transformer(root, *(() if part == "base" and start.exists() else before))
    if start.exists():
        load_trained(model, start)
    elif part == "sparse":
        init_vace_from_main(model.base)
    model, vae, ration = model.to(device), trained_vae(root, device), feed(device)
    held_out, store = stores(root, "sparse" if part == "base" else learn, device, vae)
    how = {"workers": workers, "progress": progress, "what": f"{part}: examples", "share": (team.rank, team.count)}
    team.together(lambda: build_examples((held_out, store), partial(trained_vae, root, device), **how))
    loaded, validation = store.load(device), held_out.load(device)

    def batch(step: int) -> NovaBatch:
        given = loaded.batch(step, ration.batch, ration.crop_share, ration.long_share)
        return sometimes_free(given, step) if part == "base" else given

    return NovaTask(
        model,
        batch,
        NovaTaskConfig(seed=recipe(device)[part].seed),
        validation=[validation.batch(step, 4, crop_share=0.0) for step in range(4)],
        settings={"part": part, "shards": store.num_shards, "batch": ration.batch},
        learn=learn,
        preview=edit_preview(vae, model, learn),
    )


def sometimes_free(batch: NovaBatch, step: int) -> NovaBatch:
    """The batch without its control in FREE_SHARE of the steps: the dense branch's replica walks the base so."""
    free = torch.rand((), generator=step_generator(5, step, "drop")) < FREE_SHARE
    return NovaBatch(batch.target_latents, None, None) if free else batch


def stores(root: Path, learn: str, device: str, vae: nn.Module) -> tuple[LatentStore, LatentStore]:
    """Held-out and training examples of what learns; those of another VAE lie in another folder."""
    folder, ration = root / "store" / f"{learn}-{frozen_fingerprint(vae)}", feed(device)
    shards, clips = ration.shards[learn], ration.clips
    if clips != feed("cpu").clips:
        folder = folder.with_name(f"{folder.name}-{clips}")
    return (
        LatentStore(folder, learn, VAL_SHARDS, split="val"),
        LatentStore(folder, learn, shards, clips, frame_counts=ration.frame_counts),
    )


def export(root: Path, target: Path | None = None) -> Path:
    """Write the pipeline folder (VAE, transformer, scheduler) in bfloat16; `root/pipeline` if no target is given."""
    from novakit.editing.pipeline import NovaEditPipeline

    target = target or root / "pipeline"
    pipe = NovaEditPipeline(
        vae=trained_vae(root).to(torch.bfloat16),
        transformer=trained_transformer(root, "base", "nova").to(torch.bfloat16),
        scheduler=build_scheduler("nano"),
        preset="nano",
    )
    pipe.save_pretrained(target)
    write_card(root, target, recorded() / "nano_score.md" if ROOT else None)
    return target


#: Stages in which nothing learns.
MOVES: dict[str, Callable[[Path], Path]] = {
    "export": export,
    "unpack": lambda root: unpack(shipped_weights() / "nano", root),
    "carry": lambda root: carry(shipped_weights() / "nano", root, trained_vae(root)),
}
