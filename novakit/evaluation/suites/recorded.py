"""The committed results of `novakit eval`, read and shown: tables beside the paper's, bars with intervals, verdicts.

    report = read_recorded("table1")
    print(where_from(report))
    metrics_table(report, ["nova", "source"])  # Markdown, the last value of a notebook's cell
    bars(report, ["SR", "BG-SSIM"])            # a matplotlib figure
    verdict_table(read_recorded("claims"), "C7", "C8")

Rows are shown in the order in which they are asked for; unknown ones are refused. Source: ours.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from novakit import __version__
from novakit.errors import NovaError
from novakit.evaluation.metrics import METRICS
from novakit.evaluation.suites.definitions import SUITES
from novakit.evaluation.suites.figures import colour_of, dot
from novakit.evaluation.suites.statistics import Estimate, differences, estimate
from novakit.evaluation.suites.writing import TRUTH_COLUMNS, claims_markdown, metrics_markdown, truth_markdown
from novakit.paths import recorded

if TYPE_CHECKING:
    from IPython.display import Markdown
    from matplotlib.figure import Figure

NEEDED = ("suite", "what", "table", "subset", "labels", "config", "date", "commit", "hardware", "records")
Report = dict[str, Any]


def read_recorded(suite: str) -> Report:
    """The committed report of a suite, `notebooks/recorded/SUITE.json`.

    Args:
        suite: "table1", "table2", "robustness" or "claims".

    Returns:
        What `novakit eval` wrote: `table` (row -> columns, `intervals`), `records`, `labels`, `verdicts` of the claims,
        and where it all comes from.

    Raises:
        NovaError: no such suite; the file is missing, damaged, of another suite or of another version of novakit.
    """
    if suite not in SUITES:
        raise NovaError(f"There is no suite {suite!r}; the suites are: {', '.join(SUITES)}.")
    path, again = recorded() / f"{suite}.json", f"Record it: novakit eval --suite {suite} --out FOLDER"
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise NovaError(f"no recorded result {path.name} in {path.parent} ({error.strerror}). {again}.") from None
    except ValueError as error:
        raise NovaError(f"{path} is damaged ({error}). Take the committed file back, or: {again}.") from None
    missing = [key for key in NEEDED if key not in report] if isinstance(report, dict) else list(NEEDED)
    if missing or report["suite"] != suite:
        raise NovaError(f"{path} is no report of suite {suite} (missing: {missing}). {again}.")
    if (version := report["config"].get("version")) != __version__:
        raise NovaError(f"{path} was recorded with novakit {version}, this is {__version__}. {again}.")
    return report


def where_from(report: Report) -> str:
    """Two lines that say what was measured, when, on what, and with which commit and weights."""
    config, table = report["config"], report["table"].values()
    failed = sum(row.get("failed", 0) for row in table)
    missing = [row["title"] for row in table if "missing" in row]
    left_out = f"; weights missing: {', '.join(missing)}" if missing else ""
    return (
        f"recorded {report['date'][:10]}, commit {report['commit']}, weights {config['weights']}, "
        f"{report['hardware']['device']}\n{report['what']}; {failed} edits failed{left_out}"
    )


def choose_rows(report: Report, rows: Iterable[str] | None) -> Report:
    """The report with these rows of its table only, in this order; None = all.

    Raises:
        NovaError: a row that the report does not hold.
    """
    if rows is None:
        return report
    rows = list(rows)
    if unknown := [name for name in rows if name not in report["table"]]:
        raise NovaError(
            f"{report['suite']} holds no row {', '.join(unknown)}; its rows are: {', '.join(report['table'])}."
        )
    return {**report, "table": {name: report["table"][name] for name in rows}}


def records_of(report: Report, row: str, scenes: Iterable[int] | None = None, seed: int | None = None) -> list[dict]:
    """The records of a row, one per scene and seed, in order.

    Args:
        report: of `read_recorded`.
        row: name of a row.
        scenes, seed: only these; None = all.
    """
    wanted = None if scenes is None else set(scenes)
    chosen = [record for record in report["records"] if record["row"] == row]
    chosen = [record for record in chosen if wanted is None or record["scene"] in wanted]
    chosen = [record for record in chosen if seed is None or record["seed"] == seed]
    return sorted(chosen, key=lambda record: (record["seed"], record["scene"]))


def values_of(report: Report, row: str, column: str) -> dict[tuple[int, int], float]:
    """The numbers of a row in a column, {(scene, seed): number}; records without the column are left out."""
    found = {(record["scene"], record["seed"]): record.get(column) for record in records_of(report, row)}
    return {key: number for key, number in found.items() if number is not None}


def effect_of(report: Report, one: str, other: str, column: str) -> Estimate | None:
    """Mean difference of two rows, one - other, over the scenes and seeds that both have.

    Args:
        report: of `read_recorded`.
        one, other: names of rows.
        column: of the records, such as "BG-SSIM".

    Returns:
        Estimate with its 95 % interval, or None where the two share no scene.
    """
    return estimate(differences(values_of(report, one, column), values_of(report, other, column)))


def metrics_table(report: Report, rows: Iterable[str] | None = None) -> Markdown:
    """The six metrics with 95 % intervals, the paper's rows beneath ours in italics, for a notebook."""
    return _markdown(_columns(metrics_markdown(choose_rows(report, rows)), -len(METRICS), None))


def conditions_table(report: Report, rows: Iterable[str] | None = None) -> Markdown:
    """What the rows of `metrics_table` rest on: tuning, mask, parameters, seconds, scenes and seeds."""
    return _markdown(_columns(metrics_markdown(choose_rows(report, rows)), 1, -len(METRICS)))


def truth_table(report: Report, rows: Iterable[str] | None = None) -> Markdown:
    """What only a rendered truth can tell (PSNR inside and outside, ghost, flicker ...), for a notebook."""
    return _markdown(truth_markdown(choose_rows(report, rows)))


def verdict_of(report: Report, claim: str) -> dict[str, Any]:
    """The verdict on a claim: `verdict`, `title`, `hypothesis`, `experiment` and its `rules`.

    Raises:
        NovaError: no claim of that name in the report.
    """
    found = {verdict["claim"]: verdict for verdict in report.get("verdicts", [])}
    if claim not in found:
        raise NovaError(f"{report['suite']} holds no claim {claim}; it holds: {', '.join(found) or 'none'}.")
    return found[claim]


def verdict_table(report: Report, *claims: str) -> Markdown:
    """Verdicts, and every rule with its effect, interval, margin and the paper's difference, for a notebook."""
    return _markdown(claims_markdown([verdict_of(report, claim) for claim in claims]))


def bars(report: Report, columns: Iterable[str], rows: Iterable[str] | None = None, width: float = 9.0) -> Figure:
    """One panel per column: every row a dot with its 95 % interval. NOVA, other rows and references in three colours.

    Args:
        report: of `read_recorded`.
        columns: of the table, such as "SR", "BG-SSIM", "between_psnr".
        rows: names; None = all. Rows whose weights are missing, or that have no scene, are left out.
        width: of the figure, inches.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    table = {name: row for name, row in choose_rows(report, rows)["table"].items() if row.get("scenes")}
    columns, places = list(columns), range(len(table) - 1, -1, -1)
    figure = Figure(figsize=(width, 0.7 + 0.32 * len(table)), layout="constrained")
    FigureCanvasAgg(figure)  # outside pyplot, so that a notebook shows it once
    panels = figure.subplots(1, len(columns), sharey=True, squeeze=False)[0]
    for panel, column in zip(panels, columns):
        for place, (name, row) in zip(places, table.items()):
            if row.get(column) is not None:
                dot(panel, row, column, place, colour_of(name))
        panel.set_title(column_label(report, column), fontsize=7)
        panel.grid(axis="x", alpha=0.3)
        panel.tick_params(axis="x", labelsize=7)
        panel.locator_params(axis="x", nbins=4)
    panels[0].set_yticks(list(places), [textwrap.fill(row["title"], 36) for row in table.values()], fontsize=7)
    return figure


def column_label(report: Mapping[str, Any], column: str) -> str:
    """How a column is called in a picture: a metric with its recipe, the others in words."""
    label = report["labels"].get(column) or TRUTH_COLUMNS.get(column, (column,))[0]
    return textwrap.fill(label.replace("[", " ["), 22)


def _columns(table: str, first: int, last: int | None) -> str:
    """A Markdown table with its first column and those from `first` to before `last`: a page is narrow."""
    head, _, *body = table.splitlines()
    cells = [line[2:-2].split(" | ") for line in (head, *body)]
    lines = ["| " + " | ".join(row[:1] + row[first:last]) + " |" for row in cells]
    return "\n".join([lines[0], "|---" * (len(cells[0][first:last]) + 1) + "|", *lines[1:]])


def _markdown(text: str) -> Markdown:
    from IPython.display import Markdown

    return Markdown(text)
