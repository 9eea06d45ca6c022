"""Checkpoints: whole or absent, damage is noticed, one valid checkpoint exists at every instant."""

import json
import os
import random
import shutil
import signal
import stat
import time
import types
import warnings

import pytest
import torch

from novakit.errors import NovaError, NovaNotice
from novakit.training import checkpoint
from novakit.training.checkpoint import latest_checkpoint, list_checkpoints, read_checkpoint, write_checkpoint
from novakit.training.run_folder import RunLock
from novakit.training.state import TrainingState


class Killed(BaseException):
    """Stands for a kill: no clean-up code may run on it."""


def make_state(step):
    tensor = torch.full((64,), float(step))
    return TrainingState(
        step,
        {"w": tensor},
        {"w": tensor + 1},
        {"w/exp_avg": tensor + 2},
        {"cpu": torch.get_rng_state()},
        {"best": step},
    )


def assert_whole(state):
    assert torch.equal(state.weights["w"], torch.full((64,), float(state.step)))
    assert torch.equal(state.optimizer["w/exp_avg"], state.weights["w"] + 2)
    assert state.scalars == {"best": state.step}


def test_round_trip_and_retention(tmp_path):
    assert latest_checkpoint(tmp_path) is None
    for step in (0, 5, 10, 1_000_000, 2_000_001):  # more digits than the name's six
        write_checkpoint(tmp_path, make_state(step))
        assert_whole(latest_checkpoint(tmp_path))
        assert latest_checkpoint(tmp_path).step == step
    assert [path.name for path in list_checkpoints(tmp_path)] == ["step-1000000", "step-2000001"]
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]
    assert not list(tmp_path.rglob("*.pt")) and not list(tmp_path.rglob("*.pkl"))


def flip_a_bit(path):
    file = path / "weights.safetensors"
    data = bytearray(file.read_bytes())
    data[-3] ^= 1  # still parses, another number
    file.write_bytes(data)


def truncate(path):
    file = path / "optimizer.safetensors"
    file.write_bytes(file.read_bytes()[:-10])


def lose_a_file(path):
    (path / "rng.safetensors").unlink()


def lose_the_manifest(path):
    (path / "manifest.json").unlink()


def empty_a_file(path):
    (path / "state.json").write_bytes(b"")


def forge_the_manifest(path):
    """A manifest that lists nothing must not pass as one that agrees."""
    (path / "manifest.json").write_text(json.dumps({}))


DAMAGES = [flip_a_bit, truncate, lose_a_file, lose_the_manifest, empty_a_file, forge_the_manifest]


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_damaged_newest_falls_back_and_none_left_stops(tmp_path, damage):
    write_checkpoint(tmp_path, make_state(7))
    damage(write_checkpoint(tmp_path, make_state(14)))
    with pytest.warns(NovaNotice, match=r"step-000014 is damaged: .*Going back to the checkpoint before it\."):
        state = latest_checkpoint(tmp_path)
    assert state.step == 7
    assert_whole(state)
    write_checkpoint(tmp_path, make_state(14))  # the same step again, after the fall-back
    assert_whole(latest_checkpoint(tmp_path))
    for path in list_checkpoints(tmp_path):
        damage(path)
    said = r"no checkpoint in .* is valid\. checkpoint .*14 is damaged: .* checkpoint .*07 is damaged: .*Restore a copy"
    with pytest.raises(NovaError, match=said) as caught:
        latest_checkpoint(tmp_path)
    assert "before it" not in str(caught.value)
    assert len(list_checkpoints(tmp_path)) == 2  # nothing was deleted


def interrupt_call(monkeypatch, number, error):
    """Make the number-th call that touches the disk fail."""
    calls = {"count": 0}

    def guarded(function):
        def call(*args, **kwargs):
            calls["count"] += 1
            if calls["count"] == number:
                raise error
            return function(*args, **kwargs)

        return call

    for module, name in ((checkpoint.os, "rename"), (checkpoint.os, "fsync"), (checkpoint.shutil, "rmtree")):
        monkeypatch.setattr(module, name, guarded(getattr(module, name)))
    monkeypatch.setattr(checkpoint, "save_file", guarded(checkpoint.save_file))


def test_stopped_before_any_disk_call_leaves_old_or_new(tmp_path, monkeypatch):
    """A kill between any two of the calls that write, flush, rename and delete."""
    seen, number, stopped = set(), 0, True
    while stopped:
        number += 1
        folder = tmp_path / str(number)
        for step in (1, 2):
            write_checkpoint(folder, make_state(step))
        with monkeypatch.context() as patch:
            interrupt_call(patch, number, Killed())
            try:
                write_checkpoint(folder, make_state(3))
                stopped = False
            except Killed:
                pass
        state = latest_checkpoint(folder)
        assert_whole(state)
        seen.add(state.step)
        assert not list(folder.glob(".partial-*")) and not list(folder.glob(".old-*"))
    assert seen == {2, 3}  # kills before the rename leave the old one, after it the new one
    assert number - 1 == 4 + 8 + 2 + 1  # tensor files, flushes, renames, delete


def test_full_disk_is_a_clear_error(tmp_path, monkeypatch):
    write_checkpoint(tmp_path, make_state(1))
    for number in (2, 6):
        with monkeypatch.context() as patch:
            interrupt_call(patch, number, OSError(28, "No space left on device"))
            with pytest.raises(NovaError, match="could not be written.*No space left.*Free disk space"):
                write_checkpoint(tmp_path, make_state(2))
        assert [path.name for path in tmp_path.iterdir()] == ["step-000001"]
    assert_whole(latest_checkpoint(tmp_path))


def test_sizes_of_a_small_disk_are_told_in_a_unit_that_shows_something(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint.shutil, "disk_usage", lambda _: types.SimpleNamespace(free=1000))
    state = make_state(1)
    state.weights["big"] = torch.zeros(1000)
    with pytest.raises(NovaError, match=r"\(11\.8 kB wanted, 1\.0 kB free\)"):
        write_checkpoint(tmp_path, state)


def test_all_files_of_a_checkpoint_may_be_read_alike(tmp_path):
    files = list(write_checkpoint(tmp_path, make_state(1)).iterdir())
    (tmp_path / "plain").touch()
    assert len(files) == 6
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {stat.S_IMODE((tmp_path / "plain").stat().st_mode)}


def fork(function):
    """Run `function` in a child process; returns its process id."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        try:
            function()
        finally:
            os._exit(0)
    return child


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_sigkill_while_writing(tmp_path):
    """A child writes checkpoint after checkpoint and is killed, 40 times: never a mix, never fewer steps."""
    torch.set_num_threads(1)

    def write_for_ever():
        start = latest_checkpoint(tmp_path)
        step = 0 if start is None else start.step
        while True:
            step += 1
            write_checkpoint(tmp_path, make_state(step))

    last, killed = 0, 0
    for _ in range(40):
        child = fork(write_for_ever)
        time.sleep(random.uniform(0.005, 0.1))
        os.kill(child, signal.SIGKILL)
        killed += os.waitpid(child, 0)[1] == signal.SIGKILL
        state = latest_checkpoint(tmp_path)
        if state is not None:
            assert_whole(state)
            assert state.step >= last
            last = state.step
    assert killed == 40 and last > 0
    for path in list_checkpoints(tmp_path):
        read_checkpoint(path)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_lock_outlives_no_process(tmp_path):
    """A second run is refused while the first lives, whoever it is; a killed one leaves no lock behind."""
    with RunLock(tmp_path), pytest.raises(NovaError, match=f"in use by process {os.getpid()}"):
        RunLock(tmp_path).__enter__()

    def hold():
        with RunLock(tmp_path):
            time.sleep(60)

    child = fork(hold)
    deadline = time.monotonic() + 10
    while (tmp_path / "run.lock").read_text().split()[:1] != [str(child)] and time.monotonic() < deadline:
        time.sleep(0.01)
    with pytest.raises(NovaError, match=f"in use by process {child}"):
        RunLock(tmp_path).__enter__()
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    with RunLock(tmp_path):
        pass


def test_strays_of_a_kill_are_removed(tmp_path):
    shutil.copytree(write_checkpoint(tmp_path, make_state(3)), tmp_path / ".partial-step-000009-1")
    assert latest_checkpoint(tmp_path).step == 3
    assert not list(tmp_path.glob(".partial-*"))
