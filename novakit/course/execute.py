"""The process that executes one notebook: ``python -m novakit.course.execute JOB.json``.

One process per notebook, because papermill in threads shares a working directory and races for
ports. It only executes and says what it saw; `novakit.course.verdict` judges. Source: ours.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any


class KernelWatch:
    """Listens to every executed cell and notices a kernel that was asked to end politely.

    papermill counts ``quit()`` or a shutdown request as success; whether the cells behind it still
    run is a race.

    Attributes:
        executed: indices of the code cells that the kernel answered.
        ended_at: index of the cell that ended the kernel politely, or None.
    """

    def __init__(self, last_cell: int) -> None:
        self.last_cell = last_cell
        self.executed: list[int] = []
        self.ended_at: int | None = None

    def take_note(self, cell: Any, cell_index: int, execute_reply: dict[str, Any]) -> None:
        """Take note of one answered cell (nbclient's hook ``on_cell_executed``)."""
        self.executed.append(cell_index)
        payload = execute_reply["content"].get("payload", [])
        asked = any(item.get("source") == "ask_exit" for item in payload)
        if self.ended_at is None and (asked or (cell_index >= self.last_cell and not _kernel_lives())):
            self.ended_at = cell_index


def _kernel_lives() -> bool:
    """Tell whether a kernel is still there a moment after its last cell."""
    import psutil

    time.sleep(0.3)
    kernels = psutil.Process().children()
    return any(kernel.is_running() and kernel.status() != psutil.STATUS_ZOMBIE for kernel in kernels)


def kernel_transport(socket: str) -> dict[str, Any]:
    """Return traitlets settings that let the kernel talk through files instead of TCP ports (Linux).

    Ports can collide ("Address already in use"). The name must be ours: jupyter_client's own is
    ``kernel-ipc`` in the working directory, the same for every kernel.

    Args:
        socket: absolute beginning of the socket files' names; they must stay below 108 characters.
    """
    if sys.platform != "linux" or len(socket) > 90:
        return {}
    return {"AsyncKernelManager": {"transport": "ipc", "ip": socket}}


def execute(job: dict[str, Any]) -> dict[str, Any]:
    """Run a notebook from its first cell to its last.

    Args:
        job: ``notebook`` and ``output`` (absolute paths), ``parameters`` (name -> value),
            ``socket`` (see `kernel_transport`). The kernel works in this process's folder.

    Returns:
        ``error`` (one line or None), ``executed`` (cell indices), ``ended_at`` (cell index or None);
        indices count in the output, where papermill has put its own parameters cell.
    """
    import papermill
    from traitlets.config import Config

    watch = KernelWatch(_last_code_cell(job))

    def listen(**answered: Any) -> None:  # a plain function: traitlets copies any other object
        watch.take_note(**answered)

    settings = {**kernel_transport(job["socket"]), "NotebookClient": {"on_cell_executed": listen}}
    error = None
    try:
        papermill.execute_notebook(
            _literal(job["notebook"]),
            _literal(job["output"]),
            parameters=job["parameters"],
            kernel_name="python3",
            progress_bar=False,
            config=Config(settings),
        )
    except Exception as problem:
        lines = [line for line in str(problem).splitlines() if line.strip(" -")]
        error = f"{type(problem).__name__}: {lines[-1] if lines else ''}"
    return {"error": error, "executed": watch.executed, "ended_at": watch.ended_at}


def _last_code_cell(job: dict[str, Any]) -> int:
    """Index, in the output, of the last cell with code: one behind the input's if papermill injects."""
    cells = json.loads(Path(job["notebook"]).read_text(encoding="utf-8"))["cells"]
    code = [i for i, cell in enumerate(cells) if cell["cell_type"] == "code" and "".join(cell["source"]).strip()]
    return (code[-1] if code else 0) + bool(job["parameters"])


def _literal(path: str) -> str:
    """Protect a path from papermill, which reads paths as format strings."""
    return path.replace("{", "{{").replace("}", "}}")


def main() -> int:
    """Execute the job named on the command line and write what was seen to the job's ``result``."""
    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    seen = execute(job)
    Path(job["result"]).write_text(json.dumps(seen), encoding="utf-8")
    return 1 if seen["error"] else 0


if __name__ == "__main__":
    sys.exit(main())
