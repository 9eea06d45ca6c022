"""Speed and memory, with targets: `novakit bench`. Every suite prints a table and writes JSON. Source: ours."""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path

from novakit.errors import NovaError
from novakit.files import atomic_write_json, require_writable_folder
from novakit.provenance import provenance

SUITES = ("cpu", "clips")

__all__ = ["SUITES", "bench"]


def bench(suite: str = "cpu", out: Path | None = None) -> dict:
    """Run a suite, print a table, write JSON after every measurement.

    Args:
        suite: "cpu" (what a student waits for; minutes) or "clips" (keyframes, masks, long and large clips; about half
            an hour).
        out: JSON file, or None.

    Returns:
        What the JSON holds: rows with targets, all numbers, where and when.

    Raises:
        NovaError: an unknown suite.
    """
    if suite not in SUITES:
        raise NovaError(f"There is no suite {suite!r}; the suites are: {', '.join(SUITES)}.")
    if out:
        require_writable_folder(Path(out).absolute().parent)
    chosen = import_module(f"{__name__}.{suite}").SUITE
    load = os.getloadavg() if hasattr(os, "getloadavg") else None
    report, numbers = {}, {}
    for measure in chosen.measurements:
        measured = measure()
        for name in measured:
            if name in chosen.targets:
                print(chosen.targets[name].line(measured[name]), flush=True)
        numbers |= measured
        report = _report(suite, chosen, numbers, load)
        if out:
            atomic_write_json(out, report)
    return report


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
        **provenance(device="cpu"),
    }
