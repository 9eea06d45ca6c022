"""The real launchers on the CPU: torchrun with two processes (gloo), `accelerate launch` with one."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from full_size_toy import losses, toy_run

import novakit
from novakit.training.checkpoint import latest_checkpoint

SCRIPT = Path(__file__).with_name("full_size_toy.py")
TORCHRUN = ("torch.distributed.run", "--standalone", "--nproc_per_node", "2")
ACCELERATE = ("accelerate.commands.launch", "--cpu", "--num_processes", "1", "--num_machines", "1")


def launch(launcher, out, **spec):
    """Start the toy under a launcher; returns the process."""
    paths = {"PYTHONPATH": str(Path(novakit.__file__).parents[1]), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", *launcher, str(SCRIPT), json.dumps({"out": str(out), **spec})],
        env={**os.environ, **paths, "PYTHONHASHSEED": str(os.getpid() % 1000)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_torchrun_with_two_processes_gives_the_losses_of_one(tmp_path):
    """Float64, the same global batch, ten updates: equal to 1e-9; fresh processes with another hash seed."""
    started = launch(TORCHRUN, tmp_path / "two")
    toy_run(tmp_path / "one")
    output, _ = started.communicate(timeout=300)
    assert started.returncode == 0, output[-3000:]
    one, two = losses(tmp_path / "one"), losses(tmp_path / "two")
    assert list(two) == list(range(1, 11)) and two == pytest.approx(one, rel=0, abs=1e-9)


def test_accelerate_launch(tmp_path):
    started = launch(ACCELERATE, tmp_path / "launched")
    toy_run(tmp_path / "one")
    output, _ = started.communicate(timeout=300)
    assert started.returncode == 0, output[-3000:]
    assert losses(tmp_path / "launched") == pytest.approx(losses(tmp_path / "one"), rel=0, abs=1e-9)


def test_torchrun_ends_when_a_process_is_killed_and_the_run_goes_on(tmp_path):
    started = launch(TORCHRUN, tmp_path / "run", act=[7, 1, "SIGKILL"])
    family = wait_for(lambda: (tmp_path / "run/log.jsonl").exists() and psutil.Process(started.pid).children())
    output, _ = started.communicate(timeout=300)
    assert started.returncode != 0
    assert "process 0 of 2 lost another one" in output or "SIGTERM" in output, output[-3000:]
    assert not any(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in family)
    assert latest_checkpoint(tmp_path / "run/checkpoints").step == 5
    toy_run(tmp_path / "one")
    toy_run(tmp_path / "run")
    assert losses(tmp_path / "run") == pytest.approx(losses(tmp_path / "one"), rel=0, abs=1e-9)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_to_torchrun_saves_before_the_end(tmp_path, number):
    """As a scheduler or Ctrl-C ends a job: the newest checkpoint is that of the last update in the log."""
    started = launch(TORCHRUN, tmp_path, recipe={"steps": 100_000, "checkpoint_every": 50_000})
    log = tmp_path / "log.jsonl"
    wait_for(lambda: log.exists() and log.read_text().count("\n") > 3)
    started.send_signal(number)
    output, _ = started.communicate(timeout=300)
    assert started.returncode != 0
    step = latest_checkpoint(tmp_path / "checkpoints").step
    assert step > 3 and step == max(losses(tmp_path)), output[-3000:]


def wait_for(happened, seconds=240):
    """What `happened` returns once it is true."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := happened():
            return found
        time.sleep(0.05)
    raise AssertionError("waited in vain")
