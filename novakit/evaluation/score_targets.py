"""`novakit score`: what was wanted of the nano weights, beside what they do and what the VAE alone does.

The targets were written down before the measurement, and none was moved since. Source: ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

NOT_TOLD_THE_MASK = ("interpolation", "vace_grey")  # what every kind of edit is compared with
REGIONS = ("inside_psnr", "outside_psnr")


@dataclass(frozen=True)
class Outcome:
    """One target.

    Args:
        what: what is measured.
        value: for NOVA; None = not measured.
        bound, at_most: what was wanted: no less than `bound`, or no more.
        ceiling: the same of the VAE round trip of the truth, where that means anything.
        unit: of all three numbers.
        digits: that are printed.
    """

    what: str
    value: float | None
    bound: float
    at_most: bool = False
    ceiling: float | None = None
    unit: str = ""
    digits: int = 2

    @property
    def met(self) -> bool | None:
        """Whether the target is met, by the number that is printed; None = not measured."""
        if self.value is None:
            return None
        value = round(self.value, self.digits)
        return value <= self.bound if self.at_most else value >= self.bound

    def cells(self) -> list[str]:
        """What, wanted, measured, the VAE alone, met or missed."""
        wanted = f"at {'most' if self.at_most else 'least'} {self.bound:g}{self.unit}"
        verdict = {True: "met", False: "missed", None: "not measured"}[self.met]
        return [self.what, wanted, self._number(self.value), self._number(self.ceiling), verdict]

    def _number(self, value: float | None) -> str:
        return "–" if value is None else f"{value:.{self.digits}f}{self.unit}"


def outcomes(report: Mapping[str, Any]) -> list[Outcome]:
    """The targets with the numbers of a report of `novakit score`; what it lacks is not measured."""
    nova, vae = (report["table"].get(row, {}) for row in ("nova", "round_trip"))
    moving = {row: values["between_psnr"] for row, values in report["moving_object"].items()}
    between, best, fade = (moving.get(row) for row in ("nova", "round_trip", "interpolation"))
    share = _ratio(nova["outside_ssim"], vae.get("outside_ssim"))
    db = {"unit": " dB"}
    return [
        Outcome("the VAE, outside the mask", vae.get("outside_psnr"), 32.0, **db),
        Outcome("outside the mask", nova["outside_psnr"], 27.0, ceiling=vae.get("outside_psnr"), **db),
        Outcome("SSIM outside", nova["outside_ssim"], 0.9, ceiling=vae.get("outside_ssim"), digits=3),
        Outcome("SSIM outside, share of the VAE's", share, 0.95, digits=3),
        Outcome("inside, moving objects, between keyframes (goal)", between, 22.0, ceiling=best, **db),
        Outcome("the same, above interpolation", _minus(between, fade), 2.0, ceiling=_minus(best, fade), **db),
        *(
            Outcome(f"{what}, median", nova[key], bound, at_most=True, ceiling=vae.get(key))
            for what, key, bound in (("ghost of the old object", "ghost", 0.1), ("double image", "double", 0.25))
        ),
        Outcome("flicker, times the truth's", nova["flicker"], 1.15, at_most=True, ceiling=vae.get("flicker")),
        _every_kind_of_edit(report["by_edit"]),
        Outcome("outside, between the best and the worst interval", _spread(report["by_interval"]), 1.5, True, **db),
        Outcome("SSIM outside on the worst real clip, share of the VAE's", _footage(report["footage"]), 0.9, digits=3),
    ]


def targets_markdown(report: Mapping[str, Any]) -> str:
    """A table of all targets, met or missed."""
    lines = ["| | wanted | NOVA | the VAE alone | |", "|---|---|---|---|---|"]
    return "\n".join([*lines, *(f"| {' | '.join(outcome.cells())} |" for outcome in outcomes(report))])


def _every_kind_of_edit(by_edit: Mapping[str, Mapping]) -> Outcome:
    """Comparisons won: every kind of edit, in both regions, with every row that is not told the mask."""
    pairs = [
        (table["nova"][region], table[row][region])
        for table in by_edit.values()
        for row in NOT_TOLD_THE_MASK
        for region in REGIONS
        if table
    ]
    won = [mine > theirs for mine, theirs in pairs if mine is not None and theirs is not None]
    what = f"by kind of edit: comparisons won with interpolation and grey VACE, of {len(won)}"
    return Outcome(what, sum(won) if won else None, len(won), digits=0)


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
