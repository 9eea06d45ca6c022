"""One run, one folder: the lock, the log, validation clips, and a clean answer to signals."""

import json
import os
import signal
import socket
import threading
import time
import warnings
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

from torch import Tensor

from novakit.errors import NovaError
from novakit.files import atomic_write_text

try:
    import fcntl
except ImportError:  # Windows has no fcntl; runs there are not guarded against each other
    fcntl = None


class RunLock:
    """Context manager that keeps a second run out of a folder.

    The operating system drops the lock when its process dies, however it dies, so a lock of a
    killed run never has to be removed by hand.

    Raises:
        NovaError: another live run holds the folder; its process id is named.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / "run.lock"

    def __enter__(self) -> "RunLock":
        self.stream = self.path.open("a+")
        try:
            if fcntl is not None:
                fcntl.flock(self.stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = self._holder()
            self.stream.close()
            raise NovaError(
                f"{self.path.parent} is in use by process {holder}; "
                "wait for it to end, stop it, or choose another folder."
            ) from error
        self.stream.truncate(0)
        self.stream.write(f"{os.getpid()} on {socket.gethostname()}")
        self.stream.flush()
        return self

    def _holder(self) -> str:
        """Who has the lock; it may have got it this instant and not written its name yet."""
        for _ in range(10):
            self.stream.seek(0)
            if holder := self.stream.read().strip():
                return holder
            time.sleep(0.01)
        return "unknown"

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stream.truncate(0)
        self.stream.close()


class StopSignals:
    """Context manager: the first SIGTERM or SIGINT only sets `caught`; the second acts as usual.

    After the run saved, `reraise()` ends the process the way the signal asked: exit code 143 after
    SIGTERM, KeyboardInterrupt (130) after Ctrl-C or a notebook's stop button.
    """

    def __init__(self) -> None:
        self.caught: int | None = None
        self.previous: dict[int, Any] = {}

    def __enter__(self) -> "StopSignals":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self.previous[number] = signal.signal(number, self._catch)
        return self

    def _catch(self, number: int, frame: FrameType | None) -> None:
        self.caught = number
        self._restore()

    def _restore(self) -> None:
        for number, handler in self.previous.items():
            signal.signal(number, handler)
        self.previous = {}

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._restore()

    def reraise(self) -> None:
        """End as the caught signal asks; nothing when none came."""
        if self.caught == signal.SIGTERM:
            raise SystemExit(143)
        if self.caught == signal.SIGINT:
            raise KeyboardInterrupt("training stopped after saving its checkpoint")


class RunLog:
    """`log.jsonl` (one JSON object per line) and TensorBoard files beside it.

    On resume, lines after the checkpoint's step are dropped, because those steps run again.
    """

    def __init__(self, folder: Path, step: int) -> None:
        self.path = folder / "log.jsonl"
        self.history = [line for line in read_log(self.path) if line["step"] <= step]
        atomic_write_text(self.path, "".join(json.dumps(line) + "\n" for line in self.history))
        self.board = _open_tensorboard(folder / "tensorboard", step)

    def write(self, step: int, values: dict[str, float], group: str) -> None:
        """Add a line {"step": …, "group": "train" or "validation", …}, and the numbers to TensorBoard."""
        line = {"step": step, "group": group, **values}
        self.history.append(line)
        with self.path.open("a") as stream:
            stream.write(json.dumps(line) + "\n")
        if self.board is not None:
            for name, value in values.items():
                self.board.add_scalar(f"{group}/{name}", value, step)
            self.board.flush()

    def close(self) -> None:
        """Close the TensorBoard file."""
        if self.board is not None:
            self.board.close()


def _open_tensorboard(folder: Path, step: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        warnings.warn("tensorboard is not installed: only log.jsonl is written.", stacklevel=3)
        return None
    return SummaryWriter(str(folder), purge_step=step + 1 if step else None)


def read_log(path: Path) -> list[dict[str, Any]]:
    """The lines of a `log.jsonl`; a last line cut short by a kill is left out."""
    lines = []
    for text in path.read_text().splitlines() if path.exists() else []:
        try:
            lines.append(json.loads(text))
        except json.JSONDecodeError:
            break
    return lines


def write_clips(folder: Path, clips: dict[str, Tensor]) -> None:
    """Write validation clips (1, 3, T, H, W) in [-1, 1] as FOLDER/NAME.mp4 at 8 frames/s."""
    if not clips:
        return
    from novakit.video import write_clip

    folder.mkdir(parents=True, exist_ok=True)
    for name, clip in clips.items():
        write_clip(folder / f"{name}.mp4", clip.float().cpu(), fps=8)
