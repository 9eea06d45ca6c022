"""Exercises in notebooks: where they are, their solutions, and the proof that each check works.

An exercise is one code cell tagged ``exercise`` that holds the stub and its check. Its solution lives in
the cell's metadata, invisible to students in JupyterLab's page and away from the text:

    "metadata": {"tags": ["exercise"], "novakit": {"kind": "code", "solution": "<the whole cell, solved>"}}

``kind`` is "predict", "code" or "break". Source: ours (the stub/solution proof follows Neuromatch's
``verify_exercises.py``).
"""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from novakit.course.checks import CORRECT, UNSOLVED, WRONG
from novakit.course.execute import kernel_transport
from novakit.course.notebooks import has_tag, read_notebook
from novakit.errors import NovaError

if TYPE_CHECKING:
    from nbformat import NotebookNode

KINDS = ("predict", "code", "break")


@dataclass(frozen=True)
class Exercise:
    """One exercise of a notebook.

    Attributes:
        index: its cell's index in the notebook.
        kind: "predict", "code" or "break".
        stub: the cell as students get it.
        solution: the cell, solved.
    """

    index: int
    kind: str
    stub: str
    solution: str


@dataclass(frozen=True)
class ExerciseProof:
    """What the two versions of an exercise printed.

    Attributes:
        exercise: the exercise.
        stub_output: text of the stub's run.
        solution_output: text of the solution's run.
    """

    exercise: Exercise
    stub_output: str
    solution_output: str

    @property
    def faults(self) -> list[str]:
        """What is wrong with the exercise; empty when the stub does not pass and the solution does."""
        name = f"exercise cell {self.exercise.index}"
        faults = []
        if CORRECT in _statuses(self.stub_output) or UNSOLVED not in _statuses(self.stub_output):
            faults.append(f"{name}: the stub should say '{UNSOLVED}', it printed {self.stub_output!r}")
        if set(_statuses(self.solution_output)) != {CORRECT}:
            faults.append(f"{name}: the solution should pass, it printed {self.solution_output!r}")
        return faults


def exercise_cells(notebook: NotebookNode) -> list[Exercise]:
    """List the exercises of a notebook.

    Raises:
        NovaError: an exercise without a solution or of an unknown kind.
    """
    return [_exercise(i, cell) for i, cell in enumerate(notebook.cells) if has_tag(cell, "exercise")]


def _exercise(index: int, cell: NotebookNode) -> Exercise:
    ours = cell.metadata.get("novakit", {})
    kind, solution = ours.get("kind"), ours.get("solution")
    if cell.cell_type != "code" or not isinstance(solution, str) or not solution.strip():
        raise NovaError(
            f"cell {index} is tagged exercise but has no solution. "
            "Make it a code cell and put the solved cell into metadata.novakit.solution."
        )
    if kind not in KINDS:
        raise NovaError(f"exercise cell {index} has metadata.novakit.kind {kind!r}; wanted {', '.join(KINDS)}.")
    return Exercise(index, kind, cell.source, solution)


def with_solutions(notebook: NotebookNode) -> NotebookNode:
    """Return a copy in which every stub is replaced by its solution: the instructor's version."""
    solved = copy.deepcopy(notebook)
    for exercise in exercise_cells(notebook):
        cell = solved.cells[exercise.index]
        cell.source, cell.outputs, cell.execution_count = exercise.solution, [], None
    return solved


def verify_exercises(path: Path, timeout_minutes: float = 5.0) -> list[ExerciseProof]:
    """Execute a notebook once, giving each exercise's solution to the kernel right after its stub.

    Later cells thus run with the solutions; that they run with the stubs too is what the series shows.

    Args:
        path: the notebook; it is not changed.
        timeout_minutes: limit for each cell (min).

    Returns:
        One proof per exercise, in order.

    Raises:
        NovaError: the notebook cannot be read, an exercise is malformed, or a cell raises.
    """
    from nbformat.v4 import new_code_cell

    notebook = read_notebook(path)
    exercises = exercise_cells(notebook)
    for exercise in reversed(exercises):
        notebook.cells.insert(exercise.index + 1, new_code_cell(exercise.solution))
    _execute(notebook, path, timeout_minutes)
    proofs = []
    for shift, exercise in enumerate(exercises):
        stub, solution = notebook.cells[exercise.index + shift : exercise.index + shift + 2]
        proofs.append(ExerciseProof(exercise, _printed(stub.outputs), _printed(solution.outputs)))
    return proofs


def _execute(notebook: NotebookNode, path: Path, timeout_minutes: float) -> None:
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
    from traitlets.config import Config

    with tempfile.TemporaryDirectory(prefix="nova-") as folder:
        client = NotebookClient(
            notebook,
            timeout=int(60 * timeout_minutes),
            kernel_name="python3",
            resources={"metadata": {"path": str(path.resolve().parent)}},
            config=Config(kernel_transport(f"{folder}/kernel")),
        )
        try:
            client.execute()
        except CellExecutionError as error:
            reason = f"{error.ename}: {error.evalue}"
        except (CellTimeoutError, DeadKernelError) as error:
            reason = type(error).__name__
        else:
            return
    raise NovaError(f"{path.name} does not run with its solutions: {reason}. Open it and run it.")


def _printed(outputs: Iterable[Any]) -> str:
    return "".join(output.text for output in outputs if output.output_type == "stream").strip()


def _statuses(text: str) -> list[str]:
    """Find the checks' verdicts in printed text: ``name: status (…)``."""
    found = []
    for line in text.splitlines():
        found += [status for status in (CORRECT, WRONG, UNSOLVED) if f": {status}" in line]
    return found
