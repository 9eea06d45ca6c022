"""The series' report: a table on the screen, report.json, and one page per notebook with an index.

Source: ours.
"""

from __future__ import annotations

import html
from pathlib import Path
from typing import TYPE_CHECKING, Any

from novakit.files import atomic_write_json, atomic_write_text
from novakit.provenance import provenance

if TYPE_CHECKING:
    from novakit.course.batch import Row, SeriesReport

_COLUMNS = ("notebook", "status", "minutes", "peak memory", "remark")
_STYLE = (
    "body{font-family:sans-serif;margin:2rem auto;max-width:60rem}table{border-collapse:collapse}"
    "td,th{padding:.3rem .8rem;border-bottom:1px solid #ccc;text-align:left}"
    ".passed{color:#176b2c}.bad{color:#a11;font-weight:bold}"
)


def publish(report: SeriesReport) -> None:
    """Write ``report.json``, the HTML pages and ``index.html``, and print the table.

    Args:
        report: the finished run.
    """
    data = as_json(report)
    atomic_write_json(report.folder / "report.json", data)
    pages = {row.notebook: _page(report.folder / row.notebook, report) for row in report.rows}
    atomic_write_text(report.folder / "index.html", _index(report, data, pages))
    print_table(report)


def as_json(report: SeriesReport) -> dict[str, Any]:
    """Return the report as plain data: the notebooks, and where the numbers come from."""
    return {
        "profile": report.profile,
        "settings": list(report.settings),
        "passed": report.passed,
        "minutes": round(sum(row.cost.minutes for row in report.rows), 2),
        "notebooks": [
            {
                "notebook": row.notebook,
                "status": row.verdict.status,
                "detail": row.verdict.detail,
                "minutes": round(row.cost.minutes, 2),
                "peak_memory_mb": round(row.cost.memory_mb),
                "warning": row.warning,
            }
            for row in report.rows
        ],
        "provenance": provenance(),
    }


def print_table(report: SeriesReport) -> None:
    """Print the table: notebook, status, minutes, peak memory, remark."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"novakit series, profile {report.profile}")
    for name in _COLUMNS:
        table.add_column(name, justify="right" if name in ("minutes", "peak memory") else "left")
    for row in report.rows:
        table.add_row(*_texts(row), style=None if row.verdict.status == "passed" else "red")
    console = Console(width=None if Console().is_terminal else 140, markup=False)
    console.print(table)
    total = sum(row.cost.minutes for row in report.rows)
    good = sum(row.verdict.status == "passed" for row in report.rows)
    print(f"{good} of {len(report.rows)} passed, {total:.1f} min; report: {report.folder / 'index.html'}")


def _texts(row: Row) -> tuple[str, ...]:
    remark = row.verdict.detail or row.warning or ""
    minutes, memory = f"{row.cost.minutes:.1f}", f"{row.cost.memory_mb:.0f} MB"
    return row.notebook, row.verdict.status, minutes, memory, remark


def _page(executed: Path, report: SeriesReport) -> str:
    """Convert one executed notebook to HTML; return the link or the reason why there is none."""
    from nbconvert import HTMLExporter

    page = executed.with_suffix(".html")
    page.unlink(missing_ok=True)
    if not executed.exists():
        return "not run"
    try:
        text, _ = HTMLExporter().from_filename(str(executed))
    except Exception as error:  # a notebook that cannot be shown must not hide the others
        return html.escape(f"no page: {type(error).__name__}: {error}")
    for row in report.rows:  # links between notebooks lead from page to page
        text = text.replace(f'href="{row.notebook}"', f'href="{Path(row.notebook).stem}.html"')
    atomic_write_text(page, text)
    return f'<a href="{page.name}">page</a> · <a href="{executed.name}">notebook</a>'


def _index(report: SeriesReport, data: dict[str, Any], pages: dict[str, str]) -> str:
    lines = []
    for row in report.rows:
        cells = [html.escape(text) for text in _texts(row)]
        kind = "passed" if row.verdict.status == "passed" else "bad"
        cells[1] = f'<span class="{kind}">{cells[1]}</span>'
        lines.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in [*cells, pages[row.notebook]]) + "</tr>")
    heads = "".join(f"<th>{name}</th>" for name in (*_COLUMNS, "open"))
    origin = data["provenance"]
    facts = [f"{name} {version}" for name, version in origin["versions"].items() if version]
    facts += [f"{name}: {value}" for name, value in origin["hardware"].items()]
    facts += [f"commit {origin['commit']}", origin["date"], *(f"--set {text}" for text in report.settings)]
    title = f"novakit series, profile {report.profile}"
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title><style>{_STYLE}</style>'
        f"<h1>{title}</h1><p>{data['minutes']:.1f} minutes in all.</p>"
        f"<table><tr>{heads}</tr>{''.join(lines)}</table>"
        f"<p>{html.escape(' · '.join(facts))}</p></html>\n"
    )
