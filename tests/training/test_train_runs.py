"""Whole runs of `novakit train`: one process, sharded, under torchrun, on prepared videos.

Rows of the catalogue of faults that are met here: C7 (a cache of another preset), X4, X11, X12.
"""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from full_size_toy import losses, run_ranks
from safetensors.torch import load_file
from test_distributed_launch import wait_for
from train_command_toy import QUICK, random_data, write_examples

import novakit
from novakit.errors import NovaError, NovaNotice
from novakit.presets import get_preset
from novakit.scenes import render_clips
from novakit.training.checkpoint import latest_checkpoint
from novakit.training.distributed.processes import OwnError, Processes
from novakit.training.full_size import command
from novakit.training.full_size import train as full_size
from novakit.training.full_size.command import one_voice, train_command
from novakit.training.full_size.data import NanoExamples, held_out, open_examples
from novakit.training.full_size.options import read_recipe
from novakit.training.full_size.train import build_model, train
from novakit.training.preparation.command import prepare
from novakit.video import write_clip

NANO = get_preset("nano")


def test_prepared_videos_are_trained_on(tmp_path, monkeypatch, capsys):
    """`novakit prepare`, then `novakit train`: one of two videos is held out and never trained on."""
    (tmp_path / "videos").mkdir()
    for index, clip in enumerate(render_clips(range(2), num_frames=33)):
        write_clip(tmp_path / f"videos/{index}.mp4", clip[None], fps=8)
    cache = {"preset": "nano", "variants": 1, "isolate": False, "device": "cpu", "progress": False}
    prepare(tmp_path / "videos", tmp_path / "cache", **cache)
    run = {**QUICK, "steps": 1, "settings": ["precision=fp32"], "preview": False}
    trainer = train_command("nano", tmp_path / "cache", tmp_path / "run", **run)
    assert "1 clips to learn from; held out: 1 of 1 other videos, 1 are scored." in capsys.readouterr().out
    shown = {trainer.task.source.name(step, 2, 0, row).partition(",")[0] for step in range(4) for row in (0, 1)}
    assert shown == {"0.mp4", "1.mp4"} - held_out(["0.mp4", "1.mp4"]) and len(shown) == 1
    monkeypatch.setattr(command, "_find_base", lambda *_: None)
    with pytest.raises(NovaError, match="is for nano, not wan-1.3b"):
        train_command("wan-1.3b", tmp_path / "cache", tmp_path / "other", device="cpu")


# -------------------------------------------------------------------------------------------------- one whole run


def test_a_run_and_its_continuation(tmp_path, capsys):
    """Log, validation, a rendered clip, the dense file, and what is said at the end."""
    run = {**QUICK, "settings": [*QUICK["settings"], "schedule=constant"], "validate_every": 2, "opener": random_data}
    trainer = train_command("nano", "cache", tmp_path, **run)
    assert trainer.stop_reason == "done" and list(losses(tmp_path)) == [1, 2]
    groups = [json.loads(line)["group"] for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert groups == ["train", "train", "validation"]
    assert (tmp_path / "samples/step-000002/preview.mp4").stat().st_size > 500
    said = capsys.readouterr().out
    assert "random clips\n" in said and f"2 steps are done: {tmp_path / 'dense.safetensors'}" in said
    train_command("nano", "cache", tmp_path, **{**run, "steps": 3, "preview": False, "minutes": 60.0})
    assert list(losses(tmp_path)) == [1, 2, 3] and (tmp_path / "dense.safetensors").exists()
    with pytest.raises(NovaError, match="cannot resume with other settings.*lr"):
        train_command("nano", "cache", tmp_path, **{**run, "steps": 4, "preview": False, "lr": 5e-5})
    run["accept_changes"] = ["lr"]
    assert train_command("nano", "cache", tmp_path, **{**run, "steps": 4, "preview": False, "lr": 5e-5}).step == 4


def test_preview_shows_the_model_as_it_is(tmp_path):
    """Two models, two samples of the same clip; source and target rows are the same."""
    shown = []

    def note(preset, data, out, preview, processes, **options):
        for model in (build_model(NANO, None, None, "fp32"), full_size.build_model(NANO, None, None, "bf16")):
            shown.append(preview(model)["preview"])
        raise NovaError("enough")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(command, "train", note)
        with pytest.raises(NovaError, match="enough"):
            train_command("nano", "cache", tmp_path, opener=random_data, **QUICK)
    first, second = shown
    assert first.shape == (1, 3, 9, 96, 32) and torch.equal(first[..., :32, :], second[..., :32, :])
    middle = (first - second)[..., 32:64, :].abs().max()
    assert 0 < middle < 1, "bfloat16 differs a little"


# ------------------------------------------------------------------------------------------------ many processes


def test_only_the_main_process_tells_a_shared_error(monkeypatch, capsys):
    monkeypatch.setattr(command, "SILENCE", 0.0)
    monkeypatch.setenv("RANK", "1")
    with pytest.raises(SystemExit) as ending:
        train_command("wan-14b", dry_run=True)
    assert ending.value.code == 2
    with pytest.raises(OwnError, match="only I know"), one_voice():
        raise OwnError("only I know")
    train_command("wan-1.3b", dry_run=True, gpus=8)
    assert capsys.readouterr().out == ""
    monkeypatch.setenv("RANK", "0")
    with pytest.raises(NovaError, match="does not exist"):
        train_command("wan-14b", dry_run=True)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_sharded_run_renders_its_clip_too(tmp_path):
    """FSDP: all processes denoise, the main one decodes; what they say comes from the main one."""
    run = {**QUICK, "steps": 1, "fsdp": True, "validate_every": 1, "opener": random_data, "patience": 300.0}
    done = run_ranks(lambda: train_command("nano", "cache", tmp_path / "run", **run), tmp_path)
    assert done.codes == [0, 0], done.text()
    assert (tmp_path / "run/samples/step-000001/preview.mp4").stat().st_size > 500
    assert "1 steps are done" in done.text(0) and "steps are done" not in done.text(1)


def environment():
    return {**os.environ, "PYTHONPATH": str(Path(novakit.__file__).parents[1]), "OMP_NUM_THREADS": "1"}


def launch(*words):
    """`novakit train` under torchrun, two processes."""
    torchrun = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m", "novakit", "train")
    return subprocess.Popen(
        [sys.executable, *torchrun, *map(str, words)],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


TOGETHER = ("--preset", "nano", "--batch", "4", "--device", "cpu", "--no-preview", "--set", "precision=fp32")
TOGETHER += ("--set", "schedule=constant", "--set", "log_every=1", "--set", "ema=0.9")


def test_two_processes_stopped_and_continued(tmp_path):
    """X4, X12: SIGTERM to torchrun saves; the same command goes on; the losses are those of one process."""
    write_examples(tmp_path / "run/examples"), write_examples(tmp_path / "alone/examples")
    started = launch(*TOGETHER, "--out", tmp_path / "run", "--steps", 100_000)
    log = tmp_path / "run/log.jsonl"
    wait_for(lambda: started.poll() is not None or (log.exists() and log.read_text().count("\n") > 3))
    started.send_signal(signal.SIGTERM)
    output, _ = started.communicate(timeout=300)
    assert started.returncode != 0 and output.count("the same command goes on") == 1, output[-3000:]
    assert output.count("32 clips of the nano world") == 1 and output.count("note: no --data") == 1
    step = latest_checkpoint(tmp_path / "run/checkpoints").step
    assert step > 3 and step == max(losses(tmp_path / "run"))
    started = launch(*TOGETHER, "--out", tmp_path / "run", "--steps", step + 2, "--accumulation", 2)
    settings = ["precision=fp32", "schedule=constant", "log_every=1", "ema=0.9"]
    with pytest.warns(NovaNotice, match="no --data"):
        data = open_examples(NANO, tmp_path / "alone/examples", 0, Processes())
    assert isinstance(data.source, NanoExamples)
    recipe = read_recipe({"steps": step + 2, "batch": 4, "device": "cpu"}, settings)
    train("nano", data.source, tmp_path / "alone", progress=False, **vars(recipe))
    output, _ = started.communicate(timeout=300)
    assert started.returncode == 0 and output.count("steps are done") == 1, output[-3000:]
    one, two = losses(tmp_path / "alone"), losses(tmp_path / "run")
    assert list(two) == list(range(1, step + 3)) and two == pytest.approx(one, rel=2e-4)
    for name in ("dense", "last"):
        first, second = (load_file(tmp_path / each / f"{name}.safetensors") for each in ("alone", "run"))
        assert first.keys() == second.keys()
        assert all(torch.allclose(first[key], second[key], atol=1e-3) for key in first)


def test_an_error_is_told_once_by_two_processes(tmp_path):
    started = launch("--preset", "nano", "--out", tmp_path / "run", "--device", "cpu", "--batch", "3")
    output, _ = started.communicate(timeout=300)
    assert started.returncode != 0
    assert output.count("error:") == 1 and "error: a batch of 3 cannot be divided among 2 processes" in output, output
