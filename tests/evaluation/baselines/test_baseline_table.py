"""The table of baselines: what rows are told, what they say about themselves, and what a task refuses."""

from dataclasses import replace

import pytest
import torch

from novakit.errors import NovaError
from novakit.evaluation.baselines import BASELINES, i2vedit, lora_edit, vace_multiframe
from novakit.evaluation.baselines.lora import SELF_ATTENTION, LoraConfig

OURS = ("vace_grey", "vace_source", "anyv2v", "i2vedit", "lora_edit")
FIRST_FRAME_ONLY = ("anyv2v", "i2vedit")


@pytest.fixture
def short_tuning(monkeypatch):
    """Two steps a clip: these tests ask what a row reads, not how well it learns."""
    short = LoraConfig(targets=SELF_ATTENTION, rank=2, steps=2)
    monkeypatch.setattr(i2vedit, "CONFIG", i2vedit.I2VEditConfig(short))
    monkeypatch.setattr(lora_edit, "CONFIG", lora_edit.LoraEditConfig(short, keyframe_steps=2))


def test_every_row_is_there_and_says_what_was_kept_and_left_out():
    assert list(BASELINES) == [*OURS, "senorita", "token_concat"]
    for name, row in BASELINES.items():
        assert row.name == name
        assert row.kept.endswith(".") and row.left_out.endswith(".") and len(row.title) > 5
    assert [name for name, row in BASELINES.items() if row.per_video_tuning] == ["i2vedit", "lora_edit"]
    assert [name for name, row in BASELINES.items() if row.needs_weights] == ["senorita", "token_concat"]


def test_parameters_are_those_that_are_added(pipe):
    assert [BASELINES[name].parameters(pipe) for name in OURS[:3]] == [0, 0, 0]
    rank = i2vedit.CONFIG.lora.rank
    assert BASELINES["i2vedit"].parameters(pipe) == 8 * 4 * rank * (160 + 160)  # 8 blocks, q, k, v, out of width 160
    assert BASELINES["lora_edit"].parameters(pipe) > 0


@pytest.mark.parametrize("name", OURS)
def test_a_row_reads_the_mask_only_if_it_says_so(pipe, short_task, name, short_tuning):
    one = replace(short_task.clip(0), steps=1)
    told = BASELINES[name].edit(pipe, one)
    assert told.shape == one.source.shape and told.abs().max() <= 1.0
    other = BASELINES[name].edit(pipe, replace(one, mask=1.0 - one.mask))
    assert torch.equal(told, other) != BASELINES[name].sees_mask


@pytest.mark.parametrize("name", OURS)
def test_rows_of_the_first_frame_do_not_read_the_other_keyframes(pipe, short_task, name, short_tuning):
    one = replace(short_task.clip(0), steps=1)
    changed = one.keyframes.clone()
    changed[:, :, 1:] *= -1.0
    same = torch.equal(BASELINES[name].edit(pipe, one), BASELINES[name].edit(pipe, replace(one, keyframes=changed)))
    assert same == (name in FIRST_FRAME_ONLY)


@pytest.mark.parametrize("name", ["anyv2v", "i2vedit", "lora_edit"])
def test_rows_of_the_first_frame_refuse_a_task_without_it(pipe, short_task, name):
    later = replace(short_task, indices=[2, 4, 8])
    with pytest.raises(NovaError, match=r"first frame; keyframes are at \[2, 4, 8\]"):
        BASELINES[name].edit(pipe, later)


def test_vace_rows_are_vace_multiframe(pipe, short_task):
    task = short_task
    given = (pipe, task.keyframes, task.indices, task.noise, 1)
    one_step = replace(task, steps=1)
    assert torch.equal(BASELINES["vace_grey"].edit(pipe, one_step), vace_multiframe(*given))
    assert torch.equal(BASELINES["vace_source"].edit(pipe, one_step), vace_multiframe(*given, task.source, task.mask))


@pytest.mark.parametrize("name", OURS)
def test_a_scene_gives_the_same_clip_in_any_batch(pipe, short_task, name, short_tuning):
    two_steps = replace(short_task, steps=2)
    both, alone = BASELINES[name].edit(pipe, two_steps)[1], BASELINES[name].edit(pipe, two_steps.clip(1))[0]
    assert (both - alone).abs().max() < 1e-3  # rounding of another batch size; tuning rows are equal bit for bit
    if BASELINES[name].per_video_tuning:
        assert torch.equal(both, alone)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"indices": [0, 8]}, "keyframes gives"),
        ({"indices": [0, 16, 8]}, "ascending"),
        ({"indices": [0, 8, 17]}, "from 0 to 16"),
        ({"steps": 0}, "steps is 0"),
        ({"mask": torch.zeros(2, 1, 13, 64, 96)}, "mask gives"),
        ({"noise": torch.zeros(2, 48, 4, 8, 12)}, "noise gives"),
    ],
)
def test_a_task_refuses_parts_that_do_not_fit(task, change, message):
    with pytest.raises(NovaError, match=message):
        replace(task, **change)
