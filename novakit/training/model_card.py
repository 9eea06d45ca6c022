"""The model card of the nano weights, written from what the runs left behind: nothing in it is typed by hand.

Source: ours.
"""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from novakit.files import atomic_path, atomic_write_json, atomic_write_text

PARTS = ("vae_codes", "vae", "vae_whole", "main", "sparse", "base", "nova")
MACHINE = "machine.json"  # in the folder of a run: where its last sitting took place
HISTORY = "history.json"  # the sittings, beside the weights and in the folder of runs


def read_log(run: Path) -> list[dict[str, Any]]:
    """The lines of a run's log."""
    lines = (run / "log.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def wall_minutes(run: Path) -> float:
    """Minutes between the first and the last entry of a run's TensorBoard logs, summed over its sittings."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    seconds = 0.0
    for file in (run / "tensorboard").rglob("events*"):
        events = EventAccumulator(str(file)).Reload()
        times = [event.wall_time for tag in events.Tags()["scalars"] for event in events.Scalars(tag)]
        seconds += max(times) - min(times) if times else 0.0
    return seconds / 60


def sittings(root: Path) -> list[dict[str, Any]]:
    """Every training that the weights went through: those before `unpack`, then the runs in `root`.

    A row: part, steps, wall minutes, last training and validation score, date, what it started from and ran on.
    """
    before = root / HISTORY
    rows = json.loads(before.read_text(encoding="utf-8")) if before.exists() else []
    return rows + [_sitting(root, part) for part in PARTS if (root / part / "log.jsonl").exists()]


def _sitting(root: Path, part: str) -> dict[str, Any]:
    """What the log of one run says."""
    log, run = read_log(root / part), root / part
    last = {group: [line for line in log if line["group"] == group][-1:] for group in ("train", "validation")}
    train, held_out = (lines[0] if lines else {} for lines in last.values())
    metric = "psnr" if part.startswith("vae") else "loss"
    ended = datetime.fromtimestamp((run / "log.jsonl").stat().st_mtime, tz=UTC)
    return {
        "part": part,
        "steps": train.get("step", 0),
        "minutes": round(wall_minutes(run)),
        "train": train.get(metric),
        "validation": held_out.get(metric),
        "date": ended.date().isoformat(),
        "start": "earlier weights" if (run / "start.safetensors").exists() else "nothing",
        "machine": _machine(run),
    }


def _machine(run: Path) -> str:
    """Where the last sitting of a run took place: processor or card, and torch."""
    if not (run / MACHINE).exists():
        return "–"
    made = json.loads((run / MACHINE).read_text(encoding="utf-8"))
    hardware = made["hardware"]
    card = hardware["device"].partition(",")[0].removeprefix("CUDA: ")
    where = f"{hardware['cpu']}, {hardware['cores']} cores" if hardware["device"].startswith("CPU") else card
    return f"{where}; torch {made['versions']['torch']}"


def part_row(row: dict[str, Any]) -> str:
    """One line of the table of sittings."""
    unit = " dB" if row["part"].startswith("vae") else ""
    scores = ("–" if row[key] is None else f"{row[key]:.3f}{unit}" for key in ("train", "validation"))
    cells = (row["part"], row["start"], row["steps"], row["minutes"], *scores, row["date"], row.get("machine", "–"))
    return "| " + " | ".join(map(str, cells)) + " |"


def quoted(file: Path | None, otherwise: str = "") -> list[str]:
    """The text of a file as lines of the card, or another line where there is none."""
    return [file.read_text(encoding="utf-8").rstrip() if file and file.exists() else otherwise]


def pictured(scores: Path | None, target: Path) -> list[str]:
    """The contact sheet that `novakit score` laid beside its tables, copied beside the card."""
    sheet = scores.with_suffix(".png") if scores else None
    if sheet is None or not sheet.exists():
        return []
    with atomic_path(target / sheet.name) as partial:
        shutil.copyfile(sheet, partial)
    return [f"![Best, median and worst scene of the score]({sheet.name})", ""]


def write_card(root: Path, target: Path, scores: Path | None = None) -> Path:
    """Write `target/README.md`, `target/history.json` and the contact sheet of the scores.

    Args:
        root: folder of the runs (`novakit pretrain --folder`).
        target: the pipeline folder.
        scores: nano_score.md of `novakit score`, or None.

    Remarks on the run that no log knows stand in `root/notes.md`.
    """
    rows = sittings(root)
    hours = sum(row["minutes"] for row in rows) / 60
    atomic_write_json(target / HISTORY, rows)
    lines = [
        "# novakit nano: weights",
        "",
        "A small NOVA (VAE, base, dense cross-attention) for clips of 33 frames at 64x96 px, trained by novakit on its",
        "own procedural world. Apache-2.0. For teaching and testing; not the paper's model and not of its size.",
        "",
        "## Training",
        "Data: scenes of `novakit.scenes`, split `train` (procedural textures and public-domain photographs).",
        "Stages: `novakit pretrain --stage vae`, `base` (main, sparse, base), `nova` (base frozen, as in the paper).",
        "A machine that is not named: two cores of an AMD EPYC, shared with other work.",
        "",
        "| part | started from | steps | wall minutes | last training score | last validation score | date | machine |",
        "|---|---|---|---|---|---|---|---|",
        *map(part_row, rows),
        "",
        "(VAE parts: PSNR of the round trip. Other parts: flow-matching loss; no unit, smaller is better.)",
        "",
        *quoted(root / "notes.md"),
        "",
        "## Scores",
        *quoted(scores, "Not scored yet: `novakit score --out notebooks/recorded`."),
        "",
        "## Known failures",
        f"Trained for {hours:.1f} hours in all, so: pictures are soft, fine texture inside",
        "an edit is lost, and between keyframes a fast object shows the double image of the interpolated control. Real",
        "footage lies outside what it has seen.",
        "",
        *pictured(scores, target),
    ]
    return atomic_write_text(target / "README.md", "\n".join(lines))
