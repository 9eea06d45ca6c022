"""A suite from end to end with toys: what lies in the folder, what stands in the tables, what is refused."""

import csv
import json
from dataclasses import replace

import pytest
from toy_bench import ToyNova, toy_bench

from novakit.errors import NovaError
from novakit.evaluation.paper_numbers import PAPER, paper_effect
from novakit.evaluation.suites.command import evaluate, open_store, run_suite, verdicts
from novakit.evaluation.suites.compare import check_against
from novakit.evaluation.suites.definitions import SUITES, Suite, get_suite
from novakit.evaluation.suites.rows import INTERPOLATION, NOVA, SOURCE, Row, edit_with, without_dense
from novakit.evaluation.suites.running import Plan


def broken(pipe, task):
    raise RuntimeError("out of luck")


def small_suite(name="table2", scenes=4, seeds=2):
    rows = [
        replace(NOVA, interval=4),
        Row("no_dense", "NOVA w/o dense branch", without_dense, interval=4),
        replace(SOURCE, interval=4),
        replace(INTERPOLATION, interval=4),
        Row("broken", "breaks", broken, interval=4),
        Row("unknown", "trained elsewhere", edit_with, interval=4, weights="add"),
    ]
    plans = tuple(Plan(row, scenes, seeds) for row in rows)
    return Suite(name, plans, ("a note",), get_suite(name, {}).families)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("results")
    run_suite(small_suite(), out, toy_bench(), progress=False)
    return out


def test_json_holds_records_table_subset_and_where_they_come_from(folder):
    report = json.loads((folder / "table2.json").read_text(encoding="utf-8"))
    assert len(report["records"]) == 8 + 8 + 4 + 4
    assert report["table"]["nova"]["scenes"] == 4 and report["table"]["nova"]["seeds"] == 2
    mean = report["table"]["nova"]["TC"]
    bounds = report["table"]["nova"]["intervals"]["TC"]
    assert bounds["low"] <= mean <= bounds["high"] and bounds["low"] < bounds["high"]
    assert report["subset"]["nova"]["seeds"] == 1
    assert report["commit"] and report["date"] and report["config"]["weights"]
    assert report["table"]["source"]["outside_psnr"] == 100
    assert set(report["by_edit"]) == {"recolour", "replace", "remove", "add"}


def test_failures_and_missing_weights_are_told(folder):
    report = json.loads((folder / "table2.json").read_text(encoding="utf-8"))
    assert report["table"]["broken"]["failed"] == 8 and report["table"]["broken"]["scenes"] == 0
    assert "--variant add" in report["table"]["unknown"]["missing"]
    text = (folder / "table2.md").read_text(encoding="utf-8")
    assert "RuntimeError: out of luck" in text and "weights missing" in text and "--variant add" in text


def test_the_papers_rows_are_marked_and_stand_beside_ours(folder):
    lines = (folder / "table2.md").read_text(encoding="utf-8").splitlines()
    ours = next(i for i, line in enumerate(lines) if line.startswith("| NOVA w/o dense branch"))
    assert lines[ours + 1].startswith("| *paper: w/o dense branch") and "*0.807*" in lines[ours + 1]
    assert "TC[toy]" in lines[2]
    assert all("*paper" in line for line in lines if "0.807" in line)


def test_csv_has_one_line_per_row_and_the_ends_of_intervals(folder):
    with open(folder / "table2.csv", newline="", encoding="utf-8") as file:
        lines = {line["row"]: line for line in csv.DictReader(file)}
    assert len(lines) == 6
    assert float(lines["nova"]["TC_low"]) <= float(lines["nova"]["TC"]) <= float(lines["nova"]["TC_high"])


def test_the_figure_is_a_picture(folder):
    assert (folder / "table2.png").read_bytes().startswith(b"\x89PNG")


def test_a_rerun_of_the_subset_agrees_and_another_network_does_not(folder, tmp_path):
    rerun = run_suite(small_suite(seeds=1), tmp_path / "same", toy_bench(), progress=False)
    assert check_against(folder / "table2.json", rerun) > 20

    class Other(ToyNova):
        def __call__(self, source, *given, **options):
            return super().__call__(source * 0.9, *given, **options)

    other = run_suite(small_suite(seeds=1), tmp_path / "other", toy_bench(Other()), progress=False)
    with pytest.raises(NovaError, match="numbers differ"):
        check_against(folder / "table2.json", other)


def test_other_weights_encoder_or_steps_are_refused(folder):
    pipe = ToyNova()
    pipe.transformer.dense_branch.weight.data += 0.1
    for bench, what in ((toy_bench(pipe), "weights"), (toy_bench(steps=3), "steps")):
        with pytest.raises(NovaError, match=f"made otherwise.*{what}"):
            run_suite(small_suite(), folder, bench, progress=False)
    bench = toy_bench()
    bench.judge.encoder.name = "another"
    with pytest.raises(NovaError, match="encoder"):
        open_store(folder, bench)
    with pytest.raises(NovaError, match="resume is off"):
        open_store(folder, toy_bench(), resume=False)


def test_claims_use_what_the_tables_measured(folder):
    suite, bench = small_suite("claims", 4, 2), toy_bench()
    rows = tuple(plan for plan in suite.plans if plan.row.name != "broken")
    run_suite(replace(suite, plans=rows), folder, bench, progress=False)
    assert bench.pipe.calls == []  # nothing was edited anew
    report = json.loads((folder / "claims.json").read_text(encoding="utf-8"))
    assert [verdict["claim"] for verdict in report["verdicts"]] == [f"C{i}" for i in range(1, 11)]
    assert all(verdict["verdict"] == "cannot be tested here" for verdict in report["verdicts"])  # four scenes
    assert "C10" in (folder / "claims.md").read_text(encoding="utf-8")
    assert (folder / "claims.png").exists() and "claim,verdict" in (folder / "claims.csv").read_text(encoding="utf-8")


def test_robustness_has_its_own_figure(tmp_path):
    names = ("nova", "nova_at_4", "interpolation", "degraded_1", "faulty_1", "irregular", "source")
    suite = get_suite("robustness", {}, scenes=1, seeds=1)
    few = replace(suite, plans=tuple(plan for plan in suite.plans if plan.row.name in names))
    run_suite(few, tmp_path, toy_bench(), progress=False)
    assert (tmp_path / "robustness.png").stat().st_size > 20_000


def test_verdicts_say_yes_when_the_effect_is_there(tmp_path):
    suite, bench = small_suite("claims", 10, 1), toy_bench()
    run_suite(suite, tmp_path, bench, progress=False)
    found = {verdict["claim"]: verdict for verdict in verdicts(suite, open_store(tmp_path, bench), bench.missing)}
    rules = {rule["metric"]: rule["outcome"] for rule in found["C1"]["rules"]}
    assert rules["BG-SSIM"] == "passes" and found["C6"]["verdict"] == "cannot be tested here"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"suite": "table9"}, "There is no suite 'table9'"),
        ({"scenes": 0}, "at least 1"),
        ({"encoder": "no-such"}, "no encoder 'no-such'"),
        ({"out": __file__}, "cannot be a folder"),
    ],
)
def test_bad_requests_are_refused_before_anything_is_measured(tmp_path, options, message):
    given = {"suite": "table2", "out": tmp_path / "out"} | options
    with pytest.raises(NovaError, match=message):
        evaluate(given.pop("suite"), given.pop("out"), progress=False, **given)


def test_the_papers_numbers_are_those_of_its_tables():
    assert paper_effect("nova", "no_dense", "BG-SSIM") == 0.11
    assert paper_effect("nova", "lora_edit", "SR") == 0.13
    assert paper_effect("nova", "lora_edit", "TC") is None and paper_effect("nova", "unknown", "TC") is None
    assert set(PAPER) < set(SUITES)
