"""Where the numbers of a run go: log.jsonl and TensorBoard in the main process, nowhere in the others, W&B if asked.

Source: ours.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from novakit.errors import NovaError
from novakit.files import atomic_write_text
from novakit.training.distributed.processes import Processes
from novakit.training.run_folder import RunLog


class SilentLog:
    """A log that only remembers: what every process but the main one has."""

    def __init__(self) -> None:
        self.history: list[dict[str, Any]] = []

    def write(self, step: int, values: dict[str, float], group: str) -> None:
        """Remember a line, as `RunLog.write` would write it."""
        self.history.append({"step": step, "group": group, **values})

    def close(self) -> None:
        """Nothing to close."""


def open_log(
    folder: Path, step: int, processes: Processes, wandb: str | None = None, config: dict[str, Any] | None = None
) -> RunLog | SilentLog | Logs:
    """The log of this process: nothing on disk but in the main one, which tells a W&B project too when given."""
    if not processes.is_main:
        return SilentLog()
    log = RunLog(folder, step)
    return log if wandb is None else Logs(log, WandbLog(folder, wandb, config or {}))


class Logs:
    """Several logs as one; `history` is the first one's."""

    def __init__(self, first: RunLog, *others: Any) -> None:
        self.all, self.history = (first, *others), first.history

    def write(self, step: int, values: dict[str, float], group: str) -> None:
        """Write a line to each."""
        for log in self.all:
            log.write(step, values, group)

    def close(self) -> None:
        """Close each."""
        for log in self.all:
            log.close()


def require_wandb(project: str | None) -> None:
    """Refuse a log that cannot be written.

    Raises:
        NovaError: a project, and the package wandb is not installed.
    """
    if project is None:
        return
    try:
        import wandb  # noqa: F401
    except ImportError as error:
        raise NovaError(
            "wandb is not installed: `pip install 'novakit[wandb]'`, or leave wandb (--wandb) out."
        ) from error


class WandbLog:
    """Sends the lines of a log to Weights & Biases too; a resumed run continues the same curve there.

    Args:
        folder: the run's folder; `wandb.txt` in it keeps the id.
        project: name of the project.
        config: settings to show beside the curves.

    Raises:
        NovaError: the package wandb is not installed.
    """

    def __init__(self, folder: Path, project: str, config: dict[str, Any]) -> None:
        require_wandb(project)
        import wandb

        kept = folder / "wandb.txt"
        identity = kept.read_text().strip() if kept.exists() else None
        self.run = wandb.init(
            project=project, name=folder.name, id=identity, resume="allow", dir=str(folder), config=config
        )
        if identity is None:
            atomic_write_text(kept, f"{self.run.id}\n")

    def write(self, step: int, values: dict[str, float], group: str) -> None:
        """Send one line: "train/loss", "validation/loss", …"""
        self.run.log({f"{group}/{name}": value for name, value in values.items()}, step=step)

    def close(self) -> None:
        """End the run over there."""
        self.run.finish()
