"""Speed and memory, with targets: `novakit bench`. Every suite prints a table and writes JSON. Source: ours."""

from __future__ import annotations

import json
import os
import time
from importlib import import_module
from pathlib import Path

from novakit.errors import NovaError
from novakit.files import atomic_write_json, require_writable_folder
from novakit.provenance import provenance

SUITES = ("cpu", "clips", "scaling", "gpu")

__all__ = ["SUITES", "bench"]


def bench(suite: str = "cpu", out: Path | None = None, minutes: float | None = None) -> dict:
    """Run a suite, print a table, write JSON after every measurement.

    Args:
        suite: "cpu" (what a student waits for; minutes), "clips" (keyframes, masks, long and large clips; a quarter
            of an hour), "scaling" (cost against frames, size and keyframes at nano size; minutes) or "gpu" (full size
            on one CUDA card).
        out: JSON file, or a folder, in which the file is called SUITE_bench.json; or None. "gpu" goes on where the file
            stops.
        minutes: start no further measurement after this time; None = no limit.

    Returns:
        What the JSON holds: rows with targets, all numbers, where and when.

    Raises:
        NovaError: an unknown suite, or a device that it needs is not there.
    """
    if suite not in SUITES:
        raise NovaError(f"There is no suite {suite!r}; the suites are: {', '.join(SUITES)}.")
    chosen = import_module(f"{__name__}.{suite}").SUITE
    out = _file(out, suite)
    started, load = time.monotonic(), os.getloadavg() if hasattr(os, "getloadavg") else None
    numbers = chosen.start(_earlier(out)) if hasattr(chosen, "start") else {}
    report = _report(suite, chosen, numbers, load)
    left = 0
    for measure in chosen.measurements:
        over = minutes is not None and time.monotonic() - started > 60 * minutes
        if over and not getattr(measure, "fresh", False):  # what costs nothing is taken all the same
            left += 1
            continue
        measured = measure()
        for name in measured:
            if name in chosen.targets:
                print(chosen.targets[name].line(measured[name]), flush=True)
        numbers |= measured
        report = _report(suite, chosen, numbers, load)
        if out:
            atomic_write_json(out, report)
    if left:
        print(f"{minutes:g} minutes are over; {left} measurements are left.")
    return report


def _file(out: Path | None, suite: str) -> Path | None:
    """The JSON file behind a file or a folder; its folder can be written to."""
    if out is None:
        return None
    out = Path(out).absolute()
    if out.is_dir() or not out.suffix:
        out = out / f"{suite}_bench.json"
    require_writable_folder(out.parent)
    return out


def _earlier(out: Path | None) -> dict:
    """The report that is there already, or {}; damaged ones count as none, since they are written anew."""
    try:
        return json.loads(out.read_text(encoding="utf-8")) if out and out.exists() else {}
    except (OSError, ValueError):
        return {}


def _report(suite: str, chosen, numbers: dict[str, float], load) -> dict:
    from novakit.evaluation.benchmark.measuring import REPEATS

    rows = [
        {
            "what": target.what,
            "value": round(numbers[name], 3),
            "unit": target.unit,
            "target": target.value,
            "met": target.met(numbers[name]),
        }
        for name, target in chosen.targets.items()
        if name in numbers
    ]
    return {
        "suite": suite,
        "repeats": REPEATS,
        "rows": rows,
        "numbers": {name: round(value, 4) for name, value in numbers.items()},
        "load_before": load,
        **(chosen.describe() if hasattr(chosen, "describe") else {}),
        **provenance(device=getattr(chosen, "device", "cpu")),
    }
