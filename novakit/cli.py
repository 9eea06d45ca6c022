"""The command ``novakit``: thin commands, each importing what it needs only when it is called.

A `NovaError` becomes one line on stderr and exit code 2; any other exception is a bug and shows
its traceback. Source: ours.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from novakit import __version__
from novakit.errors import NovaError

app = typer.Typer(
    name="novakit",
    help="NOVA: edit a video from a few edited keyframes; read, train and measure how it works.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _show_version(asked: bool) -> None:
    if asked:
        print(f"novakit {__version__}")
        raise typer.Exit()


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


@app.command()
def edit(
    source: Annotated[Path, typer.Argument(help="The video to edit.")],
    keyframes: Annotated[Path, typer.Option(help="Folder of images named by frame index, or a video.")],
    out: Annotated[Path, typer.Option(help="Where the edited mp4 goes.")],
    mask: Annotated[Path | None, typer.Option(help="Mask video: white where content changes.")] = None,
    paste_back: Annotated[bool, typer.Option("--paste-back", help="Keep the source outside the mask.")] = False,
    match_colour: Annotated[bool, typer.Option("--match-colour", help="Match the source's colours.")] = False,
    frames: Annotated[str | None, typer.Option(help="Render only A:B again, in the earlier edit --out.")] = None,
    preset: Annotated[str, typer.Option(help="nano (CPU, shipped weights) or wan-1.3b (CUDA).")] = "nano",
    steps: Annotated[int | None, typer.Option(help="Denoising steps; the preset's own by default.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the starting noise.")] = 0,
    interval: Annotated[int | None, typer.Option(help="Keyframe interval when the keyframes are a video.")] = None,
    base: Annotated[str | None, typer.Option(help="wan-1.3b: folder, file or hub id of the published base.")] = None,
    dense: Annotated[str | None, typer.Option(help="wan-1.3b: file or hub id of a trained dense branch.")] = None,
    prompt: Annotated[str, typer.Option(help="wan-1.3b: what the clip shows; empty in the paper.")] = "",
    download: Annotated[bool, typer.Option("--download", help="wan-1.3b: fetch what is missing.")] = False,
    offload: Annotated[str, typer.Option(help="none, model or group: what waits in main memory.")] = "none",
    attention: Annotated[str | None, typer.Option(help="Attention kernel: _native_cudnn, flash, sage, ...")] = None,
    compile_: Annotated[bool, typer.Option("--compile", help="Compile the repeated blocks.")] = False,
    tiling: Annotated[bool, typer.Option("--tiling", help="The VAE works in tiles: less memory, more time.")] = False,
    features_cache: Annotated[
        bool, typer.Option("--features-cache", help="Keep half as much of the source: 3 GB less, 1.5 % slower.")
    ] = False,
    step_cache: Annotated[float, typer.Option(help="Skip steps that change less than this, e.g. 0.05.")] = 0.0,
) -> None:
    """Edit a video of any length: spread a few edited keyframes over the whole clip."""
    from novakit.editing.command import edit_file

    options = {"steps": steps, "seed": seed, "interval": interval, "base": base, "dense": dense, "prompt": prompt}
    options |= {"download": download, "offload": offload, "attention": attention, "compile": compile_}
    options |= {"tiling": tiling, "use_cache": "features" if features_cache else True, "step_cache": step_cache}
    after = {"mask": mask, "paste_back": paste_back, "match_colour": match_colour, "frames": frames}
    edit_file(source, keyframes, out, preset=preset, **after, **options)


@app.command()
def keyframes(
    source: Annotated[Path, typer.Argument(help="The video whose keyframes are wanted.")],
    interval: Annotated[int, typer.Option(help="Keyframe interval K: frames 0, K, 2K, ...")],
    out: Annotated[Path, typer.Option(help="Folder for 000.png, ... and the contact sheet.")],
    editor: Annotated[
        str | None, typer.Option(help="nano, poster, hand, flux or qwen; without one the frames are only extracted.")
    ] = None,
    prompt: Annotated[str | None, typer.Option(help="flux, qwen: what to change, in words.")] = None,
    edit: Annotated[str | None, typer.Option(help="nano, poster: recolour, replace, remove, add or restyle.")] = None,
    colour: Annotated[str | None, typer.Option(help="nano, poster: a CSS name or #rrggbb.")] = None,
    faults: Annotated[float | None, typer.Option(help="nano, poster: faults of real editors, 1 = typical.")] = None,
    hand: Annotated[Path | None, typer.Option(help="hand: folder of the frames that you edited.")] = None,
    mask: Annotated[
        Path | None, typer.Option(help="White where content changes: a video, a folder, or one image to propagate.")
    ] = None,
    mask_index: Annotated[int, typer.Option(help="Frame that a single mask image was drawn on.")] = 0,
    mask_by: Annotated[str, typer.Option(help="What carries it: flow, sam2, or a folder of SAM 2's weights.")] = "flow",
    consistent: Annotated[
        bool, typer.Option("--consistent/--independent", help="Show the first edited keyframe to the later ones?")
    ] = True,
    seed: Annotated[int, typer.Option(help="Seed of everything random.")] = 0,
    model: Annotated[str | None, typer.Option(help="flux, qwen: hub id or local folder.")] = None,
    download: Annotated[bool | None, typer.Option("--download", help="flux, qwen: fetch missing weights.")] = None,
    steps: Annotated[int | None, typer.Option(help="flux, qwen: denoising steps.")] = None,
    device: Annotated[str | None, typer.Option(help="flux, qwen: auto, cpu or cuda.")] = None,
) -> None:
    """Write the keyframes of a video, edited or to be edited by hand, as the folder that `edit` reads."""
    from novakit.editing.keyframes_command import make_keyframes
    from novakit.editing.keyframes_options import Choice

    choice = Choice(editor, prompt, edit, colour, faults, hand, model, download, steps, device)
    masks = {"mask": mask, "mask_index": mask_index, "mask_by": mask_by}
    make_keyframes(source, interval, out, choice, **masks, consistent=consistent, seed=seed)


@app.command()
def series(
    profile: Annotated[str, typer.Option(help="ci, laptop or gpu.")] = "ci",
    only: Annotated[str | None, typer.Option(help="Notebook numbers, e.g. 02,05.")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="name=value for every notebook run.")] = None,
    jobs: Annotated[int, typer.Option(help="Notebooks at a time; above 1 they cannot wait for each other.")] = 1,
    out: Annotated[Path | None, typer.Option(help="Folder for the results [build/series].")] = None,
    timeout: Annotated[float, typer.Option(help="Minutes that one notebook may take.")] = 30.0,
) -> None:
    """Run the numbered notebooks headless and write an HTML report."""
    from novakit.course.batch import run_series

    report = run_series(profile=profile, only=only, settings=set_ or (), jobs=jobs, out=out, timeout_minutes=timeout)
    raise typer.Exit(0 if report.passed else 1)


@app.command()
def doctor() -> None:
    """Print versions, device and precision, and which presets can run here."""
    from novakit.doctor import print_report

    print_report()


@app.command()
def pretrain(
    stage: Annotated[
        str, typer.Option(help="vae, base, nova; export (runs to a pipeline folder), unpack (back); or variant.")
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
    """Train the nano weights on the nano world, stage by stage, resumable at any moment."""
    options = {"minutes": minutes, "device": device, "resume": resume, "threads": threads, "steps": steps}
    if (stage == "variant") != (variant is not None) or (variant is not None and lr is not None):
        raise NovaError(
            f"--stage {stage}, --variant {variant} and --lr {lr} do not go together: --variant NAME belongs to --stage "
            "variant, which has its own learning rate. Leave out what does not belong."
        )
    if variant is not None:
        from novakit.training.variants.train import train_variant

        train_variant(variant, folder, **options)
        return
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


@app.command()
def score(
    out: Annotated[Path | None, typer.Option(help="Folder for JSON, table and contact sheet.")] = None,
    scenes: Annotated[int, typer.Option(help="Held-out test scenes.")] = 64,
    steps: Annotated[int | None, typer.Option(help="Denoising steps; the preset's own by default.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the starting noise.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    folder: Annotated[Path | None, typer.Option(help="Another pipeline folder than the shipped weights.")] = None,
    interval: Annotated[int, typer.Option(help="Keyframe interval.")] = 8,
    footage: Annotated[Path | None, typer.Option(help="A folder of real videos to score too.")] = None,
) -> None:
    """Score NOVA and its baselines on held-out scenes: PSNR and SSIM inside and outside the mask."""
    from novakit.evaluation.score_report import score_command

    options = {"scenes": scenes, "steps": steps, "seed": seed, "interval": interval}
    score_command(out=out, device=device, folder=folder, footage=footage, **options)


@app.command(name="eval")
def evaluate_suite(
    suite: Annotated[str, typer.Option(help="table1, table2, robustness or claims.")],
    out: Annotated[Path, typer.Option(help="Results folder; all suites may share one.")],
    scenes: Annotated[int | None, typer.Option(help="Scenes for every row; each row's own by default.")] = None,
    seeds: Annotated[int | None, typer.Option(help="Seeds for every row; each row's own by default.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    folder: Annotated[Path | None, typer.Option(help="Another pipeline folder than the shipped weights.")] = None,
    encoder: Annotated[str, typer.Option(help="embedded, clip-vit-b32, clip-vit-l14 or dinov2-base.")] = "embedded",
    resume: Annotated[bool, typer.Option(help="Go on with the records in --out.")] = True,
) -> None:
    """Reproduce the paper's tables and claims at nano size, with truth, seeds and intervals."""
    from novakit.evaluation.suites import evaluate

    options = {"device": device, "folder": folder, "encoder": encoder, "resume": resume}
    evaluate(suite, out, scenes=scenes, seeds=seeds, **options)


@app.command()
def bench(
    suite: Annotated[str, typer.Option(help="cpu, clips, scaling or gpu.")] = "cpu",
    out: Annotated[Path | None, typer.Option(help="Write the JSON to this file or folder.")] = None,
    minutes: Annotated[
        float | None, typer.Option(help="Start nothing more after that long; gpu goes on from the file next time.")
    ] = None,
) -> None:
    """Measure speed and memory."""
    from novakit.evaluation.benchmark import bench as measure

    measure(suite, out, minutes)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: the words after ``novakit``; ``sys.argv[1:]`` when None.

    Returns:
        The exit code; typer itself leaves with ``SystemExit`` in most cases.
    """
    try:
        app(args=arguments, prog_name="novakit")
    except NovaError as error:
        print("error:", " ".join(str(error).split()), file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
