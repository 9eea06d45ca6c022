"""Did a notebook really run to its end? papermill's own idea of success is not trusted here.

``sys.exit()`` counts as success for papermill, cells behind it never run, and the status it stores
for the cells of a dead kernel reads "completed". So: every code cell must have run, none may hold an
error, and the kernel must be alive at the end. Source: ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from novakit.course.notebooks import has_tag

if TYPE_CHECKING:
    from nbformat import NotebookNode


@dataclass(frozen=True)
class Verdict:
    """How a run ended.

    Attributes:
        status: "passed", "failed" (an error in a cell, or the notebook cannot be run), "ended" (the
            kernel was ended politely), "died" (the kernel died), "timeout" or "stalled" (a message between
            kernel and runner got lost, twice).
        detail: where and why; empty when passed.
    """

    status: str
    detail: str = ""


def judge(notebook: NotebookNode | None, seen: dict[str, Any] | None) -> Verdict:
    """Judge one executed notebook.

    Args:
        notebook: what the run left behind; None when there is nothing readable.
        seen: what `novakit.course.execute.execute` returned; None when its process did not finish.

    Returns:
        The verdict; passed only if every code cell ran, without an error, in a kernel that lived on.
    """
    if notebook is None or seen is None:
        reason = (seen or {}).get("error") or "the process that ran it left nothing behind"
        return Verdict("failed", reason)
    error = _first_error(notebook)
    if error:
        index, output = error
        status = "ended" if output.ename in ("SystemExit", "KeyboardInterrupt") else "failed"
        return Verdict(status, f"{output.ename}: {_first_line(output.evalue)} in {_name(notebook, index)}")
    if seen["ended_at"] is not None:
        return Verdict("ended", f"the kernel was asked to end in {_name(notebook, seen['ended_at'])}")
    return _judge_unrun(notebook, seen)


def _judge_unrun(notebook: NotebookNode, seen: dict[str, Any]) -> Verdict:
    """Look for cells that the kernel never answered, or that carry no execution count."""
    unanswered = [i for i in _code(notebook) if i not in seen["executed"]]
    if seen["error"]:
        place = f" in {_name(notebook, unanswered[0])}" if unanswered else ""
        status = "died" if seen["error"].startswith("DeadKernelError") else "failed"
        return Verdict(status, seen["error"] + place)
    unrun = [i for i in _code(notebook) if notebook.cells[i].execution_count is None] or unanswered
    if unrun:
        return Verdict("ended", f"{len(unrun)} code cells never ran, the first is {_name(notebook, unrun[0])}")
    return Verdict("passed")


def _first_error(notebook: NotebookNode) -> tuple[int, NotebookNode] | None:
    """Find the first error output in a cell that is not meant to raise."""
    for index in _code(notebook):
        cell = notebook.cells[index]
        for output in cell.outputs:
            if output.output_type == "error" and not has_tag(cell, "raises-exception"):
                return index, output
    return None


def _code(notebook: NotebookNode) -> list[int]:
    return [i for i, cell in enumerate(notebook.cells) if cell.cell_type == "code" and cell.source.strip()]


def _name(notebook: NotebookNode, index: int) -> str:
    """Name a cell as a reader finds it: its first line."""
    return f"the cell `{_first_line(notebook.cells[index].source)}`"


def _first_line(text: str) -> str:
    line = (text.strip().splitlines() or [""])[0]
    return line if len(line) <= 60 else line[:57] + "…"
