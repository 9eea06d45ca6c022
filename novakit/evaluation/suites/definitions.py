"""The four suites: which rows they hold, on how many scenes and seeds, and what must be said beside their tables.

Source: tables and claims are the paper's; rows, sizes and notes are ours.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from novakit.errors import NovaError
from novakit.evaluation.suites.given import degraded, faulty, painted, whole_frame_style
from novakit.evaluation.suites.long_clips import LONG, edit_in_windows
from novakit.evaluation.suites.notes import NOTES
from novakit.evaluation.suites.rows import (
    INTERPOLATION,
    NOVA,
    REFERENCES,
    Row,
    blurred,
    frame_local,
    interpolated,
    with_blurred_source,
    without_dense,
)
from novakit.evaluation.suites.running import Plan

FULL = (64, 2)  # scenes and seeds of NOVA's own rows and of baselines that need no tuning
SMALL = (16, 1)  # of rows that tune per clip, and of robustness
ONE_SEED = (64, 1)  # of baselines without tuning and of small trainings: 16 scenes would leave "not worse" undecided
TRAINING_SETS = {"clips_28": "28", "clips_112": "112", "reference": "1,120"}  # variant -> clips it learned from
INTERVALS = (4, 8, 12, 16, 20)
TRAINED_AT_8 = (8, 12, 16, 20)  # intervals at which the weights trained at 8 are measured
DEGRADED = (0.25, 0.5, 1.0)  # strength of the operations of eq. 2
FAULTY = (0.5, 1.0, 2.0)  # factor of an editor's faults
REACHES = {0: "its own latent frame", 2: "its own latent frame and two on each side"}  # frame-local attention
HALF = 0.5  # strength of the degraded keyframes of claim C10


@dataclass(frozen=True)
class Suite:
    """One suite of `novakit eval`."""

    name: str
    plans: tuple[Plan, ...]
    notes: tuple[str, ...]
    families: Mapping[str, tuple[str, ...]]  # name of a curve of the figure -> its rows, in order


def baseline_row(baseline: Any) -> Row:
    """A row of Table 1 from an entry of `novakit.evaluation.baselines.BASELINES`."""
    return Row(
        baseline.name,
        baseline.title,
        baseline.edit,
        weights=baseline.needs_weights,
        tunes=baseline.per_video_tuning,
        sees_mask=baseline.sees_mask,
        parameters=baseline.parameters,
        note=f"Kept: {baseline.kept} Left out: {baseline.left_out}",
    )


def _table1(baselines: Mapping[str, Any]) -> list[Plan]:
    rows = [NOVA, *(baseline_row(baseline) for baseline in baselines.values()), *REFERENCES]
    own = {NOVA.name, *(row.name for row in REFERENCES)}
    return [Plan(row, *(FULL if row.name in own else SMALL if row.tunes else ONE_SEED)) for row in rows]


def _nova(name: str, title: str, **changes: Any) -> Row:
    """A row of NOVA that differs from the first one in what is named."""
    return replace(NOVA, name=name, title=title, **changes)


def _table2() -> list[Plan]:
    independent = "NOVA, edited keyframes, independent (w/o consistency-aware keyframes)"
    rows = [
        NOVA,
        Row("no_dense", "NOVA w/o dense branch", without_dense),
        _nova("edited_consistent", "NOVA, edited keyframes, consistent", keyframes=faulty(consistent=True)),
        _nova("edited_independent", independent, keyframes=faulty(consistent=False)),
        _nova("blurred_dense", "NOVA, blurred dense input", edit=with_blurred_source),
        Row("blurred_source", "blurred source, unedited", lambda pipe, task: blurred(task.source), seeded=False),
        *REFERENCES,
    ]
    return [Plan(row, *FULL) for row in rows]


def _at(row: Row, interval: int) -> Row:
    """A row at another keyframe interval."""
    if interval == row.interval:
        return row
    return replace(row, name=f"{row.name}_at_{interval}", title=f"{row.title}, interval {interval}", interval=interval)


def _robustness() -> list[Plan]:
    spoilt = [
        *(
            _nova(f"degraded_{s:g}", f"NOVA, degraded keyframes, strength {s:g}", keyframes=degraded(s))
            for s in DEGRADED
        ),
        *(
            _nova(f"faulty_{f:g}", f"NOVA, faulty keyframes, strength {f:g}", keyframes=faulty(f, consistent=False))
            for f in FAULTY
        ),
    ]
    others = [
        _nova("editor_nano", "NOVA, keyframes of the offline editor", keyframes=painted("plain")),
        _nova("editor_poster", "NOVA, keyframes of its poster style", keyframes=painted("poster")),
        _nova("irregular", "NOVA, keyframes at irregular places", irregular=True),
        Row("interpolation_irregular", "interpolated keyframes, irregular", interpolated, irregular=True),
        _nova("global_style", "NOVA, whole frame in another style", keyframes=whole_frame_style),
    ]
    spaced = [_at(row, k) for row in (NOVA, INTERPOLATION) for k in INTERVALS]
    rest = [row for row in REFERENCES if row.name != "interpolation"]
    local = [
        _nova(f"local_{n}", f"NOVA, the dense branch sees {said}", edit=frame_local(n)) for n, said in REACHES.items()
    ]
    sizes = [_on_clips(name) for name in TRAINING_SETS]
    plans = [Plan(row, *SMALL) for row in [*spaced, *_long(), *spoilt, *others, *local, *rest]]
    return [*plans, *(Plan(row, *ONE_SEED) for row in sizes)]


def _long() -> list[Row]:
    """Clips of 81 frames in three windows, at every interval."""
    rows = []
    for k in INTERVALS:
        long, said = {"num_frames": LONG, "interval": k}, f"{LONG} frames, interval {k}"
        rows.append(_nova(f"long_nova_at_{k}", f"NOVA, {said}", edit=edit_in_windows, **long))
        name = f"long_interpolation_at_{k}"
        rows.append(replace(INTERPOLATION, name=name, title=f"interpolated keyframes, {said}", **long))
    return rows


def _trained(variant: str, name: str, title: str, **changes: Any) -> Row:
    """A row of NOVA with the weights of a small training."""

    def parameters(pipe: Any) -> int:
        from novakit.training.variants.train import trained_parameters

        return trained_parameters(variant, pipe)

    return _nova(name, title, weights=variant, parameters=parameters, **changes)


def _on_clips(name: str) -> Row:
    """The full recipe on a training set of TRAINING_SETS."""
    return _trained(name, name, f"small training: the full recipe, {TRAINING_SETS[name]} clips")


def _variants() -> list[Plan]:
    """Rows that need small trainings of their own; only claims ask for them."""
    eight = [
        _trained("interval_8", f"interval_8_at_{k}", f"trained at interval 8, edited at {k}", interval=k)
        for k in TRAINED_AT_8
    ]
    spoilt = degraded(HALF)
    rows = [
        *eight,
        _on_clips("reference"),
        _trained("add", "add", "small training: dense features added"),
        _trained("reference", "reference_degraded", "the full recipe, degraded keyframes", keyframes=spoilt),
        _trained(
            "no_degradation", "no_degradation_degraded", "trained without degradations, the same", keyframes=spoilt
        ),
    ]
    return [Plan(row, *ONE_SEED) for row in rows]


def _claims(baselines: Mapping[str, Any]) -> list[Plan]:
    """Every row that a claim compares, as large as its table makes it; those of no table on ONE_SEED."""
    from novakit.evaluation.suites.claims import CLAIMS

    wanted = {name for claim in CLAIMS.values() for name in claim.rows}
    alone = [Plan(plan.row, *ONE_SEED) for plan in _robustness()]
    found = {plan.row.name: plan for plan in [*alone, *_variants(), *_table2(), *_table1(baselines)]}
    return [plan for name, plan in found.items() if name in wanted]


SUITES = ("table1", "table2", "robustness", "claims")
FAMILIES: dict[str, tuple[str, ...]] = {
    "NOVA": tuple(_at(NOVA, k).name for k in INTERVALS),
    "interpolated keyframes": tuple(_at(INTERPOLATION, k).name for k in INTERVALS),
    f"NOVA, {LONG} frames": tuple(f"long_nova_at_{k}" for k in INTERVALS),
    f"interpolated keyframes, {LONG} frames": tuple(f"long_interpolation_at_{k}" for k in INTERVALS),
    "degraded": ("nova", *(f"degraded_{s:g}" for s in DEGRADED)),
    "faulty": ("nova", *(f"faulty_{f:g}" for f in FAULTY)),
    "training set": tuple(TRAINING_SETS),
}


def get_suite(name: str, baselines: Mapping[str, Any], scenes: int | None = None, seeds: int | None = None) -> Suite:
    """A suite by name.

    Args:
        name: one of SUITES.
        baselines: of `novakit.evaluation.baselines.BASELINES`.
        scenes, seeds: for every row; None = each row's own (FULL, SMALL or ONE_SEED).

    Raises:
        NovaError: no suite of that name, or numbers below 1.
    """
    if name not in SUITES:
        raise NovaError(f"There is no suite {name!r}; the suites are: {', '.join(SUITES)}.")
    if any(number is not None and number < 1 for number in (scenes, seeds)):
        raise NovaError(f"scenes is {scenes} and seeds {seeds}; both must be at least 1.")
    plans: Iterable[Plan] = {
        "table1": lambda: _table1(baselines),
        "table2": _table2,
        "robustness": _robustness,
        "claims": lambda: _claims(baselines),
    }[name]()
    sized = tuple(Plan(plan.row, scenes or plan.scenes, seeds or plan.seeds) for plan in plans)
    return Suite(name, sized, NOTES[name], FAMILIES)
