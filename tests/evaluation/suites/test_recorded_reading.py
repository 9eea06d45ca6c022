"""Recorded results are read or refused with a reason, and shown beside the paper's, never mixed with them."""

import json

import pytest

from novakit import __version__
from novakit.errors import NovaError
from novakit.evaluation.suites import recorded
from novakit.evaluation.suites.writing import metrics_markdown


def row(title, **numbers):
    about = {"title": title, "tunes": False, "sees_mask": False, "interval": 8, "parameters": 0, "note": ""}
    return {**about, "scenes": 2, "seeds": 1, "failed": 0, "seconds": 1.0, **numbers}


def report(suite="table1", **changes):
    """A small report of two measured rows and one whose weights are missing."""
    score = {"SR": 0.5, "intervals": {"SR": {"low": 0.25, "high": 0.75}}}
    table = {"nova": row("NOVA", **score), "source": row("unedited source", SR=0.0)}
    table["senorita"] = {"title": "Senorita-2M", "missing": "not trained", "tunes": False, "sees_mask": False}
    table["senorita"] |= {"parameters": 0}
    effect = {"mean": 0.5, "low": 0.25, "high": 0.75, "scenes": 2, "seeds": 1}
    rule = {"rule": "SR of nova above source", "effect": effect, "margin": 0.1, "kind": "better", "paper": None}
    rule |= {"outcome": "passes", "decides": True, "why": "", "row": "nova", "other": "source", "metric": "SR"}
    about = {"title": "Above", "hypothesis": "H.", "experiment": "E.", "verdict": "holds", "rules": [rule]}
    records = [{"row": "nova", "scene": s, "seed": n, "SR": 1.0} for n in (1, 0) for s in (1, 0)]
    made = {"suite": suite, "what": "2 scenes", "table": table, "subset": {}, "labels": {"SR": "SR[toy]"}}
    made |= {"config": {"version": __version__, "weights": "abc"}, "date": "2026-11-26T00:00:00", "commit": "f00"}
    made |= {"hardware": {"device": "CPU"}, "records": records, "verdicts": [{"claim": "C7", **about}]}
    return made | changes


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(recorded, "recorded", lambda: tmp_path)
    return tmp_path


def put(folder, content, suite="table1"):
    text = content if isinstance(content, str) else json.dumps(content)
    (folder / f"{suite}.json").write_text(text, encoding="utf-8")


def test_a_report_comes_back_as_it_was_written(folder):
    put(folder, report())
    assert recorded.read_recorded("table1") == report()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "no recorded result table1.json"),
        ('{"suite": "tab', "damaged"),
        ("[1, 2]", "no report of suite table1"),
        (report("table2"), "no report of suite table1"),
        ({key: value for key, value in report().items() if key != "records"}, "records"),
        (report(config={"version": "0.0.0", "weights": "abc"}), "recorded with novakit 0.0.0"),
    ],
)
def test_what_cannot_be_used_is_refused_and_the_command_named(folder, content, says):
    if content is not None:
        put(folder, content)
    with pytest.raises(NovaError, match=says) as caught:
        recorded.read_recorded("table1")
    assert "novakit eval --suite table1" in str(caught.value)


def test_an_unknown_suite_is_named():
    with pytest.raises(NovaError, match="no suite 'table9'"):
        recorded.read_recorded("table9")


def test_rows_are_chosen_in_the_order_asked_for_and_unknown_ones_refused():
    assert list(recorded.choose_rows(report(), ["source", "nova"])["table"]) == ["source", "nova"]
    assert recorded.choose_rows(report(), None) == report()
    with pytest.raises(NovaError, match="no row nobody"):
        recorded.choose_rows(report(), ["nova", "nobody"])


def test_records_of_a_row_come_in_order_and_may_be_limited():
    def keys(**limits):
        return [(r["seed"], r["scene"]) for r in recorded.records_of(report(), "nova", **limits)]

    assert keys() == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert keys(scenes=[1]) == [(0, 1), (1, 1)] and keys(seed=0) == [(0, 0), (0, 1)]
    assert recorded.records_of(report(), "source") == []


def test_values_and_effect_of_rows():
    numbers = {"nova": {(0, 0): 1.0, (1, 0): 3.0, (2, 0): 5.0}, "source": {(0, 0): 0.5, (1, 0): 1.5, (2, 0): None}}
    records = [{"row": n, "scene": s, "seed": r, "SR": v} for n, row in numbers.items() for (s, r), v in row.items()]
    made = report(records=[*records, {"row": "nova", "scene": 9, "seed": 0}])
    assert recorded.values_of(made, "nova", "SR") == numbers["nova"], "a record without the column is left out"
    assert recorded.values_of(made, "source", "SR") == {(0, 0): 0.5, (1, 0): 1.5}
    found = recorded.effect_of(made, "nova", "source", "SR")
    assert found.mean == 1.0 and found.scenes == 2, "one - other, over what both have"
    assert recorded.effect_of(made, "source", "nova", "SR").mean == -1.0
    assert recorded.effect_of(made, "nova", "nobody", "SR") is None


def test_the_papers_row_stands_beneath_ours_in_italics():
    lines = recorded.metrics_table(report(), ["nova", "source"]).data.splitlines()
    assert lines[2].startswith("| NOVA |") and "0.50 ± 0.25" in lines[2]
    assert lines[3].startswith("| *paper: NOVA") and "*0.93*" in lines[3]
    assert "0.93" not in lines[2] + lines[4]


def test_a_wide_table_is_shown_in_two_parts_with_nothing_lost():
    metrics, conditions = recorded.metrics_table(report()).data, recorded.conditions_table(report()).data
    for whole, left, right in zip(
        metrics_markdown(report()).splitlines(), conditions.splitlines(), metrics.splitlines()
    ):
        assert whole.split("|")[1:7] == left.split("|")[1:7] and whole.split("|")[7:] == right.split("|")[2:]


def test_where_from_tells_date_commit_and_what_is_missing():
    told = recorded.where_from(report())
    assert all(word in told for word in ("2026-11-26", "f00", "2 scenes", "Senorita-2M"))


def test_a_verdict_is_shown_as_it_was_recorded_and_an_absent_one_refused():
    text = recorded.verdict_table(report(), "C7").data
    assert "**holds**" in text and "+0.500" in text
    with pytest.raises(NovaError, match="no claim C8; it holds: C7"):
        recorded.verdict_of(report(), "C8")


def test_a_dot_stands_at_its_number_with_its_interval_and_missing_rows_are_left_out():
    panel = recorded.bars(report(), ["SR"]).axes[0]
    assert panel.get_title() == "SR [toy]"
    assert [text.get_text() for text in panel.get_yticklabels()] == ["NOVA", "unedited source"]
    dots = [line.get_xdata()[0] for line in panel.lines if line.get_marker() == "o"]
    assert dots == [0.5, 0.0]
    ends = [segment[:, 0].tolist() for segment in panel.collections[0].get_segments()]
    assert ends == [[0.25, 0.75]]
