"""One notebook in one process: started, watched for time and memory, and never left behind. Source: ours."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil

from novakit.course.notebooks import Cost, read_notebook
from novakit.course.verdict import Verdict, judge
from novakit.errors import NovaError

_POLL_SECONDS = 0.1
_GRACE_SECONDS = 15  # for papermill to save the cells that ran, once the kernel is gone
_STALL_SECONDS = 120  # a kernel and its runner that compute nothing for so long wait for a message that got lost
_STALL_SHARE = 0.05  # and this is "nothing", in seconds of CPU per second


@dataclass(frozen=True)
class Job:
    """One notebook to run.

    Attributes:
        notebook: what to run.
        output: where the executed notebook goes.
        parameters: values to inject.
        build: folder that `novakit.paths.build` gives inside the notebook.
        environment: more environment variables for the kernel.
    """

    notebook: Path
    output: Path
    parameters: Mapping[str, Any]
    build: Path
    environment: Mapping[str, str]


@dataclass(frozen=True)
class Outcome:
    """What came of it.

    Attributes:
        verdict: passed or not, and why.
        cost: minutes of wall clock and peak memory of the kernel and its children, of the last try.
        lost: what went wrong in a first try that was no fault of the notebook; empty if there was one try.
    """

    verdict: Verdict
    cost: Cost
    lost: str = ""


def run_notebook(job: Job, timeout_minutes: float, stop: threading.Event) -> Outcome:
    """Run one notebook and judge it.

    Args:
        job: what to run.
        timeout_minutes: wall-clock limit for the whole notebook (min); then its kernel is killed.
        stop: when set from outside, everything is killed.

    Returns:
        The outcome; never raises for what the notebook does.
    """
    with tempfile.TemporaryDirectory(prefix="nova-", ignore_cleanup_errors=True) as folder:
        runtime = Path(folder)
        outcome = _attempt(job, timeout_minutes, stop, runtime)
        stalled = outcome.verdict.status == "stalled"  # Jupyter now and then loses a message on a busy machine
        if stalled or "Address already in use" in outcome.verdict.detail:  # ports race where there is no ipc
            again = _attempt(job, timeout_minutes, stop, runtime)
            outcome = replace(again, lost=f"second try; the first one: {outcome.verdict.detail}")
    return outcome


def _attempt(job: Job, timeout_minutes: float, stop: threading.Event, runtime: Path) -> Outcome:
    job.output.unlink(missing_ok=True)
    started = time.monotonic()
    process = _start(job, runtime)
    peak, ended = _watch(process, started + 60 * timeout_minutes, stop)
    cost = Cost((time.monotonic() - started) / 60, peak / 1e6)
    if ended == "timeout":
        return Outcome(Verdict("timeout", f"stopped after {timeout_minutes:g} min"), cost)
    if ended == "stalled":
        return Outcome(Verdict("stalled", f"nothing was computed for {_STALL_SECONDS} s"), cost)
    return Outcome(judge(_executed(job.output), _seen(runtime)), cost)


def _start(job: Job, runtime: Path) -> subprocess.Popen[bytes]:
    description = {
        "notebook": str(job.notebook.resolve()),
        "output": str(job.output.resolve()),
        "parameters": dict(job.parameters),
        "result": str(runtime / "seen.json"),
        "socket": str(runtime / "kernel"),
    }
    (runtime / "seen.json").unlink(missing_ok=True)
    (runtime / "job.json").write_text(json.dumps(description), encoding="utf-8")
    with open(runtime / "log.txt", "wb") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "novakit.course.execute", str(runtime / "job.json")],
            cwd=job.notebook.resolve().parent,
            env=_environment(job, runtime),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )


def _environment(job: Job, runtime: Path) -> dict[str, str]:
    """Give the kernel this very novakit, this very Python, a folder to hand files on, no progress bars."""
    environment = dict(os.environ)
    for name in ("JUPYTER_PATH", "MPLBACKEND"):  # a foreign kernel; plots lost without an error
        environment.pop(name, None)
    package_parent = str(Path(__file__).resolve().parents[2])
    old_path = environment.get("PYTHONPATH")
    environment |= {
        "PYTHONPATH": package_parent + (os.pathsep + old_path if old_path else ""),
        "JUPYTER_PREFER_ENV_PATH": "1",
        "JUPYTER_RUNTIME_DIR": str(runtime),
        "NOVAKIT_BUILD": str(job.build),
        "TQDM_DISABLE": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    }
    return environment | dict(job.environment)


def _watch(process: subprocess.Popen[bytes], deadline: float, stop: threading.Event) -> tuple[int, str]:
    """Wait for the process; return its kernel's peak memory (bytes) and why it was ended: "timeout", "stalled", ""."""
    peak, ended, quiet = 0, "", _Quiet()
    while process.poll() is None:
        kernels = _descendants(process.pid)
        peak = max(peak, _memory(kernels))
        if stop.is_set() or (ended and time.monotonic() > deadline + _GRACE_SECONDS):
            _kill([*kernels, psutil.Process(process.pid)])
        elif not ended and (time.monotonic() > deadline or quiet.too_long([process.pid, *(k.pid for k in kernels)])):
            ended = "timeout" if time.monotonic() > deadline else "stalled"
            deadline = time.monotonic()
            _kill(kernels)
        time.sleep(_POLL_SECONDS)
    return peak, ended


class _Quiet:
    """Notices that some processes have computed nothing for _STALL_SECONDS."""

    def __init__(self) -> None:
        self.since, self.cpu = time.monotonic(), 0.0

    def too_long(self, pids: list[int]) -> bool:
        """Look again; True when they have been quiet all the time since the last sign of life."""
        now, cpu = time.monotonic(), sum(map(_cpu_seconds, pids))
        if not 0 <= cpu - self.cpu <= _STALL_SHARE * (now - self.since):  # a process that ended takes its time along
            self.since, self.cpu = now, cpu
        return now - self.since > _STALL_SECONDS


def _cpu_seconds(pid: int) -> float:
    try:
        times = psutil.Process(pid).cpu_times()
    except psutil.Error:
        return 0.0
    return times.user + times.system


def _descendants(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.Error:
        return []


def _memory(processes: list[psutil.Process]) -> int:
    """Return the larger of their resident memory now, all together, and the largest single peak."""
    total, largest = 0, 0
    for process in processes:
        try:
            total += process.memory_info().rss
            largest = max(largest, _high_water_mark(process.pid))
        except (psutil.Error, OSError):
            continue
    return max(total, largest)


def _high_water_mark(pid: int) -> int:
    """Return the peak resident memory that Linux keeps for a process (bytes); 0 elsewhere."""
    if sys.platform != "linux":
        return 0
    for line in Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


def _kill(processes: list[psutil.Process]) -> None:
    for process in processes:
        try:
            process.kill()
        except psutil.Error:
            continue


def _executed(path: Path) -> Any:
    try:
        return read_notebook(path)
    except NovaError:
        return None


def _seen(runtime: Path) -> dict[str, Any] | None:
    """Read what the process saw; when it left nothing, the last line of its log is the reason."""
    try:
        return json.loads((runtime / "seen.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        log = (runtime / "log.txt").read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return {"error": log[-1], "executed": [], "ended_at": None} if log else None
