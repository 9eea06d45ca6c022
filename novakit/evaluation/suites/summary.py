"""From records to a table: means with intervals, medians of traces, and the small subset that a rerun can check.

Source: ours.
"""

from __future__ import annotations

import math
import statistics as numbers
from collections.abc import Mapping
from typing import Any

from novakit.evaluation.suites.running import Plan
from novakit.evaluation.suites.scores import TRACES
from novakit.evaluation.suites.statistics import estimate
from novakit.evaluation.suites.store import Store
from novakit.scenes import EDITS

SUBSET = (16, 1)  # scenes and seeds of the subset
ABOUT = ("row", "scene", "seed", "edit", "moving", "still_camera", "error")  # keys of a record that are no scores


def columns_of(records: list[dict]) -> list[str]:
    """Names of all scores, in the order in which they were recorded."""
    return list(dict.fromkeys(key for record in records for key in record if key not in ABOUT))


def summarise_row(records: list[dict], intervals: bool = True) -> dict[str, Any]:
    """Every column of one row.

    Args:
        records: of one row; failures are counted and left out.
        intervals: also the 95 % interval of each mean.

    Returns:
        scenes, seeds, failed, and per column its mean (traces: the median, seconds: the median too), None where no
        scene has a value. A PSNR gets a pooled one beside it: that of the mean squared error. With `intervals`
        {"low", "high"} of the means stand under "intervals", from two scenes on.
    """
    good = [record for record in records if "error" not in record]
    summary: dict[str, Any] = {
        "scenes": len({r["scene"] for r in good}),
        "seeds": len({r["seed"] for r in good}),
        "failed": len(records) - len(good),
    }
    bounds = {}
    for column in columns_of(good):
        values = {(r["scene"], r["seed"]): r[column] for r in good if r.get(column) is not None}
        if not values:
            summary[column] = None
        elif column in (*TRACES, "seconds"):
            summary[column] = round(numbers.median(values.values()), 5)
        else:
            summary[column] = round(math.fsum(values.values()) / len(values), 5)
            if column.endswith("_psnr"):
                summary[column[:-4] + "pooled"] = round(_pooled(values.values()), 5)
            if intervals and (found := estimate(values)) and found.scenes > 1:
                bounds[column] = {"low": round(found.low, 5), "high": round(found.high, 5)}
    return summary | ({"intervals": bounds} if intervals else {})


def _pooled(decibels) -> float:
    """PSNR of the mean squared error of many clips."""
    errors = [10.0 ** (-value / 10.0) for value in decibels]
    return -10.0 * math.log10(math.fsum(errors) / len(errors))


def summarise(plans: tuple[Plan, ...], store: Store, missing: Mapping[str, str], pipe: Any) -> dict:
    """The table of a suite: row -> summary, with what is known about the row itself.

    Args:
        plans: of the suite.
        store: where the records lie.
        missing: variant -> why its weights cannot be loaded.
        pipe: NovaEditPipeline; how many parameters a row adds depends on its base.
    """
    table = {}
    for plan in plans:
        row = plan.row
        about = {"title": row.title, "tunes": row.tunes, "sees_mask": row.sees_mask, "interval": row.interval}
        about["parameters"] = row.parameters(pipe)
        records = store.select(row.name, plan.scenes, plan.used_seeds)
        if row.weights in missing and not records:
            table[row.name] = {**about, "missing": missing[row.weights], "note": row.note}
            continue
        table[row.name] = {**about, "note": row.note, **summarise_row(records)}
    return table


def subset(plans: tuple[Plan, ...], store: Store) -> dict[str, dict]:
    """Means on the first 16 scenes and seed 0, which `--scenes 16 --seeds 1` measures again."""
    scenes, seeds = SUBSET
    tables = {plan.row.name: store.select(plan.row.name, min(scenes, plan.scenes), seeds) for plan in plans}
    return {name: summarise_row(records, intervals=False) for name, records in tables.items() if records}


def by_edit(plans: tuple[Plan, ...], store: Store) -> dict[str, dict]:
    """A few columns by kind of edit: edit -> row -> column -> mean."""
    result: dict[str, dict] = {}
    for edit in EDITS:
        for plan in plans:
            records = store.select(plan.row.name, plan.scenes, plan.used_seeds)
            chosen = summarise_row([r for r in records if r.get("edit") == edit], intervals=False)
            if chosen["scenes"]:
                few = ("scenes", "SR", "BG-SSIM", "inside_psnr", "outside_psnr")
                result.setdefault(edit, {})[plan.row.name] = {key: chosen.get(key) for key in few}
    return result
