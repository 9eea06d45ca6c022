"""The nano weights, from nothing: VAE, base in two stages, NOVA. One resumable command for each.

    vae     "vae_short": a small Wan VAE on clips of 9 frames          everything learns
            "vae": the same on 17 frames (the cached steady state)     everything learns
            "vae_long": the same on 33 frames, latents unchanged       the decoder learns
    base    "main": the plain DiT, no condition                        the DiT learns
            "sparse": VACE blocks on a frozen DiT, as VACE was made    the VACE blocks learn
    nova    the paper's training: base frozen                          the dense cross-attention learns
    export  puts the parts together as a pipeline folder               nothing learns
    unpack  the inverse: takes the shipped weights apart, so that any
            stage can go on from them                                  nothing learns

Source: stages and freezing as in VACE and the paper; sizes, optimiser and schedule are ours (CPU minutes).
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn
from tqdm.auto import tqdm

from novakit.device import choose_device
from novakit.errors import NovaError
from novakit.files import atomic_write_json
from novakit.models import build_scheduler, build_transformer, build_vae, init_vace_from_main, zero_init_hints
from novakit.paths import ROOT, build, recorded, shipped_weights
from novakit.training import Trainer, load_trained
from novakit.training.config import TrainConfig
from novakit.training.data import LatentStore
from novakit.training.model_card import write_card
from novakit.training.nova_task import NovaTask, NovaTaskConfig
from novakit.training.preview import edit_preview
from novakit.training.unpack import unpack
from novakit.training.vae_task import VaeTask, measure_latents

STAGES = ("vae", "base", "nova", "export", "unpack")
_COMMON = TrainConfig(
    optimizer="muon", lr=2e-3, lr_end=0.02, weight_decay=0.0, checkpoint_every=100, validate_every=200, seed=1
)
#: How each part is trained. In all about five hours of one CPU core.
RECIPE = {
    "vae_short": replace(_COMMON, steps=1000, warmup=30, ema=0.98, log_every=20, best_metric="psnr"),
    "vae": replace(_COMMON, steps=600, lr=1.2e-3, warmup=20, ema=0.98, log_every=20, best_metric="psnr", seed=2),
    "vae_long": replace(_COMMON, steps=1400, lr=8e-4, warmup=20, ema=0.98, log_every=20, best_metric="psnr", seed=3),
    "main": replace(_COMMON, steps=1300, warmup=50, ema=0.98, log_every=20),
    "sparse": replace(_COMMON, steps=1100, warmup=50, ema=0.98, log_every=20),
    "nova": replace(_COMMON, steps=3600, warmup=50, ema=0.98, log_every=20),
}
#: Shards of encoded examples per part (8 clips of 17 frames, or 4 of 33, each).
SHARDS = {"main": 240, "sparse": 200, "dense": 480}
VAL_SHARDS = 4
BATCH = 8


def pretrain(
    stage: str,
    folder: str | Path | None = None,
    *,
    minutes: float | None = None,
    device: str = "auto",
    resume: bool = True,
    threads: int | None = None,
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
        steps: another number of updates than the recipe's.
        lr: another peak learning rate than the recipe's; a part that goes on from unpacked weights wants less.
        progress: show progress bars.

    Returns:
        The folder of the stage (of the pipeline, for "export").

    Raises:
        NovaError: unknown stage, or a stage before it is missing.
    """
    if stage not in STAGES:
        raise NovaError(f"There is no stage {stage!r}; choose one of {', '.join(STAGES)}.")
    if threads is not None:
        if threads < 1:
            raise NovaError(f"threads is {threads}; pass 1 or more.")
        torch.set_num_threads(threads)
    device = choose_device(device).device
    root = Path(folder) if folder else build() / "pretrain"
    if stage == "export":
        return export(root)
    if stage == "unpack":
        return unpack(shipped_weights() / "nano", root)
    parts = {"vae": ("vae_short", "vae", "vae_long"), "base": ("main", "sparse"), "nova": ("nova",)}[stage]
    for part in parts:
        changes = {name: value for name, value in (("steps", steps), ("lr", lr)) if value is not None}
        config = replace(RECIPE[part], minutes=minutes, **changes)
        if not train_part(root, part, config, device, resume, progress):
            break
    return root / parts[-1]


def train_part(
    root: Path,
    part: str,
    config: TrainConfig,
    device: str = "cpu",
    resume: bool = True,
    progress: bool = True,
) -> bool:
    """Train one part of RECIPE in `root/part`; True when it reached its last step.

    A finished part goes on when it is asked for more steps, or given more shards.
    """
    torch.manual_seed(config.seed)
    task = _vae_task(root, part, device) if part.startswith("vae") else _flow_task(root, part, device)
    trainer = Trainer(task, config, root / part)
    trainer.fit(resume=resume, progress=progress, accept_changes=("steps", "shards"))
    if trainer.stop_reason == "done" and part == "vae":
        _finish_vae(root)
    return trainer.stop_reason == "done"


def _finish_vae(root: Path) -> None:
    """Measure the latents of the trained VAE; every later stage normalises with these numbers."""
    vae = load_trained(build_vae("nano"), root / "vae" / "last.safetensors").eval()
    mean, std = measure_latents(vae)
    atomic_write_json(root / "vae" / "latents.json", {"latents_mean": mean, "latents_std": std})


def trained_vae(root: Path) -> nn.Module:
    """The VAE of stage 1 with its measured statistics, frozen."""
    statistics = root / "vae" / "latents.json"
    if not statistics.exists():
        raise NovaError(f"{statistics} is missing: finish `novakit pretrain --stage vae` first.")
    vae = load_trained(build_vae("nano"), root / "vae" / "last.safetensors")
    if (longer := root / "vae_long" / "best.safetensors").exists():
        load_trained(vae, longer)
    vae.eval().requires_grad_(False)
    vae.register_to_config(**json.loads(statistics.read_text()))
    return vae


def trained_transformer(root: Path, *parts: str) -> nn.Module:
    """The transformer with the weights of the named parts ("main", "sparse", "nova"), each from its own run."""
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
    """The VAE on short clips from nothing, then on clips long enough to reach the steady state of its cache.

    Wan's causal VAE works in chunks of four frames; the first two chunks are special, so a VAE that only ever saw nine
    frames falls from 26 to 19 dB at frame ten (measured).
    """
    seed = RECIPE[part].seed
    if part == "vae_short":
        return VaeTask(build_vae("nano").to(device), seed, batch=8, num_frames=9)
    long = part == "vae_long"
    vae = build_vae("nano").to(device)
    task = VaeTask(vae, seed, batch=2 if long else 4, num_frames=33 if long else 17, decoder_only=long)
    load_trained(vae, root / ("vae" if long else "vae_short") / "last.safetensors")
    return task


def _flow_task(root: Path, part: str, device: str) -> NovaTask:
    """The flow-matching task of one part, on its own store of encoded examples."""
    learn = "dense" if part == "nova" else part
    before = {"main": (), "sparse": ("main",), "nova": ("main", "sparse")}[part]
    model = trained_transformer(root, *before).to(device)
    start = root / part / "start.safetensors"  # weights of an earlier sitting (`unpack`)
    if start.exists():
        load_trained(model, start)
    elif part == "sparse":
        init_vace_from_main(model.base)
    store = LatentStore(root / "store" / learn, learn, SHARDS[learn])
    held_out = LatentStore(root / "store" / learn, learn, VAL_SHARDS, split="val")
    vae = trained_vae(root).to(device)
    for each in (held_out, store):
        with tqdm(total=each.num_shards, desc=f"{part}: {each.split} examples") as bar:
            each.build(vae, report=lambda shard, bar=bar: bar.update())
    loaded, validation = store.load(), held_out.load()
    return NovaTask(
        model,
        lambda step: loaded.batch(step, BATCH),
        NovaTaskConfig(seed=RECIPE[part].seed),
        validation=[validation.batch(step, 4, crop_share=0.0) for step in range(4)],
        settings={"part": part, "shards": store.num_shards, "batch": BATCH},
        learn=learn,
        preview=edit_preview(vae, model, learn),
    )


def export(root: Path, target: Path | None = None) -> Path:
    """Write the pipeline folder (VAE, transformer, scheduler) in bfloat16; `root/pipeline` if no target is given."""
    from novakit.editing.pipeline import NovaEditPipeline

    target = target or root / "pipeline"
    pipe = NovaEditPipeline(
        vae=trained_vae(root).to(torch.bfloat16),
        transformer=trained_transformer(root, "main", "sparse", "nova").to(torch.bfloat16),
        scheduler=build_scheduler("nano"),
        preset="nano",
    )
    pipe.save_pretrained(target)
    write_card(root, target, recorded() / "nano_score.md" if ROOT else None)
    return target
