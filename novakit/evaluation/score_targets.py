"""`novakit score`: what was wanted of the nano weights, what they do, and what three rows do that know the answer.

The targets were written down before the measurement, and none was moved since. For PSNR inside the mask the three are
ceilings: what NOVA misses even when it is told the truth at every frame wants another cross-attention, base or VAE. For
ghost, double image and flicker they are a guide only: a row may happen to leave less of a trace than the VAE.
Source: ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from novakit.evaluation.benchmark.measuring import Target

COMPARED = ("interpolation", "vace_grey", "vace_source")  # rows that every kind of edit should beat
REGIONS = ("inside_psnr", "outside_psnr")
TOLD = {  # rows that know the answer
    "nova_told": "NOVA told every frame",
    "base_told": "its base told every frame",
    "round_trip": "the VAE alone",
}


@dataclass(frozen=True)
class Outcome:
    """A target and what came of it.

    Args:
        target: what was wanted.
        value: what NOVA does; None = not measured.
        told: the same of every row of TOLD, where that means anything.
        digits: that are printed; the unrounded value decides.
    """

    target: Target
    value: float | None
    told: tuple[float | None, ...] = (None,) * len(TOLD)
    digits: int = 2

    def cells(self) -> list[str]:
        """What, wanted, measured, the rows of TOLD, met or missed."""
        wanted = f"at {'least' if self.target.at_least else 'most'} {self.target.value:g}{self.target.unit}"
        verdict = "not measured" if self.value is None else "met" if self.target.met(self.value) else "missed"
        return [self.target.what, wanted, *map(self._number, (self.value, *self.told)), verdict]

    def _number(self, value: float | None) -> str:
        return "–" if value is None else f"{value:.{self.digits}f}{self.target.unit}"


def outcomes(report: Mapping[str, Any]) -> list[Outcome]:
    """The targets with the numbers of a report of `novakit score`; what it lacks is not measured."""
    nova, told = _measured(report, "nova"), {row: _measured(report, row) for row in TOLD}
    pairs = len(_comparisons(report, "nova"))
    targets = {
        "outside": (_at_least("outside the mask", 27.0, " dB"), 2),
        "ssim": (_at_least("SSIM outside", 0.9), 3),
        "share": (_at_least("SSIM outside, share of the VAE's", 0.95), 3),
        "inside": (_at_least("inside, moving objects, between keyframes (goal)", 22.0, " dB"), 2),
        "above": (_at_least("the same, above interpolation", 2.0, " dB"), 2),
        "ghost": (Target("ghost of the old object, median", "", 0.1), 2),
        "double": (Target("double image, median", "", 0.25), 2),
        "flicker": (Target("flicker, times the truth's", "", 1.15), 2),
        "won": (
            _at_least(f"by kind of edit: comparisons won with interpolation and both rows of VACE, of {pairs}", pairs),
            0,
        ),
    }
    interval = Target("outside, best minus worst interval", " dB", 1.5)
    clips = _at_least("SSIM outside on the worst real clip, share of the VAE's", 0.9)
    return [
        Outcome(_at_least("the VAE, outside the mask", 32.0, " dB"), told["round_trip"]["outside"]),
        *(
            Outcome(target, nova[key], tuple(values[key] for values in told.values()), digits)
            for key, (target, digits) in targets.items()
        ),
        Outcome(interval, _spread(report["by_interval"])),
        Outcome(clips, _footage(report["footage"]), digits=3),
    ]


def targets_markdown(report: Mapping[str, Any]) -> str:
    """A table of all targets, met or missed."""
    heads = ["", "wanted", "NOVA", *TOLD.values(), ""]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    return "\n".join([*lines, *(f"| {' | '.join(outcome.cells())} |" for outcome in outcomes(report))])


def _measured(report: Mapping[str, Any], row: str) -> dict[str, float | None]:
    """What the targets are about, of one row; a row or table that the report lacks gives None."""
    values, moving = report["table"].get(row, {}), report["moving_object"]
    between, fade = (moving.get(name, {}).get("between_psnr") for name in (row, "interpolation"))
    ssim, best = values.get("outside_ssim"), report["table"].get("round_trip", {}).get("outside_ssim")
    won = _comparisons(report, row)
    return {
        "outside": values.get("outside_psnr"),
        "ssim": ssim,
        "share": _ratio(ssim, best),
        "inside": between,
        "above": _minus(between, fade),
        **{key: values.get(key) for key in ("ghost", "double", "flicker")},
        "won": sum(won) if won else None,
    }


def _comparisons(report: Mapping[str, Any], row: str) -> list[bool]:
    """Won or not: every kind of edit, in both regions, with every row of COMPARED."""
    pairs = [
        (table[row][region], table[other][region])
        for table in report["by_edit"].values()
        if row in table
        for other in COMPARED
        for region in REGIONS
    ]
    return [mine > theirs for mine, theirs in pairs if mine is not None and theirs is not None]


def _at_least(what: str, value: float, unit: str = "") -> Target:
    return Target(what, unit, value, at_least=True)


def _spread(by_interval: Mapping[Any, Mapping]) -> float | None:
    values = [table["outside_psnr"] for table in by_interval.values()]
    return max(values) - min(values) if len(values) > 1 else None


def _footage(records: list[dict]) -> float | None:
    ssim = {(record["clip"], record["row"]): record["outside_ssim"] for record in records}
    return min((_ratio(v, ssim[clip, "round_trip"]) for (clip, row), v in ssim.items() if row == "nova"), default=None)


def _ratio(part: float | None, whole: float | None) -> float | None:
    return part / whole if part is not None and whole else None


def _minus(mine: float | None, theirs: float | None) -> float | None:
    return None if mine is None or theirs is None else mine - theirs
