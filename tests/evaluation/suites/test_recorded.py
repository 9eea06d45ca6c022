"""The committed results are those of the shipped weights, and a part of them comes out again.

The whole subset: `novakit eval --suite table2 --scenes 16 --seeds 1 --out DIR`, then `check_against` on both files.
"""

import pytest

from novakit import __version__
from novakit.evaluation.suites.command import real_bench
from novakit.evaluation.suites.compare import FLOOR, TIMES, TOLERANCE
from novakit.evaluation.suites.definitions import SUITES, get_suite
from novakit.evaluation.suites.recorded import read_recorded
from novakit.evaluation.suites.running import Chunk, edit_and_score
from novakit.evaluation.suites.weights import fingerprint


@pytest.fixture(scope="module")
def bench():
    return real_bench("cpu", None, "embedded")


@pytest.mark.parametrize("suite", SUITES)
def test_recorded_results_belong_to_this_version_and_these_weights(suite, bench):
    report = read_recorded(suite)
    assert report["config"]["version"] == __version__
    assert report["config"]["weights"] == fingerprint(bench.pipe.vae, bench.pipe.transformer)
    assert report["date"] and report["commit"] and report["subset"]["nova"]["scenes"] == 16
    assert {row for row, numbers in report["table"].items() if "missing" not in numbers} >= {"nova", "source"}


@pytest.mark.parametrize("row", ["nova", "interpolation"])
def test_the_first_four_scenes_of_table_2_come_out_again(row, bench):
    report = read_recorded("table2")
    chosen = next(plan.row for plan in get_suite("table2", {}).plans if plan.row.name == row)
    old = {r["scene"]: r for r in report["records"] if r["row"] == row and r["seed"] == 0}
    for new in edit_and_score(bench.pipe, Chunk(chosen, 0, (0, 1, 2, 3)), bench):
        for column, value in new.items():
            if isinstance(value, float) and column not in TIMES:
                assert value == pytest.approx(old[new["scene"]][column], rel=TOLERANCE, abs=FLOOR), (row, column)
