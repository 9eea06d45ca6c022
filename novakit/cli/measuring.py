"""Commands that measure: score, eval, bench. Source: ours."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from novakit.cli.app import app


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
