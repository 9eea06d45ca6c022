"""Does a rerun agree with what was recorded? The subset of 16 scenes and seed 0, number by number.

Source: ours.
"""

from __future__ import annotations

import json
from pathlib import Path

from novakit.errors import NovaError

TOLERANCE = 0.005  # of the recorded number
FLOOR = 0.001  # numbers nearer to 0 than a fifth are compared absolutely
TIMES = ("seconds",)  # differ from machine to machine


def check_against(recorded: str | Path, rerun: str | Path, tolerance: float = TOLERANCE) -> int:
    """Compare the subset of a recorded suite with that of a rerun.

    Args:
        recorded: JSON file of a suite, for instance notebooks/recorded/table2.json.
        rerun: JSON file of `novakit eval --suite table2 --scenes 16 --seeds 1`.
        tolerance: largest difference, as a share of the recorded number.

    Returns:
        How many numbers were compared.

    Raises:
        NovaError: the files are of other suites, a row or number is missing, or numbers differ; names the worst.
    """
    old, new = (_read(path) for path in (recorded, rerun))
    if old["suite"] != new["suite"]:
        raise NovaError(f"{recorded} is of suite {old['suite']}, {rerun} of {new['suite']}. Compare the same suite.")
    wrong, count = [], 0
    for row, numbers in old["subset"].items():
        for column, value in numbers.items():
            if column in TIMES or value is None:
                continue
            other = new["subset"].get(row, {}).get(column)
            count += 1
            if other is None or abs(other - value) > max(tolerance * abs(value), FLOOR):
                wrong.append(
                    (float("inf") if other is None else abs(other - value), f"{row} {column}: {value} -> {other}")
                )
    if not count:
        raise NovaError(f"{recorded} holds no subset of 16 scenes and seed 0; nothing can be compared with it.")
    if wrong:
        worst = "; ".join(text for _, text in sorted(wrong, reverse=True)[:5])
        raise NovaError(f"{len(wrong)} of {count} numbers differ by more than {tolerance:.1%}: {worst}.")
    return count


def _read(path: str | Path) -> dict:
    try:
        data = json.loads(Path(path).read_text(encoding="utf-8"))
        return {"suite": data["suite"], "subset": data["subset"]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise NovaError(f"{path} is no result of `novakit eval` ({type(error).__name__}: {error}).") from None
