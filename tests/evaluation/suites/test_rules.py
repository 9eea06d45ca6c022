"""Verdicts: the margin counts, the interval counts, all rules count, and what is missing decides nothing."""

import pytest

from novakit.evaluation.suites.claims import CLAIMS
from novakit.evaluation.suites.definitions import get_suite
from novakit.evaluation.suites.rules import FAILS, HOLDS, UNTESTED, Claim, Rule, decide

BETTER = Rule("a above b", "a", "b", "SR", margin=0.1)
SAME = Rule("a not below b", "a", "b", "SR", margin=0.1, kind="not_worse")


def claim(*rules):
    return Claim("C0", "title", "hypothesis", "experiment", rules)


def rows(**values):
    """Records of rows: {"a": [numbers per scene]}."""
    return {
        name: [{"row": name, "scene": i, "seed": 0, "SR": v, "seconds": v} for i, v in enumerate(numbers)]
        for name, numbers in values.items()
    }


def verdict(rule, **values):
    return decide(claim(rule), rows(**values))["verdict"]


@pytest.mark.parametrize(
    ("rule", "difference", "expected"),
    [
        (BETTER, 0.2, HOLDS),
        (BETTER, 0.05, FAILS),  # sure, but smaller than the margin
        (BETTER, -0.2, FAILS),
        (BETTER, 0.0, FAILS),
        (SAME, 0.0, HOLDS),
        (SAME, -0.05, HOLDS),
        (SAME, -0.2, FAILS),
        (SAME, 0.3, HOLDS),
    ],
)
def test_the_margin_decides(rule, difference, expected):
    b = [0.3 + 0.01 * i for i in range(20)]
    assert verdict(rule, a=[value + difference for value in b], b=b) == expected


def test_the_interval_decides():
    wild = [3.0 * (-1) ** i + 0.2 for i in range(20)]  # mean 0.2 above 0, but anything may be true
    assert verdict(BETTER, a=wild, b=[0.0] * 20) == FAILS
    assert verdict(SAME, a=wild, b=[0.0] * 20) == FAILS


def test_a_margin_that_is_not_given_is_a_quarter_of_the_papers_difference():
    rule = next(rule for rule in CLAIMS["C1"].rules if rule.metric == "BG-SSIM")
    assert rule.paper == pytest.approx(0.11)
    assert rule.needed == pytest.approx(0.0275)


def test_differences_of_another_encoder_do_not_carry_over():
    rules = {rule.metric: rule for rule in CLAIMS["C1"].rules}
    assert rules["TC"].paper == pytest.approx(0.015) and rules["TC"].needed == 0
    assert not rules["TC"].decides and rules["BG-SSIM"].decides
    assert all(rule.decides for rule in CLAIMS["C2"].rules)


def test_rules_that_are_told_only_decide_nothing():
    told = Rule("b above a", "b", "a", "SR", margin=0.1, decides=False)
    found = decide(claim(BETTER, told), rows(a=[0.9] * 10, b=[0.1] * 10))
    assert found["verdict"] == HOLDS and [rule["outcome"] for rule in found["rules"]] == ["passes", "fails"]


def test_few_scenes_decide_nothing_and_missing_weights_are_named():
    few = decide(claim(BETTER), rows(a=[1.0] * 7, b=[0.0] * 7))
    assert few["verdict"] == UNTESTED and "7 scenes" in few["rules"][0]["why"]
    absent = decide(claim(BETTER), rows(b=[0.0] * 20), missing={"a": "run: novakit pretrain"})
    assert absent["verdict"] == UNTESTED and absent["rules"][0]["why"] == "a: run: novakit pretrain"


def test_a_claim_needs_all_of_its_rules():
    other = Rule("c above b", "c", "b", "SR", margin=0.1)
    good, bad = [0.9 + 0.001 * i for i in range(20)], [0.1] * 20
    assert decide(claim(BETTER, other), rows(a=good, b=bad, c=good))["verdict"] == HOLDS
    assert decide(claim(BETTER, other), rows(a=good, b=bad, c=bad))["verdict"] == FAILS
    assert decide(claim(BETTER, other), rows(a=good, b=bad))["verdict"] == UNTESTED
    assert decide(claim(BETTER, other), rows(a=bad, b=bad))["verdict"] == FAILS  # what is missing cannot save it


def test_smaller_may_be_better_and_single_scenes_are_clamped():
    rule = Rule("less", "a", "b", "SR", 0.05, "better", True, (-1.0, 2.0))
    assert verdict(rule, a=[0.2] * 20, b=[0.4] * 20) == HOLDS
    assert verdict(rule, a=[0.4] * 20, b=[0.2] * 20) == FAILS
    burst = decide(claim(rule), rows(a=[0.2] * 19 + [900.0], b=[0.5] * 20))["rules"][0]["effect"]
    assert burst["mean"] == pytest.approx((19 * 0.3 - 1.5) / 20)


def test_times_are_compared_as_factors():
    rule = CLAIMS["C9"].rules[1]
    times = decide(claim(rule), rows(nova=[2.0] * 10, i2vedit=[20.0] * 10))["rules"][0]
    assert times["outcome"] == "passes" and times["effect"]["mean"] == pytest.approx(1.0)
    assert decide(claim(rule), rows(nova=[2.0] * 10, i2vedit=[5.0] * 10))["verdict"] == FAILS


def test_failed_scenes_are_left_out():
    records = rows(a=[0.9] * 12, b=[0.1] * 12)
    records["a"][3] = {"row": "a", "scene": 3, "seed": 0, "error": "it broke"}
    assert decide(claim(BETTER), records)["rules"][0]["effect"]["scenes"] == 11


def test_ten_claims_and_every_row_that_they_compare_is_in_the_suite():
    from novakit.evaluation.baselines import BASELINES

    assert list(CLAIMS) == [f"C{i}" for i in range(1, 11)]
    planned = {plan.row.name for plan in get_suite("claims", BASELINES).plans}
    assert {name for each in CLAIMS.values() for name in each.rows} == planned
    assert all(each.hypothesis and each.experiment and each.rules for each in CLAIMS.values())
