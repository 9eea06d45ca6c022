"""What the suites of the benchmark share: targets, medians, a process of its own, its peak memory. Source: ours."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from novakit.errors import NovaError

REPEATS = 5


@dataclass(frozen=True)
class Target:
    """What a number means and what it should be."""

    what: str
    unit: str
    value: float
    at_least: bool = False  # False: smaller is better

    def met(self, number: float) -> bool:
        """True when the number reaches the target."""
        return number >= self.value if self.at_least else number <= self.value

    def line(self, number: float) -> str:
        """One row of the printed table."""
        sign, verdict = ">=" if self.at_least else "<=", "met" if self.met(number) else "NOT MET"
        return f"{self.what:58s} {number:9.2f} {self.unit:12s} target {sign} {self.value:g}: {verdict}"


@dataclass(frozen=True)
class Suite:
    """Measurements, each of which returns named numbers, and the targets of some of the names."""

    targets: Mapping[str, Target]
    measurements: Sequence[Callable[[], dict[str, float]]]


def median(measure: Callable[[], float]) -> float:
    """Median of REPEATS measurements."""
    return statistics.median(measure() for _ in range(REPEATS))


def seconds(action: Callable[[], object]) -> float:
    """Wall time of one call."""
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def python(code: str, *arguments: str) -> str:
    """Run code in a fresh interpreter, so that nothing before it spoils the measurement; what it printed last.

    Raises:
        NovaError: it failed; with what it said last.
    """
    words = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:]
        raise NovaError(f"a measurement ended with code {done.returncode}: {' '.join(last)}")
    return done.stdout.strip().splitlines()[-1]


def peak_megabytes() -> float:
    """Peak resident memory of this process so far, in units of 10^6 bytes.

    Linux hands a process's `ru_maxrss` on to the program that it starts, so the kernel's own high-water mark is read
    where there is one.
    """
    import resource

    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024 / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6
