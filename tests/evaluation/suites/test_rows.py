"""What each row hands to the pipeline: no mask, and exactly one change."""

import pytest
import torch
from toy_bench import FRAMES, ToyNova, noise, render

from novakit.errors import NovaError
from novakit.evaluation.baselines import BASELINES
from novakit.evaluation.baselines.task import EditTask
from novakit.evaluation.suites.definitions import FULL, ONE_SEED, SMALL, SUITES, get_suite
from novakit.evaluation.suites.rows import (
    blurred,
    edit_with,
    frame_local,
    interpolated,
    with_blurred_source,
    without_dense,
)

INDICES = [0, 4, 8]


@pytest.fixture(scope="module")
def task():
    scenes, pipe = render([0, 1]), ToyNova()
    return EditTask(scenes.source, scenes.truth[:, :, INDICES], INDICES, noise(pipe, scenes, 0), 3, scenes.mask)


def test_the_dense_branch_is_all_that_is_switched_off(task):
    pipe = ToyNova()
    edit_with(pipe, task), without_dense(pipe, task)
    on, off = pipe.calls
    assert (on["dense_scale"], off["dense_scale"]) == (1.0, 0.0)
    assert torch.equal(on["source"], off["source"]) and on["steps"] == off["steps"] == 3


def test_only_the_dense_branch_reads_the_blurred_source(task):
    pipe = ToyNova()
    with_blurred_source(pipe, task)
    assert torch.equal(pipe.calls[0]["source"], blurred(task.source))
    assert task.source.diff(dim=-1).abs().mean() > 1.5 * blurred(task.source).diff(dim=-1).abs().mean()
    flat = torch.full_like(task.source, 0.3)
    assert torch.allclose(blurred(flat), flat, atol=1e-5)


def test_frame_local_attention_is_set_for_one_edit_only(task):
    pipe = ToyNova()
    frame_local(0)(pipe, task), edit_with(pipe, task)
    assert [call["window"] for call in pipe.calls] == [0, None]


def test_interpolated_keyframes_are_the_keyframes_at_their_places(task):
    clip = interpolated(None, task)
    assert clip.shape[2] == FRAMES and torch.equal(clip[:, :, INDICES], task.keyframes)


@pytest.mark.parametrize("name", SUITES)
def test_every_suite_has_rows_of_its_own_names_and_its_notes(name):
    suite = get_suite(name, BASELINES)
    names = [plan.row.name for plan in suite.plans]
    assert len(set(names)) == len(names) and suite.notes
    if name != "claims":
        assert {"source", "interpolation", "round_trip", "nova"} <= set(names)


def test_sizes_are_each_rows_own_unless_they_are_given():
    plans = {plan.row.name: plan for plan in get_suite("table1", BASELINES).plans}
    assert set(BASELINES) <= set(plans)
    assert (plans["nova"].scenes, plans["nova"].seeds) == FULL
    assert (plans["i2vedit"].scenes, plans["lora_edit"].seeds) == SMALL
    assert plans["vace_source"].row.sees_mask and not plans["nova"].row.sees_mask
    assert all((p.scenes, p.seeds) == (3, 2) for p in get_suite("table2", BASELINES, 3, 2).plans)
    assert (plans["vace_grey"].scenes, plans["senorita"].seeds) == ONE_SEED
    robustness = get_suite("robustness", BASELINES).plans
    assert all((p.scenes, p.seeds) == (ONE_SEED if p.row.weights else SMALL) for p in robustness)


def test_a_row_has_one_meaning_in_all_suites():
    seen = {}
    for name in SUITES:
        for plan in get_suite(name, BASELINES).plans:
            row = plan.row
            meaning = (row.title, row.interval, row.irregular, row.weights, row.keyframes.__qualname__)
            assert seen.setdefault(row.name, meaning) == meaning


@pytest.mark.parametrize("options", [{"scenes": 0}, {"seeds": 0}, {"scenes": -3}])
def test_bad_sizes_and_names_are_refused(options):
    with pytest.raises(NovaError, match="at least 1"):
        get_suite("table1", BASELINES, **options)
    with pytest.raises(NovaError, match="table1, table2, robustness, claims"):
        get_suite("table3", BASELINES)
