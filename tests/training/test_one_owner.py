"""X8: two runs that start at a barrier into one folder. A training folder has one owner, the other run names it."""

import contextlib
import multiprocessing
import os
import socket
from unittest import mock

import pytest
from full_size_toy import Clips, Ranks, losses, toy_run

from novakit.errors import NovaError
from novakit.training.checkpoint import latest_checkpoint
from novakit.training.run_folder import RunLock

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
FORK = multiprocessing.get_context("fork") if hasattr(os, "fork") else None
LOCKS, RUNS = 200, 20  # rounds
SHORT = {"steps": 2, "checkpoint_every": 1, "schedule": "constant"}


def try_lock(folder, barrier):
    """(pid, None) when this process got the folder, else (pid, what it was told while the other one was in it)."""
    barrier.wait(60)
    try:
        with RunLock(folder):
            barrier.wait(60)  # the other one has been refused
            barrier.wait(60)  # twice
            return os.getpid(), None
    except NovaError:
        barrier.wait(60)
        with pytest.raises(NovaError) as again:
            RunLock(folder).__enter__()
        barrier.wait(60)
        return os.getpid(), str(again.value)


def test_of_two_that_lock_at_once_exactly_one_gets_the_folder(tmp_path):
    """Many rounds in the same folder; who is refused is told the owner's process id."""
    barrier, queue = FORK.Barrier(2), FORK.Queue()

    def rounds():
        queue.put([try_lock(tmp_path, barrier) for _ in range(LOCKS)])

    children = [FORK.Process(target=rounds) for _ in range(2)]
    for child in children:
        child.start()
    pairs = list(zip(queue.get(timeout=60), queue.get(timeout=60), strict=True))
    for child in children:
        child.join(60)
    assert len(pairs) == LOCKS
    for one, two in pairs:
        (owner, nothing), (_, told) = (one, two) if one[1] is None else (two, one)
        assert nothing is None and f"{tmp_path} is in use by process {owner} on {socket.gethostname()};" in str(told)
    assert len({child.pid for child in children}) == 2


def contend(folder, logs):
    """Two `train` runs from a barrier into `folder`; the owner waits in its first batch until the other one ended."""
    barrier, refused, plain = FORK.Barrier(2), FORK.Event(), Clips.batch

    def batch(clips, *given):
        refused.wait(60)
        return plain(clips, *given)

    def run():
        barrier.wait(60)
        try:
            with mock.patch.object(Clips, "batch", batch):
                toy_run(folder, **SHORT)
        except NovaError:
            refused.set()
            raise

    runs = [Ranks(run, logs, count=1) for _ in range(2)]
    return sorted((each.wait(120) for each in runs), key=lambda each: each.codes)


def test_of_two_runs_into_one_folder_one_trains_as_if_alone(tmp_path):
    """Losses bit-equal to an undisturbed run's, no line of the log doubled, no file half-written."""
    alone = losses(toy_run(tmp_path / "alone", **SHORT).folder)
    for number in range(RUNS):
        folder = tmp_path / str(number)
        owner, other = contend(folder, tmp_path)
        assert (owner.codes, other.codes) == ([0], [2]), owner.text() + other.text()
        assert f"in use by process {owner.children[0]} on {socket.gethostname()};" in other.text()
        assert losses(folder) == alone and len((folder / "log.jsonl").read_text().splitlines()) == 2
        assert latest_checkpoint(folder / "checkpoints").step == 2
        assert not [path for path in folder.rglob(".*") if path.is_file()]


def test_the_folder_of_a_killed_owner_is_free(tmp_path):
    """Killed in its first batch: the next run goes on at once, though the dead one's lock file lies there."""
    killed = Ranks(lambda: toy_run(tmp_path / "run", act=(0, 0, "SIGKILL"), **SHORT), tmp_path, count=1).wait(120)
    assert killed.codes == [-9] and (tmp_path / "run/run.lock").read_text().split()[0] == str(killed.children[0])
    with contextlib.suppress(ProcessLookupError):
        os.kill(killed.children[0], 0)
        pytest.fail("the owner lives")
    assert losses(toy_run(tmp_path / "run", **SHORT).folder) == losses(toy_run(tmp_path / "alone", **SHORT).folder)
