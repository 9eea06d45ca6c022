"""A report on disk: Markdown beside the paper's rows, CSV of the table, JSON of everything.

The paper's numbers stand in rows of their own, in italics and marked as the paper's; they are never averaged, plotted
or compared cell by cell with ours, whose clips, sizes and encoders are others.

Source: ours.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from typing import Any

from novakit.evaluation.metrics import METRICS
from novakit.evaluation.paper_numbers import PAPER, PaperRow

TRUTH_COLUMNS = {
    "outside_psnr": ("outside: PSNR", "{:.2f}"),
    "outside_pooled": ("pooled", "{:.2f}"),
    "inside_psnr": ("inside: PSNR", "{:.2f}"),
    "between_psnr": ("between keyframes", "{:.2f}"),
    "ghost": ("ghost", "{:.2f}"),
    "double": ("double image", "{:.2f}"),
    "flicker": ("flicker", "{:.2f}"),
    "edit_flicker": ("flicker inside", "{:.2f}"),
    "sharpness": ("sharpness", "{:.2f}"),
    "steady_psnr": ("steady", "{:.2f}"),
    "keyframe_psnr": ("keyframes", "{:.2f}"),
    "artefact": ("faults kept", "{:.2f}"),
}
DASH = "–"
DIGITS = {"SR": 2, "BG-SSIM": 3}  # of the metrics; 4 for the others, which lie close together


def metrics_markdown(report: Mapping[str, Any]) -> str:
    """The six metrics, our rows with half the width of their 95 % interval, the paper's beneath theirs in italics."""
    labels = report["labels"]
    head = ["", "tuned per clip", "told the mask", "added parameters", "s per clip", "scenes x seeds"]
    lines = [_line([*head, *(labels.get(metric, metric) for metric in METRICS)])]
    lines.append("|---" * (len(head) + len(METRICS)) + "|")
    paper = PAPER.get(report["suite"], {})
    told: list[PaperRow] = []
    for name, row in report["table"].items():
        lines.append(_line(_our_cells(row)))
        theirs = paper.get(name)
        if theirs is not None and theirs not in told:
            told.append(theirs)
            lines.append(_line(_paper_cells(theirs)))
    return "\n".join(lines)


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _our_cells(row: Mapping[str, Any]) -> list[str]:
    about = [row["title"], "yes" if row["tunes"] else "no", "yes" if row["sees_mask"] else "no"]
    parameters = f"{row['parameters'] / 1e6:.2f} M"
    if "missing" in row:
        return [*about, parameters, DASH, "weights missing", *[DASH] * len(METRICS)]
    size = f"{row['scenes']} x {row['seeds']}" + (f" ({row['failed']} failed)" if row["failed"] else "")
    seconds = DASH if row.get("seconds") is None else f"{row['seconds']:.1f}"
    return [*about, parameters, seconds, size, *(_with_interval(row, metric) for metric in METRICS)]


def _with_interval(row: Mapping[str, Any], metric: str) -> str:
    value, bounds = row.get(metric), row.get("intervals", {}).get(metric)
    digits = DIGITS.get(metric, 4)
    if value is None:
        return DASH
    if bounds is None:
        return f"{value:.{digits}f}"
    return f"{value:.{digits}f} ± {(bounds['high'] - bounds['low']) / 2:.{digits}f}"


def _paper_cells(row: PaperRow) -> list[str]:
    note = f", {row.note}" if row.note else ""
    cells = [f"*paper: {row.title}{note}*", f"*{'yes' if row.per_video_tuning else 'no'}*", DASH]
    cells += [f"*{row.parameters} in all*" if row.parameters != DASH else DASH, DASH, DASH]
    return cells + [f"*{row.numbers[metric]:g}*" if metric in row.numbers else DASH for metric in METRICS]


def truth_markdown(report: Mapping[str, Any]) -> str:
    """What only a rendered truth can tell; columns that no row has are left out."""
    rows = {name: row for name, row in report["table"].items() if "missing" not in row}
    shown = [key for key in TRUTH_COLUMNS if any(row.get(key) is not None for row in rows.values())]
    lines = [_line(["", *(TRUTH_COLUMNS[key][0] for key in shown)]), "|---" * (len(shown) + 1) + "|"]
    for row in rows.values():
        cells = [DASH if row.get(key) is None else TRUTH_COLUMNS[key][1].format(row[key]) for key in shown]
        lines.append(_line([row["title"], *cells]))
    return "\n".join(lines)


def claims_markdown(verdicts: list[dict]) -> str:
    """The verdicts in one table, and every rule with its effect, interval, margin and the paper's difference."""
    lines = [_line(["claim", "", "verdict"]), "|---|---|---|"]
    lines += [_line([v["claim"], v["title"], f"**{v['verdict']}**"]) for v in verdicts]
    for v in verdicts:
        lines += ["", f"**{v['claim']} {v['title']}**: {v['verdict']}.", f"{v['hypothesis']} {v['experiment']}", ""]
        lines += [_line(["rule", "effect", "95 % interval", "wanted", "scenes x seeds", "the paper's difference", ""])]
        lines += ["|---|---|---|---|---|---|---|", *(_line(_rule_cells(rule)) for rule in v["rules"])]
    return "\n".join(lines)


def _rule_cells(rule: Mapping[str, Any]) -> list[str]:
    effect = rule["effect"]
    wanted = f"above -{rule['margin']:.3g}" if rule["kind"] == "not_worse" else f"at least {rule['margin']:.3g}"
    paper = DASH if rule["paper"] is None else f"*{rule['paper']:g}*"
    outcome = rule["outcome"] + ("" if rule["decides"] else ", told only") + (f": {rule['why']}" if rule["why"] else "")
    if effect is None:
        return [rule["rule"], DASH, DASH, wanted, DASH, paper, outcome]
    size = f"{effect['scenes']} x {effect['seeds']}"
    return [
        rule["rule"],
        f"{effect['mean']:+.3f}",
        f"{effect['low']:+.3f} to {effect['high']:+.3f}",
        wanted,
        size,
        paper,
        outcome,
    ]


def report_markdown(report: Mapping[str, Any]) -> str:
    """The whole report as Markdown."""
    when = f"{report['hardware']['device']}, {report['date'][:10]}; the edits took {report['minutes']:.0f} min"
    about = f"{report['what']} ({when})."
    parts = [about, metrics_markdown(report), truth_markdown(report)]
    if "verdicts" in report:
        parts = [about, claims_markdown(report["verdicts"])]
    missing = {row["missing"] for row in report["table"].values() if "missing" in row}
    notes = [*report["notes"], *(f"Left out: {reason}" for reason in sorted(missing))]
    failed = [f"{f['row']} scene {f['scene']} seed {f['seed']}: {f['error']}" for f in report["failures"]]
    parts += ["\n".join(f"- {note}" for note in [*notes, *failed])]
    if report["suite"] in PAPER:
        parts.append("Rows in italics are the paper's (832x480, 81 frames, other clips and encoders), not ours.")
    return "\n\n".join(parts) + "\n"


def table_csv(table: Mapping[str, Mapping[str, Any]]) -> str:
    """One line per row: all columns, and the ends of each interval as COLUMN_low and COLUMN_high."""
    lines = []
    for name, row in table.items():
        flat = {"row": name} | {key: value for key, value in row.items() if key not in ("intervals", "note")}
        for column, bounds in row.get("intervals", {}).items():
            flat |= {f"{column}_{end}": bounds[end] for end in ("low", "high")}
        lines.append(flat)
    return _csv(lines)


def verdicts_csv(verdicts: list[dict]) -> str:
    """One line per rule."""
    lines = []
    for verdict in verdicts:
        for rule in verdict["rules"]:
            flat = {"claim": verdict["claim"], "verdict": verdict["verdict"]}
            flat |= {key: value for key, value in rule.items() if key != "effect"} | (rule["effect"] or {})
            lines.append(flat)
    return _csv(lines)


def _csv(lines: list[dict]) -> str:
    fields = list(dict.fromkeys(key for line in lines for key in line))
    text = io.StringIO()
    writer = csv.DictWriter(text, fields, lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue()


def report_json(report: Mapping[str, Any]) -> str:
    """The report as JSON, its records one per line: short, and readable in a difference of two versions."""
    head = {key: value for key, value in report.items() if key != "records"}
    text = json.dumps(head, indent=1, ensure_ascii=False, allow_nan=False)
    lines = [json.dumps(record, ensure_ascii=False, allow_nan=False) for record in report["records"]]
    joined = ",\n  ".join(lines)
    return f'{text[:-2]},\n "records": [\n  {joined}\n ]\n}}\n'
