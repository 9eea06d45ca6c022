"""The targets: met or missed by the unrounded number, and what a report lacks is not measured."""

import json

import pytest

from novakit.evaluation.benchmark.measuring import Target
from novakit.evaluation.score_report import report_markdown
from novakit.evaluation.score_targets import TOLD, Outcome, outcomes, targets_markdown
from novakit.paths import recorded


@pytest.fixture(scope="module")
def report():
    return json.loads((recorded() / "nano_score.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("value", "at_least", "verdict"),
    [(0.1, False, "met"), (0.101, False, "missed"), (0.1, True, "met"), (0.099, True, "missed")],
)
def test_a_bound_itself_is_met_and_no_rounding_helps(value, at_least, verdict):
    assert Outcome(Target("ghost", "", 0.1, at_least), value).cells()[-1] == verdict


def in_place_of_nova(report, row):
    """The report of a NOVA that does exactly what `row` does."""
    tables = ("table", "moving_object")
    by_edit = {edit: {**table, "nova": table[row]} for edit, table in report["by_edit"].items()}
    swapped = {key: {**report[key], "nova": report[key][row]} for key in tables}
    same = dict.fromkeys(report["by_interval"], report["table"][row])
    return {**report, **swapped, "by_edit": by_edit, "by_interval": same}


@pytest.mark.parametrize("row", TOLD)
def test_a_row_that_knows_the_answer_shows_what_nova_would_have_if_it_did_the_same(report, row):
    for outcome, swapped in zip(outcomes(report), outcomes(in_place_of_nova(report, row)), strict=True):
        told = outcome.told[list(TOLD).index(row)]
        assert told is None or told == swapped.value, outcome.target.what
    assert sum(outcome.told != (None,) * len(TOLD) for outcome in outcomes(report)) == 9


def test_the_vae_alone_meets_what_it_can_and_the_unedited_source_only_the_background(report):
    def verdicts(row):
        return {outcome.target.what: outcome.cells()[-1] for outcome in outcomes(in_place_of_nova(report, row))}

    ceiling, source = verdicts("round_trip"), verdicts("source")
    inside, ghost = "inside, moving objects, between keyframes (goal)", "ghost of the old object, median"
    for what in ("the same, above interpolation", inside, ghost, "flicker, times the truth's"):
        assert ceiling[what] == "met", what
    for what in ("outside the mask", "SSIM outside"):
        assert source[what] == "met", what
    for what in (inside, ghost, "the same, above interpolation", "double image, median"):
        assert source[what] == "missed", what


def test_who_is_told_more_has_more_inside(report):
    inside = next(o for o in outcomes(report) if o.target.what.startswith("inside, moving"))
    ladder = (inside.value, *inside.told)
    assert list(ladder) == sorted(ladder)


def test_every_kind_of_edit_is_compared_in_both_regions_with_every_row(report):
    worse = {
        edit: {**table, "nova": {**table["nova"], "inside_psnr": -1.0, "outside_psnr": 200.0}}
        for edit, table in report["by_edit"].items()
    }
    (outcome,) = (o for o in outcomes({**report, "by_edit": worse}) if o.target.what.startswith("by kind of edit"))
    assert (outcome.value, outcome.target.value) == (15, 30)  # five kinds, three rows: all outside, none inside


def test_what_a_report_lacks_is_not_measured(report):
    bare = {**report, "moving_object": {}, "by_interval": {}, "footage": []}
    assert targets_markdown(bare).count("not measured") == 4


def test_the_recorded_text_is_that_of_the_recorded_numbers(report):
    assert (recorded() / "nano_score.md").read_text(encoding="utf-8") == report_markdown(report)
