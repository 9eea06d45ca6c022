"""The suite "scaling" fits the exponent that is there, and sees what costs and what does not."""

import pytest
import torch

from novakit.evaluation import benchmark
from novakit.evaluation.benchmark import scaling
from novakit.models.cost import Work, forward_cost


def test_the_exponent_of_a_power_law_is_found():
    sizes = [1, 2, 3, 5, 9]
    assert scaling.exponent(sizes, [7 * size**1.5 for size in sizes]) == pytest.approx(1.5)
    assert scaling.exponent(sizes, [4.0] * 5) == pytest.approx(0.0)


def test_the_suite_on_small_clips(monkeypatch, tmp_path):
    monkeypatch.setattr(scaling, "FRAMES", (5, 17))
    monkeypatch.setattr(scaling, "SIZES", ((32, 48), (64, 96)))
    monkeypatch.setattr(scaling, "KEYFRAMES", (1, 9))
    monkeypatch.setattr(scaling, "REPEATS", 1)
    numbers = benchmark.bench("scaling", tmp_path / "scaling.json")["numbers"]
    assert (tmp_path / "scaling.json").exists()
    told = forward_cost(Work("nano", height=32, width=48)).flop.forward / 1e9
    assert numbers["pixels.32x48.gflop"] == pytest.approx(told, abs=1e-4)
    assert 1 < numbers["frames.flop_exponent"] < 2 and 1 < numbers["pixels.flop_exponent"] < 2
    assert numbers["frames.exponent"] > 0.4 and numbers["pixels.exponent"] > 0.4
    assert numbers["keyframes.flop_exponent"] == 0 < 0.2 < numbers["keyframes_official.flop_exponent"]
    assert numbers["keyframes_official.9.seconds"] > numbers["keyframes_official.1.seconds"]


def test_the_number_of_threads_is_as_before():
    before = torch.get_num_threads()
    with scaling.one_thread():
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == before
