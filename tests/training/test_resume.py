"""A killed and resumed run equals one that never stopped: losses, weights, averages, random states."""

import random
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from toy_training import CONFIG, ToyTask

import novakit
from novakit.errors import NovaError
from novakit.training import Trainer
from novakit.training import trainer as trainer_module
from novakit.training.checkpoint import latest_checkpoint


class Killed(BaseException):
    """Stands for a kill: nothing in the library may catch it."""


def kill():
    raise Killed


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def train(folder, task=None, config=CONFIG, **options):
    return Trainer(task or ToyTask(), config, folder).fit(progress=False, **options)


def everything(folder):
    """All that a run leaves behind, except wall-clock: log, weights for use, and the last checkpoint."""
    state = latest_checkpoint(folder / "checkpoints")
    tensors = {
        f"{part}/{name}": value.tolist()
        for part in ("weights", "ema", "optimizer", "rng")
        for name, value in getattr(state, part).items()
    }
    for name in ("last", "best"):
        tensors |= {f"{name}/{key}": v.tolist() for key, v in load_file(folder / f"{name}.safetensors").items()}
    return {
        "log": (folder / "log.jsonl").read_text(),
        "best.json": (folder / "best.json").read_text(),
        "step": state.step,
        "scalars": state.scalars,
        **tensors,
    }


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("uninterrupted")
    train(folder)
    return everything(folder)


def test_the_reference_run_is_worth_comparing(uninterrupted, tmp_path):
    """The same run twice is equal, and another seed gives other numbers."""
    train(tmp_path / "again")
    assert everything(tmp_path / "again") == uninterrupted
    train(tmp_path / "other", config=replace(CONFIG, seed=4))
    assert everything(tmp_path / "other")["log"] != uninterrupted["log"]


def test_killed_by_the_system_twice_and_resumed(uninterrupted, tmp_path):
    """SIGKILL at random batches (odd ones fall between the two batches of an update), then resumed."""
    batches = [random.SystemRandom().randrange(1, 24), random.SystemRandom().randrange(24, 48)]
    script = Path(__file__).with_name("toy_training.py")
    for batch in batches:
        command = [sys.executable, str(script), str(tmp_path), str(batch)]
        done = subprocess.run(
            command,
            env={"PYTHONPATH": str(Path(novakit.__file__).parents[1]), "OMP_NUM_THREADS": "1"},
            capture_output=True,
            timeout=120,
        )
        assert done.returncode == -signal.SIGKILL, done.stderr.decode()[-2000:]
    train(tmp_path)
    assert everything(tmp_path) == uninterrupted, f"killed at batches {batches}"


@pytest.mark.parametrize("batch", [0, 1, 13, 14, 29, 47])
def test_resumed_from_every_kind_of_place(uninterrupted, tmp_path, batch):
    with pytest.raises(Killed):
        train(tmp_path, ToyTask({batch: kill}))
    task = ToyTask()
    train(tmp_path, task)
    assert task.seen[0] == 14 * (batch // 14)  # back to the last checkpoint, 7 updates of 2 batches
    assert everything(tmp_path) == uninterrupted


def drop_optimizer(state):
    state.optimizer.clear()


def drop_moments_only(state):
    for name in list(state.optimizer):
        if name.endswith("exp_avg_sq"):
            state.optimizer[name].zero_()


def drop_torch_rng(state):
    with torch.random.fork_rng():
        torch.manual_seed(99)
        state.rng["cpu"] = torch.get_rng_state()


def drop_python_rng(state):
    state.scalars["rng"]["python"] = random.Random(99).getstate()


def drop_numpy_rng(state):
    state.scalars["rng"]["numpy"][2] -= 1


def drop_ema(state):
    state.ema = {name: state.weights[name].clone() for name in state.ema}


def drop_buffers(state):
    state.weights["1.running_mean"].zero_()


def drop_step(state):
    state.step -= 1


def drop_window(state):
    state.scalars["window"] = []


def drop_best(state):
    state.scalars["best"] = 1e9


DROPS = [
    drop_optimizer,
    drop_moments_only,
    drop_torch_rng,
    drop_python_rng,
    drop_numpy_rng,
    drop_ema,
    drop_buffers,
    drop_step,
    drop_window,
]


@pytest.mark.parametrize("drop", DROPS, ids=lambda drop: drop.__name__)
def test_losing_one_piece_of_state_is_noticed(uninterrupted, tmp_path, monkeypatch, drop):
    """Mutation: the comparison above fails when a single item is missing from the checkpoint."""
    with pytest.raises(Killed):
        train(tmp_path, ToyTask({20: kill}))

    def damaged(folder):
        state = latest_checkpoint(folder)
        drop(state)
        return state

    monkeypatch.setattr(trainer_module, "latest_checkpoint", damaged)
    train(tmp_path)
    monkeypatch.undo()
    assert everything(tmp_path) != uninterrupted


def test_losing_the_best_score_is_noticed(uninterrupted, tmp_path, monkeypatch):
    """With a far too good best on record no later weights count as best."""
    with pytest.raises(Killed):
        train(tmp_path, ToyTask({20: kill}))
    state = latest_checkpoint(tmp_path / "checkpoints")
    drop_best(state)
    monkeypatch.setattr(trainer_module, "latest_checkpoint", lambda folder: state)
    train(tmp_path)
    monkeypatch.undo()
    assert everything(tmp_path)["scalars"]["best"] != uninterrupted["scalars"]["best"]


def test_a_finished_run_is_not_trained_again(uninterrupted, tmp_path):
    train(tmp_path)
    task = ToyTask()
    (tmp_path / "last.safetensors").unlink()  # as after a kill just before it was written
    history = train(tmp_path, task)
    assert task.seen == [] and history[-1]["step"] == 24
    assert everything(tmp_path) == uninterrupted


def test_resume_refuses_other_settings(tmp_path):
    with pytest.raises(Killed):
        train(tmp_path, ToyTask({20: kill}))
    with pytest.raises(NovaError, match=r"lr: checkpoint has 0.01, now 0.02"):
        train(tmp_path, config=replace(CONFIG, lr=0.02))
    task = ToyTask()
    task.settings["batch"] = 16
    with pytest.raises(NovaError, match="'batch' was 8 in the checkpoint and is now 16"):
        train(tmp_path, task)
    with pytest.raises(NovaError, match="frozen_weights"):
        train(tmp_path, ToyTask(weights_seed=1))  # another base
    train(tmp_path, config=replace(CONFIG, lr=0.02, minutes=5.0, keep=3), accept_changes=["lr"])


def test_resume_refuses_another_model(tmp_path):
    with pytest.raises(Killed):
        train(tmp_path, ToyTask({20: kill}))
    task = ToyTask()
    task.module[0] = torch.nn.Linear(6, 16, bias=False)
    with pytest.raises(NovaError, match="0.bias"):
        train(tmp_path, task)


def test_a_longer_constant_run_continues(tmp_path):
    config = replace(CONFIG, schedule="constant", checkpoint_every=4)
    train(tmp_path / "short", config=replace(config, steps=12))
    train(tmp_path / "short", config=config)
    train(tmp_path / "long", config=config)
    short, long = (load_file(tmp_path / name / "last.safetensors") for name in ("short", "long"))
    assert all(torch.equal(short[name], long[name]) for name in long)
    with pytest.raises(NovaError, match="steps"):
        train(tmp_path / "cosine", config=replace(CONFIG, steps=12))
        train(tmp_path / "cosine")
