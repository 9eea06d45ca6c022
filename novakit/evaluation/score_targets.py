"""`novakit score`: what was wanted of the nano weights, beside what they do and what the VAE alone does.

The targets were written down before the measurement, and none was moved since. Source: ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from novakit.evaluation.benchmark.measuring import Target

COMPARED = ("interpolation", "vace_grey", "vace_source")  # rows that every kind of edit should beat
REGIONS = ("inside_psnr", "outside_psnr")


@dataclass(frozen=True)
class Outcome:
    """A target and what came of it.

    Args:
        target: what was wanted.
        value: what NOVA does; None = not measured.
        ceiling: the same of the VAE round trip of the truth, where that means anything.
        digits: that are printed; the unrounded value decides.
    """

    target: Target
    value: float | None
    ceiling: float | None = None
    digits: int = 2

    def cells(self) -> list[str]:
        """What, wanted, measured, the VAE alone, met or missed."""
        wanted = f"at {'least' if self.target.at_least else 'most'} {self.target.value:g}{self.target.unit}"
        verdict = "not measured" if self.value is None else "met" if self.target.met(self.value) else "missed"
        return [self.target.what, wanted, self._number(self.value), self._number(self.ceiling), verdict]

    def _number(self, value: float | None) -> str:
        return "–" if value is None else f"{value:.{self.digits}f}{self.target.unit}"


def outcomes(report: Mapping[str, Any]) -> list[Outcome]:
    """The targets with the numbers of a report of `novakit score`; what it lacks is not measured."""
    nova, vae = (report["table"].get(row, {}) for row in ("nova", "round_trip"))
    moving = {row: values["between_psnr"] for row, values in report["moving_object"].items()}
    between, best, fade = (moving.get(row) for row in ("nova", "round_trip", "interpolation"))
    psnr, ssim = vae.get("outside_psnr"), vae.get("outside_ssim")
    return [
        Outcome(_at_least("the VAE, outside the mask", 32.0, " dB"), psnr),
        Outcome(_at_least("outside the mask", 27.0, " dB"), nova["outside_psnr"], psnr),
        Outcome(_at_least("SSIM outside", 0.9), nova["outside_ssim"], ssim, 3),
        Outcome(_at_least("SSIM outside, share of the VAE's", 0.95), _ratio(nova["outside_ssim"], ssim), None, 3),
        Outcome(_at_least("inside, moving objects, between keyframes (goal)", 22.0, " dB"), between, best),
        Outcome(_at_least("the same, above interpolation", 2.0, " dB"), _minus(between, fade), _minus(best, fade)),
        Outcome(Target("ghost of the old object, median", "", 0.1), nova["ghost"], vae.get("ghost")),
        Outcome(Target("double image, median", "", 0.25), nova["double"], vae.get("double")),
        Outcome(Target("flicker, times the truth's", "", 1.15), nova["flicker"], vae.get("flicker")),
        _every_kind_of_edit(report["by_edit"]),
        Outcome(Target("outside, best minus worst interval", " dB", 1.5), _spread(report["by_interval"])),
        Outcome(
            _at_least("SSIM outside on the worst real clip, share of the VAE's", 0.9),
            _footage(report["footage"]),
            digits=3,
        ),
    ]


def targets_markdown(report: Mapping[str, Any]) -> str:
    """A table of all targets, met or missed."""
    lines = ["| | wanted | NOVA | the VAE alone | |", "|---|---|---|---|---|"]
    return "\n".join([*lines, *(f"| {' | '.join(outcome.cells())} |" for outcome in outcomes(report))])


def _at_least(what: str, value: float, unit: str = "") -> Target:
    return Target(what, unit, value, at_least=True)


def _every_kind_of_edit(by_edit: Mapping[str, Mapping]) -> Outcome:
    """Comparisons won: every kind of edit, in both regions, with every row of COMPARED."""
    pairs = [
        (table["nova"][region], table[row][region])
        for table in by_edit.values()
        for row in COMPARED
        for region in REGIONS
        if table
    ]
    won = [mine > theirs for mine, theirs in pairs if mine is not None and theirs is not None]
    what = f"by kind of edit: comparisons won with interpolation and both rows of VACE, of {len(won)}"
    return Outcome(_at_least(what, len(won)), sum(won) if won else None, digits=0)


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
