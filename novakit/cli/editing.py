"""Commands of a user: edit, keyframes. Source: ours."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from novakit.cli.app import app


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
