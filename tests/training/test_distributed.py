"""Two processes are one: the same losses, one decision to stop, one checkpoint; one lost process ends the other."""

import os
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from full_size_toy import Clips, Ranks, losses, run_ranks, toy_model, toy_run
from safetensors.torch import load_file
from toy_training import CONFIG, ToyTask

from novakit.errors import NovaError
from novakit.training import Trainer
from novakit.training.checkpoint import latest_checkpoint
from novakit.training.distributed import task as distributed_task
from novakit.training.distributed.processes import Processes, _joined, launched
from novakit.training.run_folder import read_log
from novakit.training.trainer import CHECKPOINT_DUE

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
TOLERANCE = 1e-9


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The uninterrupted run of one process."""
    folder = tmp_path_factory.mktemp("alone")
    toy_run(folder)
    return folder


def assert_same(folder, reference, tolerance=TOLERANCE):
    """Losses of every step, and the final weights."""
    found, wanted = losses(folder), losses(reference)
    assert list(found) == list(wanted) == list(range(1, 11))
    assert all(found[step] == pytest.approx(wanted[step], rel=0, abs=tolerance) for step in wanted)
    first, second = (load_file(Path(each) / "last.safetensors") for each in (folder, reference))
    assert all(torch.allclose(first[name], second[name], rtol=0, atol=1e-7) for name in second)


@pytest.mark.parametrize("accumulation", [1, 2])
def test_two_processes_give_the_losses_of_one(alone, tmp_path, accumulation):
    done = run_ranks(lambda: toy_run(tmp_path / "two", accumulation=accumulation), tmp_path)
    assert done.codes == [0, 0], done.text()
    assert_same(tmp_path / "two", alone)


def per_process(task, step, rows, shape):
    """The mistake: noise that depends on the place within the process, as a seed per rank would give."""
    return task.draw_by_row(step, range(task.processes.rank * 100, task.processes.rank * 100 + len(rows)), shape)


def test_noise_drawn_per_process_would_be_noticed(alone, tmp_path, monkeypatch):
    task = distributed_task.SampleTask
    monkeypatch.setattr(task, "draw_by_row", task.draw, raising=False)
    monkeypatch.setattr(task, "draw", per_process)
    done = run_ranks(lambda: toy_run(tmp_path / "two"), tmp_path)
    assert done.codes == [0, 0], done.text()
    assert abs(losses(tmp_path / "two")[1] - losses(alone)[1]) > 1e-3


def test_resumed_on_another_number_of_processes(alone, tmp_path):
    """2 processes to step 3, 1 to step 6, 2 to the end: SIGTERM to a single process each time."""
    run = tmp_path / "run"
    first = run_ranks(lambda: toy_run(run, act=(2, 1, "SIGTERM")), tmp_path)
    assert first.codes == [143, 143], first.text()
    assert latest_checkpoint(run / "checkpoints").step == 3
    second = run_ranks(lambda: toy_run(run, act=(5, 0, "SIGTERM"), accumulation=4), tmp_path, count=1)
    assert second.codes == [143], second.text()
    assert latest_checkpoint(run / "checkpoints").step == 6
    third = run_ranks(lambda: toy_run(run, accumulation=2), tmp_path)
    assert third.codes == [0, 0], third.text()
    assert_same(run, alone)


@pytest.mark.parametrize("fsdp", [False, True])
def test_two_processes_stopped_and_resumed_are_bit_equal(tmp_path, fsdp):
    """Log, weights, averages and optimiser, in float32, with accumulation."""
    options = {"fsdp": fsdp, "ema": 0.9, "double": False, "accumulation": 2, "steps": 6, "checkpoint_every": 2}
    whole = run_ranks(lambda: toy_run(tmp_path / "whole", **options), tmp_path)
    stop = (3, 0, "SIGINT")
    cut = run_ranks(lambda: toy_run(tmp_path / "cut", act=stop, **options), tmp_path)
    assert whole.codes == [0, 0] and cut.codes == [130, 130], whole.text() + cut.text()
    assert latest_checkpoint(tmp_path / "cut/checkpoints").step == 4
    again = run_ranks(lambda: toy_run(tmp_path / "cut", **options), tmp_path)
    assert again.codes == [0, 0], again.text()
    assert (tmp_path / "cut/log.jsonl").read_text() == (tmp_path / "whole/log.jsonl").read_text()
    one, two = (latest_checkpoint(tmp_path / name / "checkpoints") for name in ("whole", "cut"))
    for part in ("weights", "ema", "optimizer"):
        tensors, others = getattr(one, part), getattr(two, part)
        assert tensors and list(tensors) == list(others)
        assert all(torch.equal(tensors[name], others[name]) for name in tensors), part


def test_sharded_run_equals_one_process_and_is_resumed_by_it(alone, tmp_path):
    """FSDP2 to step 3 on two processes, then one process without sharding; checkpoints hold whole tensors."""
    run = tmp_path / "run"
    first = run_ranks(lambda: toy_run(run, act=(2, 1, "SIGTERM"), fsdp=True), tmp_path)
    assert first.codes == [143, 143], first.text()
    shapes = {name: value.shape for name, value in toy_model().named_parameters() if value.requires_grad}
    state = latest_checkpoint(run / "checkpoints")
    assert all(value.shape == shapes[name] for name, value in state.weights.items())
    toy_run(run)
    assert_same(run, alone)


@pytest.mark.parametrize("fsdp", [False, True])
def test_a_checkpoint_that_one_process_finds_overdue_is_written_by_all(tmp_path, monkeypatch, fsdp):
    """Their clocks differ; a process that saved alone would leave the other waiting for ever."""

    def overdue(trainer):
        return CHECKPOINT_DUE if (trainer.processes.rank, trainer.step) == (1, 3) else 0

    monkeypatch.setattr(Trainer, "_overdue", overdue)
    done = run_ranks(lambda: toy_run(tmp_path / "run", fsdp=fsdp, steps=6, checkpoint_every=6), tmp_path)
    assert done.codes == [0, 0], done.text()
    kept = sorted(path.name for path in (tmp_path / "run/checkpoints").glob("step-*"))
    assert kept == ["step-000003", "step-000006"]


def test_nan_on_one_process_stops_both_before_the_update(alone, tmp_path):
    """Clip 3 of batch 7 belongs to process 1; both name it, and a mended cache continues as if nothing was."""
    run = tmp_path / "run"
    done = run_ranks(lambda: toy_run(run, {"poison": [7, 3]}, checkpoint_every=1), tmp_path)
    assert done.codes == [2, 2], done.text()
    for rank in (0, 1):
        assert "the loss of step 7 is nan: stopped before the update" in done.text(rank)
        assert "clip 3 of batch 7 = toy-7-3, process 1, NaN or infinite in its target_latents" in done.text(rank)
    assert latest_checkpoint(run / "checkpoints").step == 7  # updates 0 .. 6
    toy_run(run)
    assert_same(run, alone)


def test_damaged_data_on_one_process_ends_both(tmp_path):
    done = run_ranks(lambda: toy_run(tmp_path / "run", {"damaged": [4, 1]}), tmp_path)
    assert done.codes == [2, 2], done.text()
    assert all("process 1: shard 3 is damaged" in done.text(rank) for rank in (0, 1))


def test_what_all_say_is_said_once():
    """An error of all processes is one sentence; of many different ones three are told."""
    assert _joined([(0, "no base"), (1, "no base")], 2) == "no base"
    assert _joined([(1, "no base")], 2) == "process 1: no base"
    many = _joined([(rank, f"{rank} GB free") for rank in range(64)], 64)
    assert many == "process 0: 0 GB free; process 1: 1 GB free; process 2: 2 GB free; and 61 more"


def test_killed_process_ends_the_other_with_a_clear_message(alone, tmp_path):
    run = tmp_path / "run"
    done = run_ranks(lambda: toy_run(run, act=(7, 1, "SIGKILL")), tmp_path)
    assert done.codes == [2, -signal.SIGKILL], done.text()
    assert done.ended[0] - done.ended[1] < 60
    assert "process 0 of 2 lost another one" in done.text(0) and "goes on from the newest" in done.text(0)
    assert latest_checkpoint(run / "checkpoints").step == 5
    assert run_ranks(lambda: toy_run(run), tmp_path).codes == [0, 0]
    assert_same(run, alone)


def test_process_that_does_not_answer_counts_as_lost(tmp_path):
    """SIGSTOP: nothing closes a connection, only patience ends."""
    ranks = Ranks(lambda: toy_run(tmp_path / "run", act=(4, 1, "SIGSTOP"), patience=15.0), tmp_path)
    deadline = time.monotonic() + 200
    while "lost another one" not in ranks.text(0) and time.monotonic() < deadline:
        time.sleep(0.1)
    os.kill(ranks.children[1], signal.SIGKILL)
    assert ranks.wait().codes == [2, -signal.SIGKILL]
    assert "lost another one" in ranks.text(0)


def test_folder_in_use_is_refused_by_all_processes(tmp_path):
    from novakit.files import require_writable_folder
    from novakit.training.run_folder import RunLock

    with RunLock(require_writable_folder(tmp_path / "run")):
        done = run_ranks(lambda: toy_run(tmp_path / "run"), tmp_path)
    assert done.codes == [2, 2]
    assert all(f"in use by process {os.getpid()}" in done.text(rank) for rank in (0, 1))


def test_resume_with_another_batch_is_refused_by_all_processes(tmp_path):
    assert run_ranks(lambda: toy_run(tmp_path / "run", steps=1), tmp_path).codes == [0, 0]
    done = run_ranks(lambda: toy_run(tmp_path / "run", steps=1, batch=8), tmp_path)
    assert done.codes == [2, 2]
    assert all("'batch' was 4 in the checkpoint and is now 8" in done.text(rank) for rank in (0, 1))


def test_validation_and_best_weights_with_two_processes(tmp_path):
    """Validation runs in all processes, its files are written once and equal those of a single process."""
    options = {"validation": [Clips().batch(10_000, 2, 0)], "validate_every": 5, "ema": 0.9}
    toy_run(tmp_path / "one", **options)
    done = run_ranks(lambda: toy_run(tmp_path / "two", **options), tmp_path)
    assert done.codes == [0, 0], done.text()
    one, two = (read_log(tmp_path / name / "log.jsonl") for name in ("one", "two"))
    assert [line["group"] for line in one].count("validation") == 2
    assert [(line["step"], line["group"]) for line in one] == [(line["step"], line["group"]) for line in two]
    for first, second in zip(one, two):
        assert second["loss"] == pytest.approx(first["loss"], abs=1e-6)  # validation computes in float32


def test_batch_that_cannot_be_divided(tmp_path):
    done = run_ranks(lambda: toy_run(tmp_path / "run", batch=5), tmp_path)
    assert done.codes == [2, 2]
    assert "a batch of 5 cannot be divided among 2 processes with accumulation 1" in done.text(0)
    with pytest.raises(NovaError, match="must be a multiple of 3"):
        toy_run(tmp_path / "run", accumulation=3)


@pytest.mark.parametrize("accumulate", [1, 3])
def test_passes_that_cannot_be_shared_out_are_refused(tmp_path, accumulate):
    several = Processes()
    several.count = 2
    with pytest.raises(NovaError, match=f"ToyTask cannot be trained by 2 processes with accumulate {accumulate}"):
        Trainer(ToyTask(), replace(CONFIG, accumulate=accumulate), tmp_path, several)
    several.shard = True
    with pytest.raises(NovaError, match="ToyTask cannot be trained with split weights"):
        Trainer(ToyTask(), replace(CONFIG, accumulate=2), tmp_path, several)


class Lines:
    """Fits a line to points that follow from the pass; its offset learns in every fourth pass only."""

    def __init__(self):
        self.module = torch.nn.Linear(3, 2).double()
        with torch.no_grad():
            self.module.weight.fill_(0.1), self.module.bias.fill_(0.2)
        self.seen = []

    def loss(self, index):
        self.seen.append(index)
        points = torch.randn(4, 3, generator=torch.Generator().manual_seed(index)).double()
        output = points @ self.module.weight.T + (self.module.bias if index % 4 == 3 else 0.0)
        return (output - points[:, :2]).square().mean(), {"index": index}


def fit_lines(folder, team=None):
    """Ten updates of four passes; returns which passes this process computed."""
    task = Lines()
    config = replace(CONFIG, steps=10, accumulate=4, log_every=1, validate_every=0, best_metric=None)
    Trainer(task, config, folder, team).fit(progress=False)
    return task.seen


def fit_lines_together(folder):
    with launched("cpu") as team:
        print("passes", fit_lines(folder, team))


def test_passes_shared_out_give_the_numbers_of_one_process(tmp_path):
    seen = fit_lines(tmp_path / "one")
    done = run_ranks(lambda: fit_lines_together(tmp_path / "two"), tmp_path)
    assert done.codes == [0, 0], done.text()
    assert [f"passes {seen[rank::2]}" in done.text(rank) for rank in (0, 1)] == [True, True]
    assert_same(tmp_path / "two", tmp_path / "one")


def test_without_a_launcher_one_process_is_alone(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with launched("cpu") as team:
        assert team.count == 1 and team.accelerator is None
