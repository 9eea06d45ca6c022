"""One figure per suite: metrics of all rows with intervals, curves of robustness, or the effects of the claims.

Source: ours.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from novakit.evaluation.metrics import METRICS
from novakit.evaluation.suites.curves import curve
from novakit.evaluation.suites.rules import FAILS, HOLDS
from novakit.files import atomic_path

REFERENCE_COLOUR, ROW_COLOUR, NOVA_COLOUR = "0.55", "tab:blue", "tab:orange"
VERDICT_COLOURS = {HOLDS: "tab:green", FAILS: "tab:red"}
CURVES = {"BG-SSIM": "BG-SSIM", "between_psnr": "PSNR inside, between keyframes (dB)", "SR": "success rate"}


def draw(report: Mapping[str, Any], path: Path) -> Path:
    """Draw the figure of a report as PNG.

    Args:
        report: what `report_json` writes; `families` names the rows of every curve.
        path: file to write.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    if "verdicts" in report:
        figure = _effects(plt, report["verdicts"])
    elif report["suite"] == "robustness":
        figure = _curves(plt, report)
    else:
        figure = _metrics(plt, report)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=110)
    plt.close(figure)
    return path


def colour_of(name: str) -> str:
    if name in ("source", "interpolation", "round_trip", "blurred_source"):
        return REFERENCE_COLOUR
    return NOVA_COLOUR if name == "nova" else ROW_COLOUR


def _metrics(plt, report: Mapping[str, Any]):
    """Six panels: each row a dot with its 95 % interval."""
    rows = {name: row for name, row in report["table"].items() if "missing" not in row and row["scenes"]}
    figure, axes = plt.subplots(2, 3, figsize=(13, 1.8 + 0.62 * len(rows)), sharey=True, layout="constrained")
    places = range(len(rows) - 1, -1, -1)
    for axis, metric in zip(axes.flat, METRICS):
        for place, (name, row) in zip(places, rows.items()):
            if row.get(metric) is not None:
                dot(axis, row, metric, place, colour_of(name))
        axis.set_title(report["labels"].get(metric, metric), fontsize=9)
        axis.grid(axis="x", alpha=0.3)
        axis.locator_params(axis="x", nbins=4)
        axis.set_yticks(list(places), [textwrap.fill(row["title"], 34) for row in rows.values()], fontsize=8)
    figure.suptitle(f"{report['suite']}: {report['what']}; bars are 95 % intervals over scenes", fontsize=10)
    return figure


def dot(axis, row: Mapping[str, Any], metric: str, place: float, colour: str) -> None:
    value, bounds = row[metric], row.get("intervals", {}).get(metric)
    error = None if bounds is None else [[max(0, value - bounds["low"])], [max(0, bounds["high"] - value)]]
    axis.errorbar([value], [place], xerr=error, fmt="o", color=colour, capsize=3, markersize=5)


def _curves(plt, report: Mapping[str, Any]):
    """Above: against the keyframe interval; below: corruption, quality in against out, single rows; right: clips."""
    table = {name: row for name, row in report["table"].items() if "missing" not in row and row["scenes"]}
    figure, axes = plt.subplots(2, 4, figsize=(17, 7.5), layout="constrained")
    for axis, (column, label) in zip(axes[0], CURVES.items()):
        _intervals(axis, report["families"], table, column)
        axis.set(xlabel="keyframe interval (frames)", title=label)
        axis.legend(fontsize=8)
    for axis, column in zip(axes[:, 3], ("BG-SSIM", "between_psnr")):
        _training_set(axis, report["families"], table, column)
    _corruption(axes[1, 0], report["families"], table)
    _quality(axes[1, 1], report["families"], table)
    _others(axes[1, 2], table)
    for axis in axes.flat:
        axis.grid(alpha=0.3)
    figure.suptitle(f"robustness: {report['what']}", fontsize=10)
    return figure


def _intervals(axis, families: Mapping[str, tuple[str, ...]], table: Mapping[str, Mapping], column: str) -> None:
    """Solid: clips of one window; dashed: long ones."""
    for family, names in families.items():
        if family.startswith(("NOVA", "interpolated")):
            rows = {table[name]["interval"]: table[name] for name in names if name in table}
            colour = NOVA_COLOUR if family.startswith("NOVA") else REFERENCE_COLOUR
            style = "o--" if "," in family else "o-"
            curve(axis, rows, column, family, colour, style)


def _training_set(axis, families: Mapping[str, tuple[str, ...]], table: Mapping[str, Mapping], column: str) -> None:
    rows = [table[name] for name in families["training set"] if name in table]
    clips = [float(row["title"].split()[-2].replace(",", "")) for row in rows]
    curve(axis, dict(zip(clips, rows)), column, "small trainings", "tab:green")
    axis.set(xlabel="clips in the training set", title=CURVES[column], xscale="log")


def _strength(name: str) -> float:
    return float(name.rpartition("_")[2]) if "_" in name else 0.0


def _corruption(axis, families: Mapping[str, tuple[str, ...]], table: Mapping[str, Mapping]) -> None:
    for family, colour in (("degraded", "tab:purple"), ("faulty", "tab:red")):
        rows = {_strength(name): table[name] for name in families[family] if name in table}
        curve(axis, rows, "between_psnr", f"{family} keyframes", colour)
    axis.set(xlabel="strength of the corruption", title="PSNR inside, between keyframes (dB)")
    axis.legend(fontsize=8)


def _quality(axis, families: Mapping[str, tuple[str, ...]], table: Mapping[str, Mapping]) -> None:
    """Pooled PSNR inside the mask: of the keyframes that went in, and of the edit between them."""
    for family, colour in (("degraded", "tab:purple"), ("faulty", "tab:red")):
        rows = [table[name] for name in families[family][1:] if name in table]
        pairs = [(row.get("keyframe_pooled"), row.get("between_pooled")) for row in rows]
        pairs = sorted(pair for pair in pairs if None not in pair)
        axis.plot(*zip(*pairs), "o-", color=colour, label=f"{family} keyframes") if pairs else None
    if table.get("nova", {}).get("between_pooled") is not None:
        axis.axhline(table["nova"]["between_pooled"], color=NOVA_COLOUR, linestyle=":", label="keyframes of the truth")
    axis.set(
        xlabel="keyframes in (dB)", ylabel="edit out (dB)", title="quality in against quality out, inside the mask"
    )
    axis.legend(fontsize=8)


def _others(axis, table: Mapping[str, Mapping]) -> None:
    """Success of the rows that stand alone."""
    names = ("nova", "editor_nano", "editor_poster", "irregular", "global_style", "interpolation", "source")
    shown = [(name, table[name]) for name in names if table.get(name, {}).get("SR") is not None]
    for place, (name, row) in zip(range(len(shown) - 1, -1, -1), shown):
        dot(axis, row, "SR", place, colour_of(name))
    labels = [textwrap.fill(row["title"], 24) for _, row in shown]
    axis.set_yticks(range(len(shown) - 1, -1, -1), labels, fontsize=8)
    axis.set(title="success rate", xlim=(-0.05, 1.05))


def _effects(plt, verdicts: list[dict]):
    """Every rule's effect in units of what was wanted: right of the line it passes."""
    lines = [(verdict, rule) for verdict in verdicts for rule in verdict["rules"]]
    figure, axis = plt.subplots(figsize=(11, 1.5 + 0.24 * len(lines)), layout="constrained")
    for place, (verdict, rule) in zip(range(len(lines) - 1, -1, -1), lines):
        colour = VERDICT_COLOURS.get(verdict["verdict"], "0.6")
        if rule["effect"] is not None:
            unit = rule["margin"] or max(abs(rule["effect"][end]) for end in ("low", "high")) or 1.0
            mean, low, high = (max(-4.0, min(4.0, rule["effect"][key] / unit)) for key in ("mean", "low", "high"))
            marker = {"passes": "o", "fails": "X"}.get(rule["outcome"], "d")
            axis.errorbar([mean], [place], xerr=[[mean - low], [high - mean]], fmt=marker, color=colour, capsize=2)
            wanted = -1 if rule["kind"] == "not_worse" else 1 if rule["margin"] else 0
            axis.plot([wanted, wanted], [place - 0.4, place + 0.4], color="0.3", linewidth=1)
    axis.axvline(0, color="0.7", linewidth=1)
    labels = [
        f"{verdict['claim']}  {rule['rule'][:66]}{'' if rule['decides'] else ' (told)'}" for verdict, rule in lines
    ]
    axis.set_yticks(range(len(lines) - 1, -1, -1), labels, fontsize=7)
    axis.set(
        xlim=(-4.2, 4.2), xlabel="effect in units of the margin, 95 % interval, cut at 4; the tick is what is wanted"
    )
    axis.margins(y=0.01)
    axis.set_title(
        "claims: green holds, red does not hold, grey cannot be tested here; cross = the rule fails", fontsize=10
    )
    return figure
