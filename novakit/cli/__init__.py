"""The command ``novakit``: thin commands, each importing what it needs only when it is called.

A `NovaError` becomes one line on stderr and exit code 2; any other exception is a bug and shows
its traceback. Source: ours.
"""

from __future__ import annotations

import sys

from novakit.cli.app import app
from novakit.errors import NovaError

# isort: off
# each adds its commands, in the order of --help
from novakit.cli import editing, course, training, measuring  # noqa: F401
# isort: on


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
