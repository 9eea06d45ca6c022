"""Reading the numbered notebooks: which there are, their parameters, the cost their header card states.

Nothing is executed here. Source: ours.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from novakit.errors import NovaError

if TYPE_CHECKING:
    from nbformat import NotebookNode

PROFILES = ("ci", "laptop", "gpu")

_NUMBERED = re.compile(r"(\d\d)_.+\.ipynb")
_CARD_LINE = r"^\|\s*`?{profile}`?\s*\|\s*(\d+(?:\.\d+)?)\s*min\s*\|\s*(\d+(?:\.\d+)?)\s*(MB|GB)\s*\|"


@dataclass(frozen=True)
class Cost:
    """What one run of a notebook takes.

    Attributes:
        minutes: wall-clock time (min).
        memory_mb: peak memory of the kernel and its children (MB).
    """

    minutes: float
    memory_mb: float


def numbered_notebooks(folder: Path, only: str | None = None) -> list[Path]:
    """List the numbered notebooks in order.

    Args:
        folder: where they lie.
        only: numbers to keep, separated by commas, e.g. ``"02,05"``; None keeps all.

    Returns:
        Paths such as ``notebooks/02_anchored_control.ipynb``, sorted by number.

    Raises:
        NovaError: there is no notebook, or a number that no notebook has.
    """
    found = sorted(path for path in folder.glob("*.ipynb") if _NUMBERED.fullmatch(path.name))
    if not found:
        raise NovaError(f"no numbered notebook (NN_name.ipynb) in {folder}. Start from a complete clone.")
    if only is None:
        return found
    numbers = {path.name[:2] for path in found}
    wanted = [part.strip().zfill(2) for part in only.split(",") if part.strip()]
    unknown = [number for number in wanted if number not in numbers]
    if unknown or not wanted:
        raise NovaError(f"--only {only}: wanted numbers among {', '.join(sorted(numbers))}, separated by commas.")
    return [path for path in found if path.name[:2] in wanted]


def read_notebook(path: Path) -> NotebookNode:
    """Read a notebook.

    Raises:
        NovaError: the file is missing or is no notebook.
    """
    import nbformat

    try:
        notebook = nbformat.read(path, as_version=4)
        nbformat.validate(notebook)
    except FileNotFoundError:
        raise NovaError(f"{path} does not exist. Check the name.") from None
    except Exception as error:  # nbformat lets many classes through: JSON, Unicode, schema, attribute errors
        first_line = (str(error).splitlines() or [type(error).__name__])[0]
        raise NovaError(f"{path} is no readable notebook: {first_line}. Save it again from JupyterLab.") from None
    return notebook


def has_tag(cell: NotebookNode, tag: str) -> bool:
    """Tell whether a cell carries a tag."""
    return tag in cell.get("metadata", {}).get("tags", [])


def code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    """Return the code cells that hold any code."""
    return [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]


def parameters(notebook: NotebookNode) -> dict[str, Any]:
    """Return a notebook's parameters and their defaults, from its one cell tagged ``parameters``.

    Returns:
        name -> default; Ellipsis for a default that is not a plain value.

    Raises:
        NovaError: not exactly one cell is tagged (papermill would then inject at the wrong place).
    """
    tagged = [cell for cell in notebook.cells if has_tag(cell, "parameters")]
    if len(tagged) != 1:
        raise NovaError(f"{len(tagged)} cells are tagged 'parameters'; exactly one was wanted. Tag one cell.")
    found = {}
    for node in ast.parse(tagged[0].source).body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        for target in targets:
            if isinstance(target, ast.Name):
                found[target.id] = _plain_value(node.value)
    return found


def _plain_value(node: ast.expr) -> Any:
    try:
        return ast.literal_eval(node)
    except ValueError:
        return ...


def stated_cost(notebook: NotebookNode, profile: str) -> Cost | None:
    """Read what a notebook's header card says it takes: a table line ``| ci | 0.4 min | 600 MB |``.

    Args:
        notebook: the notebook.
        profile: "ci", "laptop" or "gpu".

    Returns:
        The stated cost, or None when no line of the card names the profile.
    """
    pattern = re.compile(_CARD_LINE.format(profile=re.escape(profile)), re.MULTILINE)
    for cell in notebook.cells:
        match = pattern.search(cell.source) if cell.cell_type == "markdown" else None
        if match:
            return Cost(float(match[1]), float(match[2]) * (1000 if match[3] == "GB" else 1))
    return None


def compare_cost(stated: Cost | None, measured: Cost, profile: str) -> str | None:
    """Say where a header card is wrong: more than half as much again, or less than half.

    Differences below 0.2 minutes or 150 MB are let pass: they are the machine's, not the notebook's.

    Args:
        stated: what the card says; None when it says nothing.
        measured: what the batch runner measured.
        profile: for the message.

    Returns:
        One line for the reader, or None when the card is right.
    """
    if stated is None:
        line = f"| {profile} | {measured.minutes:.1f} min | {measured.memory_mb:.0f} MB |"
        return f"the header card has no line for {profile}; measured: {line}"
    wrong = []
    if _disagree(stated.minutes, measured.minutes, slack=0.2):
        wrong.append(f"{stated.minutes:.1f} min, measured {measured.minutes:.1f} min")
    if _disagree(stated.memory_mb, measured.memory_mb, slack=150):
        wrong.append(f"{stated.memory_mb:.0f} MB, measured {measured.memory_mb:.0f} MB")
    return f"the header card states for {profile}: {'; '.join(wrong)}" if wrong else None


def _disagree(stated: float, measured: float, slack: float) -> bool:
    return abs(measured - stated) > slack and not stated / 2 <= measured <= stated * 1.5
