"""``novakit series``: the numbered notebooks, headless, in order, with a report.

With one job (the default) each notebook finds what the ones before it produced
(`novakit.paths.handed_on`). With more jobs at a time nothing can be waited for, so every notebook gets
a folder of its own and starts from the shipped artefacts, as it does when a student opens it alone.
Source: ours (the limits and the "run all, then fail" habit follow botorch's tutorial runner).
"""

from __future__ import annotations

import os
import shutil
import signal
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from novakit.course.notebooks import (
    PROFILES,
    Cost,
    compare_cost,
    numbered_notebooks,
    parameters,
    read_notebook,
    stated_cost,
)
from novakit.course.process import Job, Outcome, run_notebook
from novakit.course.settings import Setting, parse_settings, values_for
from novakit.course.verdict import Verdict
from novakit.errors import NovaError
from novakit.files import require_writable_folder
from novakit.paths import build, notebooks


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        notebook: file name.
        verdict: passed or not, and why.
        cost: measured minutes and peak memory.
        warning: a first try that got lost, or where the header card disagrees with the measurement; else None.
    """

    notebook: str
    verdict: Verdict
    cost: Cost
    warning: str | None = None


@dataclass(frozen=True)
class SeriesReport:
    """The whole run.

    Attributes:
        profile: "ci", "laptop" or "gpu".
        rows: one per notebook, in the series' order.
        folder: where the executed notebooks and the report lie.
        settings: the user's ``--set`` texts.
    """

    profile: str
    rows: tuple[Row, ...]
    folder: Path
    settings: tuple[str, ...] = field(default=())

    @property
    def passed(self) -> bool:
        """True when every notebook passed."""
        return all(row.verdict.status == "passed" for row in self.rows)


def run_series(
    profile: str = "ci",
    only: str | None = None,
    settings: Iterable[str] = (),
    jobs: int = 1,
    out: Path | None = None,
    timeout_minutes: float = 30.0,
    folder: Path | None = None,
) -> SeriesReport:
    """Run the numbered notebooks and write the report; one failing does not hide the others.

    Args:
        profile: how much each notebook does: "ci", "laptop" or "gpu".
        only: numbers to run, e.g. "02,05"; None runs all.
        settings: texts ``name=value`` or ``06.name=value``.
        jobs: notebooks at a time; above 1 each starts from the shipped artefacts.
        out: folder for executed notebooks, pages, report and artefacts; ``build/series`` when None.
        timeout_minutes: limit for each notebook (min).
        folder: where the notebooks lie; the repository's ``notebooks`` when None.

    Returns:
        The report, also printed and written to ``report.json`` and ``index.html``.

    Raises:
        NovaError: unknown profile, notebook number or parameter; bad job count; unwritable folder.
    """
    _check_choices(profile, jobs, timeout_minutes)
    paths = numbered_notebooks(folder or notebooks(), only)
    prepared = _prepare(paths, profile, parse_settings(settings))
    target = require_writable_folder(out or build() / "series").resolve()
    if only is None and (target / "report.json").exists():
        shutil.rmtree(target / "artefacts", ignore_errors=True)  # a whole run starts from nothing
    rows = _run_all(paths, prepared, target, profile, jobs, timeout_minutes)
    report = SeriesReport(profile, tuple(rows), target, tuple(settings))
    from novakit.course.report import publish

    publish(report)
    return report


def _check_choices(profile: str, jobs: int, timeout_minutes: float) -> None:
    if profile not in PROFILES:
        raise NovaError(f"profile {profile!r} is unknown; the profiles are {', '.join(PROFILES)}.")
    if jobs < 1:
        raise NovaError(f"{jobs} jobs came; at least 1 was wanted.")
    if not timeout_minutes > 0:
        raise NovaError(f"a timeout of {timeout_minutes} min came; more than 0 was wanted.")
    if profile == "gpu":
        from novakit.device import choose_device

        choose_device("cuda")  # says what is missing


def _prepare(paths: list[Path], profile: str, settings: list[Setting]) -> dict[Path, dict[str, Any] | Verdict]:
    """Work out what to inject into each notebook, or why it cannot be run; refuse unknown names."""
    prepared: dict[Path, dict[str, Any] | Verdict] = {}
    for path in paths:
        try:
            defaults = parameters(read_notebook(path))
            if "profile" not in defaults:
                raise NovaError('its parameters cell has no `profile`. Add profile = "ci".')
        except (NovaError, SyntaxError) as error:
            prepared[path] = Verdict("failed", str(error))
        else:
            prepared[path] = {"profile": profile} | values_for(path, defaults, settings)
    _refuse_absent_numbers(paths, settings)
    return prepared


def _refuse_absent_numbers(paths: list[Path], settings: list[Setting]) -> None:
    numbers = {path.name[:2] for path in paths}
    for setting in settings:
        if setting.number and setting.number not in numbers:
            raise NovaError(
                f"--set {setting.number}.{setting.name}: notebook {setting.number} is not in this run "
                f"({', '.join(sorted(numbers))})."
            )


def _run_all(
    paths: list[Path],
    prepared: dict[Path, dict[str, Any] | Verdict],
    target: Path,
    profile: str,
    jobs: int,
    timeout_minutes: float,
) -> list[Row]:
    def run(path: Path) -> Row:
        values = prepared[path]
        if isinstance(values, Verdict):
            return _announce(Row(path.name, values, Cost(0.0, 0.0)))
        work = target if jobs == 1 else target / "alone" / path.stem
        job = Job(path, target / path.name, values, work, _variables(profile, jobs))
        return _announce(_row(path, profile, run_notebook(job, timeout_minutes, stop)))

    with _stoppable() as stop, ThreadPoolExecutor(jobs) as pool:
        try:
            return list(pool.map(run, paths))
        except BaseException:  # Ctrl-C or SIGTERM: kernels must not outlive the runner
            stop.set()
            pool.shutdown(cancel_futures=True)
            raise


def _row(path: Path, profile: str, outcome: Outcome) -> Row:
    warning = outcome.lost or None
    if outcome.verdict.status == "passed" and not warning:
        warning = compare_cost(stated_cost(read_notebook(path), profile), outcome.cost, profile)
    return Row(path.name, outcome.verdict, outcome.cost, warning)


def _announce(row: Row) -> Row:
    line = f"{row.notebook}: {row.verdict.status} after {row.cost.minutes:.1f} min"
    remark = row.verdict.detail or row.warning
    print(line + (f" ({remark})" if remark else ""), flush=True)
    return row


def _variables(profile: str, jobs: int) -> dict[str, str]:
    """Share the cores among the jobs, unless the user has decided; the profile ci never asks the hub."""
    variables = {"HF_HUB_OFFLINE": "1"} if profile == "ci" else {}
    if "OMP_NUM_THREADS" not in os.environ and jobs > 1:
        variables["OMP_NUM_THREADS"] = str(max(1, (os.cpu_count() or 1) // jobs))
    return variables


@contextmanager
def _stoppable() -> Iterator[threading.Event]:
    """Give an event that stops all notebooks, and let SIGTERM leave the way Ctrl-C does."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def leave(*_: object) -> None:
        raise SystemExit(143)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGTERM, before)
