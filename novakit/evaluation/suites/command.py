"""`novakit eval`: run a suite, go on where it stopped, write CSV, JSON, a figure and Markdown.

Source: ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from novakit import __version__
from novakit.evaluation.suites.claims import CLAIMS
from novakit.evaluation.suites.definitions import Suite, get_suite
from novakit.evaluation.suites.figures import draw
from novakit.evaluation.suites.rules import decide
from novakit.evaluation.suites.running import Bench, work
from novakit.evaluation.suites.scores import Judge
from novakit.evaluation.suites.store import Store
from novakit.evaluation.suites.summary import by_edit, subset, summarise
from novakit.evaluation.suites.weights import fingerprint
from novakit.evaluation.suites.writing import report_json, report_markdown, table_csv, verdicts_csv
from novakit.files import atomic_write_text, require_writable_folder
from novakit.provenance import provenance


def evaluate(
    suite: str,
    out: str | Path,
    *,
    scenes: int | None = None,
    seeds: int | None = None,
    device: str = "auto",
    folder: str | Path | None = None,
    encoder: str = "embedded",
    resume: bool = True,
    progress: bool = True,
) -> Path:
    """Run one suite with the shipped weights, or with those of a folder.

    Args:
        suite: "table1", "table2", "robustness" or "claims".
        out: results folder. All suites may share one; the claims then use what the tables have measured.
        scenes, seeds: for every row; None = 64 scenes and 2 seeds, 16 and 1 for rows that tune per clip and for
            robustness, 64 and 1 for baselines without tuning and for small trainings.
        device: "auto", "cpu" or "cuda".
        folder: another pipeline folder than the shipped weights.
        encoder: of TC, FC and BC, see `novakit.evaluation.encoders.get_encoder`.
        resume: go on with the records in `out`; False refuses a folder that has some.
        progress: show a progress bar, and print the tables at the end.

    Returns:
        The JSON file, `out/SUITE.json`; beside it SUITE.csv, SUITE.md and SUITE.png.

    Raises:
        NovaError: unknown suite or encoder, numbers below 1, weights missing, or a folder whose records were made with
            another version, other weights, another encoder or other settings.
    """
    from novakit.evaluation.baselines import BASELINES

    chosen = get_suite(suite, BASELINES, scenes, seeds)  # refuses bad numbers before anything is loaded
    require_writable_folder(out)
    return run_suite(chosen, Path(out), real_bench(device, folder, encoder), resume=resume, progress=progress)


def real_bench(device: str, folder: str | Path | None, encoder: str) -> Bench:
    """The shipped pipeline (or a folder's), the six metrics with an encoder, and the trained variants."""
    from novakit.editing.loading import load_folder
    from novakit.editing.pipeline import NovaEditPipeline
    from novakit.evaluation.encoders import get_encoder
    from novakit.evaluation.metrics import measure_clips, metric_labels
    from novakit.training.variants.train import load_variant

    eye = get_encoder(encoder)
    if folder is None:
        pipe = NovaEditPipeline.from_preset("nano", device=device)
    else:
        pipe = load_folder(NovaEditPipeline, Path(folder), device)
    pipe.set_progress_bar_config(disable=True)
    return Bench(pipe, Judge(measure_clips, eye, metric_labels(eye)), pipe.preset.steps, load_variant)


def run_suite(suite: Suite, out: Path, bench: Bench, *, resume: bool = True, progress: bool = True) -> Path:
    """`evaluate` with everything handed over: the suite, the pipeline, the metrics.

    Raises:
        NovaError: as `evaluate`.
    """
    store = open_store(out, bench, resume)
    work(list(suite.plans), store, bench, progress)
    report = make_report(suite, store, bench)
    rows = verdicts_csv(report["verdicts"]) if "verdicts" in report else table_csv(report["table"])
    atomic_write_text(out / f"{suite.name}.csv", rows)
    atomic_write_text(out / f"{suite.name}.md", text := report_markdown(report))
    draw(report, out / f"{suite.name}.png")
    if progress:
        print(text)
    return atomic_write_text(out / f"{suite.name}.json", report_json(report))


def open_store(out: Path, bench: Bench, resume: bool = True) -> Store:
    """The records of a folder, if they were made as this run would make them.

    Raises:
        NovaError: they were made otherwise, or are there although `resume` is False.
    """
    from novakit.errors import NovaError

    if not resume and (out / "records").exists():
        raise NovaError(f"{out} holds records already and resume is off. Choose another folder, or let it go on.")
    config = {
        "version": __version__,
        "weights": fingerprint(bench.pipe.vae, bench.pipe.transformer),
        "encoder": bench.judge.encoder.name,
        "metrics": sorted(bench.judge.labels.values()),
        "steps": bench.steps,
        "precision": str(bench.pipe.transformer.dtype).removeprefix("torch."),
    }
    return Store(out, config)


def make_report(suite: Suite, store: Store, bench: Bench) -> dict[str, Any]:
    """Everything that a suite knows, ready for JSON."""
    table = summarise(suite.plans, store, bench.missing, bench.pipe)
    records = [r for plan in suite.plans for r in store.select(plan.row.name, plan.scenes, plan.used_seeds)]
    report = {
        "suite": suite.name,
        "what": _what(suite, bench.steps),
        "table": table,
        "subset": subset(suite.plans, store),
        "by_edit": by_edit(suite.plans, store),
        "labels": bench.judge.labels,
        "families": {name: list(rows) for name, rows in suite.families.items()},
        "notes": list(suite.notes),
        "failures": [record for record in records if "error" in record],
        "config": store.config,
        "minutes": round(sum(record.get("seconds", 0.0) for record in records) / 60, 1),  # of editing, in all sittings
        **provenance(device=str(bench.pipe.device)),
        "records": [record for record in records if "error" not in record],
    }
    if suite.name == "claims":
        report["verdicts"] = verdicts(suite, store, bench.missing)
        report["records"] = [r for r in records if "error" not in r and _only_claims(r["row"])]
    return report


def _only_claims(row: str) -> bool:
    """True for rows that no other suite records, or records on fewer scenes."""
    return row.startswith(("interval_8", "reference", "add", "no_degradation", "editor_"))


def _what(suite: Suite, steps: int) -> str:
    sizes = sorted({(plan.scenes, plan.seeds) for plan in suite.plans}, reverse=True)
    told = " or ".join(f"{scenes} scenes x {seeds} {'seed' if seeds == 1 else 'seeds'}" for scenes, seeds in sizes)
    return f"held-out test scenes, {told}, keyframe interval 8 unless said, {steps} steps"


def verdicts(suite: Suite, store: Store, missing: Mapping[str, str]) -> list[dict]:
    """The ten claims, decided on the records of the suite's rows."""
    plans = {plan.row.name: plan for plan in suite.plans}
    records = {name: store.select(name, plan.scenes, plan.used_seeds) for name, plan in plans.items()}
    unseeded = frozenset(name for name, plan in plans.items() if not plan.row.seeded)
    absent = {name: missing[plan.row.weights] for name, plan in plans.items() if plan.row.weights in missing}
    return [decide(claim, records, unseeded, absent) for claim in CLAIMS.values()]
