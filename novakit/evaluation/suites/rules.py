"""How a claim is decided: rules that were written down before anything was measured.

A rule compares two rows in one column, on the same scenes and seeds:

    better        the mean difference is at least the margin, and its 95 % interval lies above 0
    not_worse     the 95 % interval of the difference lies above -margin

Margins: where the paper prints both numbers of BG-SSIM or SR, a quarter of its own difference must be found again
(SHARE); where it says only that something still works, the margin is written beside the claim. TC and FC depend on an
encoder and a pairing that the paper does not name, and have another scale here (the truth itself has 0.999 in TC with
the embedded encoder): their margin is 0, and they decide only where the claim is about consistency over time.
Elsewhere they are told beside the verdict (`decides=False`). That was settled after a first look at four scenes.

A claim holds when all its deciding rules pass. It does not hold when one fails. It cannot be tested when none fails but
a row, its weights or enough scenes are missing.

Source: ours.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from novakit.evaluation.paper_numbers import paper_effect
from novakit.evaluation.suites.statistics import Estimate, Values, differences, estimate

SHARE = 0.25  # of the paper's difference that must be found again
OTHER_SCALE = ("TC", "FC", "BC", "MS")  # depend on an encoder or interpolator; no difference of the paper carries over
LEAST_SCENES = 8  # fewer decide nothing
HOLDS, FAILS, UNTESTED = "holds", "does not hold", "cannot be tested here"

Outcome = Literal["passes", "fails", "untested"]


@dataclass(frozen=True)
class Rule:
    """One comparison of two rows."""

    text: str  # what is asked, in words
    row: str  # name of the row that should be better, or not worse
    other: str  # name of the row that it is compared with
    metric: str  # column of the records
    margin: float | None = None  # in the column's unit; None = SHARE of the paper's difference
    kind: Literal["better", "not_worse"] = "better"
    smaller_is_better: bool = False
    bounds: tuple[float, float] | None = None  # values are clamped to these first (shares of a difference)
    logarithm: bool = False  # compare base-10 logarithms: a margin of 1 = ten times
    decides: bool = True  # False: told, but no part of the verdict

    @property
    def paper(self) -> float | None:
        """The paper's difference, where it prints both numbers."""
        return paper_effect(self.row, self.other, self.metric)

    @property
    def needed(self) -> float:
        """The margin, as a number."""
        if self.margin is not None:
            return self.margin
        return 0.0 if self.metric in OTHER_SCALE else SHARE * (self.paper or 0.0)

    def value(self, record: Mapping) -> float | None:
        """The number that is compared; larger is better."""
        number = record.get(self.metric)
        if number is None or "error" in record:
            return None
        if self.bounds:
            number = min(max(number, self.bounds[0]), self.bounds[1])
        if self.logarithm:
            number = math.log10(max(number, 1e-9))
        return -number if self.smaller_is_better else number

    def passed(self, found: Estimate) -> bool:
        """The rule itself."""
        if self.kind == "not_worse":
            return found.low > -self.needed
        return found.low > 0 and found.mean >= self.needed


@dataclass(frozen=True)
class Claim:
    """One of the paper's claims, and how it is tested."""

    name: str  # C1 ... C10
    title: str
    hypothesis: str
    experiment: str
    rules: tuple[Rule, ...]

    @property
    def rows(self) -> tuple[str, ...]:
        """Names of all rows that the rules compare."""
        return tuple(dict.fromkeys(name for rule in self.rules for name in (rule.row, rule.other)))


Records = Mapping[str, list[dict]]  # row -> its records


def values_of(rule: Rule, records: list[dict]) -> Values:
    """(scene, seed) -> what the rule compares."""
    found = {(record["scene"], record["seed"]): rule.value(record) for record in records}
    return {key: value for key, value in found.items() if value is not None}


def decide_rule(
    rule: Rule, records: Records, unseeded: frozenset[str], missing: Mapping[str, str], least: int = LEAST_SCENES
) -> dict:
    """Decide one rule.

    Args:
        rule: what is compared.
        records: of all rows that there are.
        unseeded: rows whose starting noise plays no part.
        missing: row -> why it could not be run.
        least: scenes that must have been compared.

    Returns:
        JSON-ready: the rule, its outcome, the effect with its interval, the margin, the paper's difference.
    """
    one, other = (values_of(rule, records.get(name, [])) for name in (rule.row, rule.other))
    found = estimate(differences(one, other, rule.row not in unseeded, rule.other not in unseeded))
    about = {"rule": rule.text, "row": rule.row, "other": rule.other, "metric": rule.metric, "kind": rule.kind}
    about |= {"margin": round(rule.needed, 5), "paper": rule.paper, "decides": rule.decides}
    if found is None or found.scenes < least:
        why = [f"{name}: {missing[name]}" for name in (rule.row, rule.other) if name in missing]
        count = 0 if found is None else found.scenes
        return {
            **about,
            "outcome": "untested",
            "effect": found.as_dict() if found else None,
            "why": "; ".join(why) or f"{count} scenes were compared, at least {least} are wanted",
        }
    return {**about, "outcome": "passes" if rule.passed(found) else "fails", "effect": found.as_dict(), "why": ""}


def decide(
    claim: Claim,
    records: Records,
    unseeded: frozenset[str] = frozenset(),
    missing: Mapping[str, str] | None = None,
    least: int = LEAST_SCENES,
) -> dict:
    """Decide a claim; arguments as `decide_rule`.

    Returns:
        JSON-ready: name, title, hypothesis, experiment, verdict (one of HOLDS, FAILS, UNTESTED), and every rule.
    """
    rules = [decide_rule(rule, records, unseeded, missing or {}, least) for rule in claim.rules]
    outcomes = {rule["outcome"] for rule in rules if rule["decides"]}
    verdict = FAILS if "fails" in outcomes else UNTESTED if "untested" in outcomes else HOLDS
    return {
        "claim": claim.name,
        "title": claim.title,
        "hypothesis": claim.hypothesis,
        "experiment": claim.experiment,
        "verdict": verdict,
        "rules": rules,
    }
