"""X9: memory runs out in training. The same batch in more passes, told and written down; one clip a pass is the end."""

import contextlib
import json
import os
from unittest import mock

import pytest
import torch
from full_size_toy import losses, run_ranks, toy_model, toy_run

from novakit.errors import NovaError, NovaNotice
from novakit.models.checkpointing import all_but_attention
from novakit.training import trainer as trainer_module
from novakit.training.checkpoint import latest_checkpoint
from novakit.training.distributed.task import SampleTask
from novakit.training.full_size.ladder import ran_out, smallest_divisor

SHORT = {"steps": 3, "checkpoint_every": 3}
FULL = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.\nmore")


@contextlib.contextmanager
def memory_for(clips, rank=0, where="forward", first=0, checkpointing=True, keep_attention=True):
    """In process `rank` passes over more than `clips` clips run out of memory, from update `first` on.

    Args:
        where: "forward", or "backward" = when most gradients of a pass are there, that of the first layer is not.
        checkpointing: False: passes that do not checkpoint their blocks run out too, however small.
        keep_attention: False: so do those that keep what attention gave.
    """
    plain = SampleTask._velocity

    def full_in_the_backward_pass(weight):
        def full(_gradient):
            handle.remove()
            raise FULL

        handle = weight.register_hook(full)

    def velocity(task, batch, noisy, sigmas):
        here = task.processes.rank == rank and torch.is_grad_enabled() and task.step_now >= first
        large = len(noisy) > clips or not (checkpointing or task.module.gradient_checkpointing)
        large |= not keep_attention and task.module._gradient_checkpointing_func is all_but_attention
        if here and large and where == "forward":
            raise FULL
        if here and large:
            full_in_the_backward_pass(next(weight for weight in task.module.parameters() if weight.requires_grad))
        return plain(task, batch, noisy, sigmas)

    def prepare(task, step, plain=SampleTask.prepare):
        task.step_now = step
        plain(task, step)

    with mock.patch.object(SampleTask, "_velocity", velocity), mock.patch.object(SampleTask, "prepare", prepare):
        yield


@contextlib.contextmanager
def gradients():
    """The gradients of every update, as they are before clipping."""
    plain, seen = torch.nn.utils.clip_grad_norm_, []

    def clip(parameters, limit):
        parameters = list(parameters)
        seen.append([weight.grad.clone() for weight in parameters])
        return plain(parameters, limit)

    with mock.patch.object(trainer_module.torch.nn.utils, "clip_grad_norm_", clip):
        yield seen


def steps_down(folder):
    """(update, passes, clips a pass) of every step of the ladder, from the run's log."""
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    found = [line for line in lines if line["group"] == "memory"]
    return [(line["step"], line["accumulation"], line["clips_per_pass"]) for line in found]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that has memory enough: its folder and its gradients."""
    folder = tmp_path_factory.mktemp("whole")
    with gradients() as seen:
        toy_run(folder, **SHORT)
    return folder, seen


@pytest.mark.parametrize("where", ["forward", "backward"])
def test_one_process_goes_on_with_the_same_batch(whole, tmp_path, where):
    """Room for one clip from the second update on, of four: two steps down, gradients equal within 1e-5 (here 1e-9)."""
    with memory_for(1, where=where, first=1), gradients() as seen, pytest.warns(NovaNotice, match="batch is still 4"):
        trainer = toy_run(tmp_path, **SHORT)
    assert steps_down(tmp_path) == [(1, 2, 2), (1, 4, 1)] and trainer.config.accumulate == 4
    assert losses(tmp_path) == pytest.approx(losses(whole[0]), abs=1e-9)
    assert [len(update) for update in seen] == [len(update) for update in whole[1]]
    for update, wanted in zip(seen, whole[1], strict=True):
        assert all(torch.allclose(one, two, rtol=1e-5, atol=1e-9) for one, two in zip(update, wanted))
        assert max(gradient.abs().max() for gradient in wanted) > 1e-3


def test_checkpointing_comes_first(whole, tmp_path):
    """Off, and all that is missing: the passes stay as they are. On resume the same command may say either."""
    options = {**SHORT, "gradient_checkpointing": False}
    with memory_for(4, checkpointing=False), pytest.warns(NovaNotice, match="accumulation 1, clips a pass 4"):
        trainer = toy_run(tmp_path, **options)
    assert trainer.config.gradient_checkpointing and steps_down(tmp_path) == [(0, 1, 4)]
    assert losses(tmp_path) == pytest.approx(losses(whole[0]), abs=1e-12)


def test_what_attention_gave_is_given_up_first(whole, tmp_path):
    with memory_for(4, keep_attention=False), pytest.warns(NovaNotice, match="accumulation 1, clips a pass 4"):
        trainer = toy_run(tmp_path, keep_attention=True, **SHORT)
    assert trainer.config.gradient_checkpointing and not trainer.config.keep_attention
    assert steps_down(tmp_path) == [(0, 1, 4)]
    assert losses(tmp_path) == pytest.approx(losses(whole[0]), abs=1e-12)


def test_one_clip_a_pass_is_the_end(tmp_path):
    """Not a weight has changed, the checkpoint is whole, and the message says what is left."""
    model = toy_model()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    said = "pass of one clip .*process 0: CUDA out of memory. Tried to allocate 2 GiB.*--fsdp, --activation-offload"
    with memory_for(0), pytest.warns(NovaNotice), pytest.raises(NovaError, match=said):
        toy_run(tmp_path, model=model, **SHORT)
    assert steps_down(tmp_path) == [(0, 2, 2), (0, 4, 1)] and latest_checkpoint(tmp_path / "checkpoints").step == 0
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_resumed_run_may_begin_where_the_ladder_ended(whole, tmp_path):
    with memory_for(2), pytest.warns(NovaNotice, match="--accumulation 2"):
        toy_run(tmp_path, schedule="constant", **{**SHORT, "steps": 2})
    again = toy_run(tmp_path, schedule="constant", accumulation=2, **SHORT)
    plain = toy_run(tmp_path / "plain", schedule="constant", **SHORT)
    assert again.step == 3 and losses(tmp_path) == pytest.approx(losses(plain.folder), abs=1e-9)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("where", ["forward", "backward"])
def test_two_processes_step_down_together(whole, tmp_path, where):
    """Only process 1 runs out, in the middle of a pass: both halve their passes, and none waits for the other."""

    def run():
        with memory_for(1, rank=1, where=where):
            trainer = toy_run(tmp_path / "two", patience=60.0, **SHORT)
        print(f"accumulation {trainer.config.accumulate}, {trainer.task.share}")

    done = run_ranks(run, tmp_path)
    assert done.codes == [0, 0], done.text()
    assert all("accumulation 2, Share(batch=4, accumulation=2)" in done.text(rank) for rank in (0, 1))
    assert steps_down(tmp_path / "two") == [(0, 2, 1)]
    assert losses(tmp_path / "two") == pytest.approx(losses(whole[0]), abs=1e-9)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_two_processes_end_together(tmp_path):
    def run():
        with memory_for(0, rank=1):
            toy_run(tmp_path / "two", patience=60.0, **SHORT)

    done = run_ranks(run, tmp_path)
    assert done.codes == [2, 2], done.text()
    assert all("a pass of one clip" in done.text(rank) and "process 1: CUDA" in done.text(rank) for rank in (0, 1))


def test_other_errors_pass():
    assert ran_out(FULL) and ran_out(RuntimeError("[enforce fail] . DefaultCPUAllocator: can't allocate memory: you"))
    assert not ran_out(RuntimeError("The size of tensor a (3) must match")) and not ran_out(RuntimeError())
    assert [smallest_divisor(number) for number in (2, 3, 8, 15, 25)] == [2, 3, 2, 3, 5]
