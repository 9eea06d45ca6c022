"""The benchmark measures what it says, and refuses what it does not know."""

import json

import pytest

from novakit.errors import NovaError
from novakit.evaluation import benchmark


def test_import_is_quick_and_rendering_is_measured(monkeypatch):
    monkeypatch.setattr(benchmark, "REPEATS", 1)
    assert benchmark.measure_import()["import"] < 5.0  # the target is 0.3; a busy machine is slower
    speeds = benchmark.measure_rendering()
    assert min(speeds.values()) > 20


def test_cache_gives_the_same_result_and_is_faster(monkeypatch):
    monkeypatch.setattr(benchmark, "REPEATS", 1)
    assert benchmark.measure_cache()["cache"] > 1.0


def test_report_compares_with_targets(monkeypatch, tmp_path):
    monkeypatch.setattr(benchmark, "MEASUREMENTS", (lambda: {"edit": 12.0, "cache": 1.5},))
    benchmark.bench("cpu", tmp_path / "bench.json")
    rows = {row["what"]: row["met"] for row in json.loads((tmp_path / "bench.json").read_text())["rows"]}
    assert list(rows.values()) == [False, True]


def test_unknown_suite_is_refused():
    with pytest.raises(NovaError, match="cpu"):
        benchmark.bench("tpu")
