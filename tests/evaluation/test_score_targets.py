"""The targets: met or missed by the number that is printed, and what a report lacks is not measured."""

import json

import pytest

from novakit.evaluation.score_report import report_markdown
from novakit.evaluation.score_targets import Outcome, outcomes, targets_markdown
from novakit.paths import recorded


@pytest.fixture(scope="module")
def report():
    return json.loads((recorded() / "nano_score.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("value", "at_most", "met"), [(0.1, True, True), (0.104, True, True), (0.106, True, False), (0.094, False, False)]
)
def test_a_bound_itself_is_met_and_the_printed_number_decides(value, at_most, met):
    outcome = Outcome("ghost", value, 0.1, at_most)
    assert outcome.met is met
    assert outcome.cells()[-1] == ("met" if met else "missed")


def test_a_perfect_edit_meets_every_target_and_the_unedited_source_only_those_of_the_background(report):
    def in_place_of_nova(row):
        tables = ("table", "moving_object")
        by_edit = {edit: {**table, "nova": table[row]} for edit, table in report["by_edit"].items()}
        swapped = {key: {**report[key], "nova": report[key][row]} for key in tables}
        same = dict.fromkeys(report["by_interval"], report["table"][row])
        return outcomes({**report, **swapped, "by_edit": by_edit, "by_interval": same})

    ceiling = {outcome.what: outcome.met for outcome in in_place_of_nova("round_trip")}
    assert ceiling["the same, above interpolation"] and ceiling["ghost of the old object, median"]
    source = {outcome.what: outcome.met for outcome in in_place_of_nova("source")}
    assert source["outside the mask"] and source["SSIM outside"]
    assert not source["inside, moving objects, between keyframes (goal)"]
    assert not source["ghost of the old object, median"]


def test_every_kind_of_edit_is_compared_in_both_regions_with_both_rows(report):
    worse = {
        edit: {**table, "nova": {**table["nova"], "inside_psnr": -1.0, "outside_psnr": 200.0}}
        for edit, table in report["by_edit"].items()
    }
    (outcome,) = (o for o in outcomes({**report, "by_edit": worse}) if o.what.startswith("by kind of edit"))
    assert (outcome.value, outcome.bound) == (10, 20)  # five kinds, two rows: all outside, none inside


def test_what_a_report_lacks_is_not_measured(report):
    bare = {**report, "moving_object": {}, "by_interval": {}, "footage": []}
    assert targets_markdown(bare).count("not measured") == 4


def test_the_recorded_text_is_that_of_the_recorded_numbers(report):
    assert (recorded() / "nano_score.md").read_text(encoding="utf-8") == report_markdown(report)
