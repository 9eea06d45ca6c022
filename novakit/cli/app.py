"""The application that the commands join. Source: ours."""

from __future__ import annotations

from typing import Annotated

import typer

from novakit import __version__

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
