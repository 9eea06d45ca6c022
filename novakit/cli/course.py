"""Commands of a class: series, doctor. Source: ours."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from novakit.cli.app import app


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
