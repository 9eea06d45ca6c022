"""Commands that train: pretrain, prepare, train. Source: ours."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from novakit.cli.app import app
from novakit.errors import NovaError


@app.command()
def pretrain(
    stage: Annotated[
        str,
        typer.Option(
            help="vae, base, nova; export (runs to a pipeline folder), unpack (back), carry (the shipped base behind "
            "the folder's own VAE); or variant."
        ),
    ],
    variant: Annotated[
        str | None, typer.Option(help="With --stage variant: a small training that a claim or baseline needs.")
    ] = None,
    folder: Annotated[
        Path | None, typer.Option(help="Checkpoints and logs [build/pretrain, or build/variants].")
    ] = None,
    minutes: Annotated[float | None, typer.Option(help="Stop after this many minutes.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    resume: Annotated[bool, typer.Option(help="Go on from the newest checkpoint in the folder.")] = True,
    threads: Annotated[int | None, typer.Option(help="CPU threads.")] = None,
    workers: Annotated[int, typer.Option(help="Processes that make examples; a GPU wants about eight.")] = 1,
    steps: Annotated[int | None, typer.Option(help="Updates, instead of the recipe's number.")] = None,
    lr: Annotated[float | None, typer.Option(help="Peak learning rate, instead of the recipe's.")] = None,
) -> None:
    """Train the nano weights stage by stage, resumable; torchrun shares out vae, nova, carried base."""
    options = {"minutes": minutes, "device": device, "resume": resume, "threads": threads, "steps": steps}
    if (stage == "variant") != (variant is not None) or (variant is not None and lr is not None):
        raise NovaError(
            f"--stage {stage}, --variant {variant} and --lr {lr} do not go together: --variant NAME belongs to --stage "
            "variant, which has its own learning rate. Leave out what does not belong."
        )
    from novakit.training.full_size.command import one_voice

    with one_voice():
        if variant is not None:
            from novakit.training.variants.train import train_variant

            train_variant(variant, folder, **options)
        else:
            from novakit.training.pretrain import pretrain as train_stage

            train_stage(stage, folder, **options, workers=workers, lr=lr)


@app.command()
def prepare(
    videos: Annotated[Path, typer.Argument(help="Folder of videos, or a CSV: video,prompt,vace_video,src_video.")],
    out: Annotated[Path, typer.Option(help="The cache's folder; the same command goes on where it was stopped.")],
    preset: Annotated[str, typer.Option(help="wan-1.3b or nano.")] = "wan-1.3b",
    base: Annotated[str | None, typer.Option(help="wan-1.3b: folder or hub id of the published base.")] = None,
    variants: Annotated[int, typer.Option(help="Sources and controls stored of each clip.")] = 4,
    size: Annotated[tuple[int, int] | None, typer.Option(help="Height and width: 832 480 for portrait clips.")] = None,
    interval: Annotated[int | None, typer.Option(help="Keyframe interval; the preset's own by default.")] = None,
    clips_per_video: Annotated[int, typer.Option(help="Most clips cut from one video.")] = 4,
    limit: Annotated[
        list[str] | None, typer.Option(help="name=value: enlarge, cut_away, motion, contrast, alike.")
    ] = None,
    deadline: Annotated[float, typer.Option(help="Seconds that looking at one video may take.")] = 600.0,
    download: Annotated[bool, typer.Option("--download", help="wan-1.3b: fetch what is missing.")] = False,
    seed: Annotated[int, typer.Option(help="Seed of masks, degradations and pasted content.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
) -> None:
    """Turn a folder of videos into the latent cache that `train` reads; alone or under `accelerate launch`."""
    from novakit.training.full_size.command import one_voice
    from novakit.training.preparation.command import prepare as make_cache

    how = {"preset": preset, "base": base, "variants": variants, "size": size, "interval": interval, "seed": seed}
    how |= {"download": download}
    with one_voice():
        make_cache(
            videos, out, **how, clips_per_video=clips_per_video, limits=limit or (), deadline=deadline, device=device
        )


@app.command()
def train(
    preset: Annotated[str, typer.Option(help="nano (CPU, shipped base) or wan-1.3b (CUDA).")] = "nano",
    data: Annotated[
        Path | None, typer.Option(help="Folder of `novakit prepare`; nano renders its own clips without one.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The run's folder: checkpoints, log, dense.safetensors.")] = None,
    base: Annotated[str | None, typer.Option(help="Folder or hub id of the published base.")] = None,
    dense: Annotated[str | None, typer.Option(help="Start from this dense branch: a file or a hub id.")] = None,
    download: Annotated[bool, typer.Option("--download", help="Fetch what is missing of base and dense.")] = False,
    steps: Annotated[int | None, typer.Option(help="Updates [8000, as the paper].")] = None,
    batch: Annotated[int | None, typer.Option(help="Clips per update, over all processes [8].")] = None,
    accumulation: Annotated[int | None, typer.Option(help="Passes per update: same numbers, less memory [1].")] = None,
    lr: Annotated[float | None, typer.Option(help="Peak learning rate [1e-4, as the paper].")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of batches, noise and noise levels [0].")] = None,
    window: Annotated[int | None, typer.Option(help="See the source's own latent frame +- this only [all].")] = None,
    fsdp: Annotated[bool | None, typer.Option("--fsdp", help="Split the weights over the GPUs (DDP without).")] = None,
    gradient_checkpointing: Annotated[bool | None, typer.Option(help="Recompute activations [yes].")] = None,
    keep_attention: Annotated[
        bool | None, typer.Option("--keep-attention", help="Do not recompute attention: more memory, less time.")
    ] = None,
    activation_offload: Annotated[
        bool | None, typer.Option("--activation-offload", help="Activations wait in CPU memory.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu or cuda [auto].")] = None,
    minutes: Annotated[float | None, typer.Option(help="Stop after that long, with a checkpoint.")] = None,
    checkpoint_every: Annotated[int | None, typer.Option(help="Updates between checkpoints [200].")] = None,
    validate_every: Annotated[int | None, typer.Option(help="Updates between validations [200]; 0 = none.")] = None,
    preview: Annotated[bool, typer.Option(help="Render a held-out clip at every validation.")] = True,
    wandb: Annotated[str | None, typer.Option(help="Project at Weights & Biases, beside TensorBoard.")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="name=value of any other setting of Recipe: ema, warmup, ...")
    ] = None,
    allow_missing: Annotated[int, typer.Option(help="Damaged clips of the cache that may be left out.")] = 0,
    resume: Annotated[bool, typer.Option(help="Go on from the newest checkpoint in --out.")] = True,
    accept: Annotated[list[str] | None, typer.Option(help="Setting that may differ from the checkpoint's.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print cost and memory; load nothing.")] = False,
    gpu: Annotated[str, typer.Option(help="--dry-run: h200, h100, a100, rtx4090, ...")] = "h200",
    gpus: Annotated[int | None, typer.Option(help="--dry-run: how many.")] = None,
    price: Annotated[float | None, typer.Option(help="--dry-run: money per GPU and hour.")] = None,
) -> None:
    """Train NOVA's cross-attention on prepared clips: one GPU, or many under accelerate launch or torchrun."""
    from novakit.training.full_size.command import train_command

    recipe = {"steps": steps, "batch": batch, "accumulation": accumulation, "lr": lr, "seed": seed, "fsdp": fsdp}
    recipe |= {"gradient_checkpointing": gradient_checkpointing, "activation_offload": activation_offload}
    recipe |= {"device": device, "minutes": minutes, "wandb": wandb, "keep_attention": keep_attention, "window": window}
    recipe |= {"checkpoint_every": checkpoint_every, "validate_every": validate_every}
    run = {"base": base, "dense": dense, "resume": resume, "accept_changes": accept or (), "settings": set_ or ()}
    run |= {"download": download}
    plan = {"dry_run": dry_run, "gpu": gpu, "gpus": gpus, "price": price}
    train_command(preset, data, out, allow_missing=allow_missing, preview=preview, **run, **plan, **recipe)
