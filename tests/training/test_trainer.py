"""The loop: settings, schedule, guards, limits, signals, logs, averages."""

import json
import math
import os
import random
import signal
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from toy_training import CONFIG, ToyTask

from novakit.errors import NovaError
from novakit.training import TrainConfig, Trainer, learning_rate, load_trained
from novakit.training.checkpoint import latest_checkpoint
from novakit.training.ema import WeightAverage
from novakit.training.recipe import recipe
from novakit.training.run_folder import read_log


class Line:
    """The smallest task: one weight matrix learns y = 2x."""

    def __init__(self, losses=None, device="cpu"):
        self.module = nn.Linear(4, 4, bias=False).to(device)
        nn.init.zeros_(self.module.weight)
        self.losses = losses or {}
        self.dtypes = set()

    def loss(self, step):
        generator = torch.Generator().manual_seed(step)
        batch = torch.randn(16, 4, generator=generator).to(self.module.weight.device)
        output = self.module(batch)
        self.dtypes.add(output.dtype)
        loss = (output.float() - 2 * batch).square().mean()
        return loss * self.losses.get(step, 1.0), {}


def plain(**changes):
    base = {
        "steps": 40,
        "lr": 0.1,
        "warmup": 2,
        "precision": "fp32",
        "validate_every": 0,
        "checkpoint_every": 10,
    }
    return TrainConfig(**{**base, **changes})


def fit(task, config, folder, **options):
    trainer = Trainer(task, config, folder)
    return trainer, trainer.fit(progress=False, **options)


def test_schedule_values():
    config = TrainConfig(steps=110, lr=1.0, warmup=10, lr_end=0.1)
    assert [learning_rate(config, step) for step in (0, 4, 9, 10)] == [0.1, 0.5, 1.0, 1.0]
    assert learning_rate(config, 60) == pytest.approx(0.55)  # half way down from 1 to 0.1
    assert learning_rate(config, 110) == pytest.approx(0.1)
    assert learning_rate(config, 85) == pytest.approx(0.1 + 0.9 * (1 + math.cos(0.75 * math.pi)) / 2)
    rates = [learning_rate(config, step) for step in range(10, 111)]
    assert rates == sorted(rates, reverse=True)
    constant = replace(config, schedule="constant")
    assert {learning_rate(constant, step) for step in range(10, 111)} == {1.0}
    assert learning_rate(replace(config, warmup=0), 0) == 1.0


def test_schedule_agrees_with_torch():
    """Two roads: torch's own warm-up and cosine schedulers give the same numbers."""
    config = TrainConfig(steps=50, lr=0.3, warmup=8, lr_end=0.0)
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=config.lr)
    warmup = torch.optim.lr_scheduler.LinearLR(optimizer, 1 / 8, 1.0, total_iters=7)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 42)
    for step in range(50):
        assert learning_rate(config, step) == pytest.approx(optimizer.param_groups[0]["lr"], abs=1e-9)
        optimizer.step()
        if step < 7:
            warmup.step()
        elif step >= 8:
            cosine.step()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"learning_rate": 1}, r"unknown training setting \['learning_rate'\].*'lr'"),
        ({"schedule": "linear"}, "schedule is 'linear'; choose one of"),
        ({"precision": "fp16"}, "precision is 'fp16'"),
        ({"steps": 0}, "steps is 0; it must be at least 1"),
        ({"keep": 1}, "keep is 1; it must be at least 2"),
        ({"lr": float("nan")}, "lr is nan"),
        ({"ema": 1.0}, "ema is 1.0"),
        ({"minutes": 0}, "minutes is 0"),
        ({"checkpoint_seconds": 0}, "checkpoint_seconds is 0"),
        ({"keep_attention": True}, "keep_attention says what gradient_checkpointing keeps"),
    ],
)
def test_bad_settings(values, message):
    with pytest.raises(NovaError, match=message):
        TrainConfig.from_dict(values)


def test_learns_and_logs(tmp_path):
    trainer, history = fit(Line(), plain(steps=200, lr=0.05, log_every=50), tmp_path)
    assert [line["step"] for line in history] == [50, 100, 150, 200]
    assert history[-1]["loss"] < 1e-3 < history[0]["loss"]
    assert history == read_log(tmp_path / "log.jsonl")
    assert trainer.stop_reason == "done"
    assert torch.allclose(trainer.task.module.weight, 2 * torch.eye(4), atol=0.05)


def test_tensorboard_reads_the_log(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    _, history = fit(ToyTask(), CONFIG, tmp_path)
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    for group, name in (("train", "loss"), ("validation", "score")):
        logged = [(event.step, pytest.approx(event.value, rel=1e-6)) for event in events.Scalars(f"{group}/{name}")]
        assert [(line["step"], line[name]) for line in history if line["group"] == group] == logged


def test_best_weights_are_those_of_the_best_score(tmp_path):
    _, history = fit(ToyTask(), CONFIG, tmp_path)
    scores = {line["step"]: line["score"] for line in history if line["group"] == "validation"}
    best = json.loads((tmp_path / "best.json").read_text())
    assert best == {"step": max(scores, key=scores.get), "score": max(scores.values())}
    fit(ToyTask(), replace(CONFIG, best_direction="min"), tmp_path / "min")
    assert json.loads((tmp_path / "min/best.json").read_text())["score"] == min(scores.values())
    with pytest.raises(NovaError, match=r"best_metric 'psnr' is not among.*\['score'\]"):
        fit(ToyTask(), replace(CONFIG, best_metric="psnr"), tmp_path / "unknown")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_invalid_loss_stops_before_the_update(tmp_path, value):
    """Weights are bit-equal to those of a run that ends one step earlier; resume still works."""
    config = plain(schedule="constant")
    task = Line({25: value})
    with pytest.raises(NovaError, match=r"the loss of step 25 is (nan|inf): stopped before the update"):
        fit(task, config, tmp_path)
    before, _ = fit(Line(), replace(config, steps=25), tmp_path / "before")
    assert torch.equal(task.module.weight, before.task.module.weight)
    assert latest_checkpoint(tmp_path / "checkpoints").step == 20
    trainer, _ = fit(Line(), config, tmp_path)
    assert trainer.step == 40


def test_invalid_gradient_stops_before_the_update(tmp_path):
    class Root(Line):
        def loss(self, step):
            loss, numbers = super().loss(step)
            extra = (self.module.weight * 0).abs().sqrt().sum() if step == 3 else 0  # value 0, gradient NaN
            return loss + extra, numbers

    task = Root()
    with pytest.raises(NovaError, match="the gradient of step 3 is nan"):
        fit(task, plain(), tmp_path)
    before, _ = fit(Line(), plain(steps=3, schedule="constant"), tmp_path / "a")
    after, _ = fit(Root(), plain(steps=3, schedule="constant"), tmp_path / "b")
    assert torch.equal(before.task.module.weight, after.task.module.weight)
    assert torch.isfinite(task.module.weight).all()


def test_minutes_limit_saves_and_stops(tmp_path):
    trainer, _ = fit(Line(), plain(steps=100_000, minutes=0.005), tmp_path)  # 0.3 s
    assert trainer.stop_reason == "minutes" and 0 < trainer.step < 100_000
    assert latest_checkpoint(tmp_path / "checkpoints").step == trainer.step


def checkpoints_of(monkeypatch, folder, **changes):
    """After how many updates a run of 40 took checkpoints, by a clock on which every update lasts 4 s."""
    taken, seen, task = [], [], Line()
    loss, take = task.loss, Trainer._save_checkpoint
    task.loss = lambda step: seen.append(step) or loss(step)
    clock = SimpleNamespace(monotonic=lambda: 4.0 * len(seen))
    monkeypatch.setattr("novakit.training.trainer.time", clock)
    monkeypatch.setattr(Trainer, "_save_checkpoint", lambda trainer: taken.append(trainer.step) or take(trainer))
    trainer, _ = fit(task, plain(**changes), folder)
    assert trainer.stop_reason == "done"
    return [step for step in taken if step]


def test_a_checkpoint_is_never_older_than_asked(tmp_path, monkeypatch):
    """Every 15 updates of 4 s, and every 10 all the same; without the limit every 10 alone."""
    often = checkpoints_of(monkeypatch, tmp_path / "a", checkpoint_seconds=60.0, checkpoint_every=1000)
    assert often[:2] == [15, 30]
    assert checkpoints_of(monkeypatch, tmp_path / "b", checkpoint_seconds=60.0)[:4] == [10, 20, 30, 40]
    assert checkpoints_of(monkeypatch, tmp_path / "c", checkpoint_every=1000)[0] == 40
    assert recipe("cpu")["base"].checkpoint_seconds == recipe("cuda")["nova"].checkpoint_seconds == 60.0


def test_when_checkpoints_were_written_changes_no_number(tmp_path):
    often, rare = (tmp_path / name for name in ("often", "rare"))
    fit(ToyTask(), replace(CONFIG, checkpoint_seconds=1e-9), often)
    fit(ToyTask(), CONFIG, rare)
    assert (often / "log.jsonl").read_text() == (rare / "log.jsonl").read_text()
    weights = [load_file(folder / "last.safetensors") for folder in (often, rare)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[1])


@pytest.mark.parametrize(("number", "ending"), [(signal.SIGTERM, SystemExit), (signal.SIGINT, KeyboardInterrupt)])
def test_signal_finishes_the_step_and_saves(tmp_path, number, ending):
    task = ToyTask({20: lambda: os.kill(os.getpid(), number)})
    handler = signal.getsignal(number)
    with pytest.raises(ending) as caught:
        fit(task, CONFIG, tmp_path)
    if ending is SystemExit:
        assert caught.value.code == 143
    assert signal.getsignal(number) is handler
    assert latest_checkpoint(tmp_path / "checkpoints").step == 11  # batches 20 and 21
    fit(ToyTask(), CONFIG, tmp_path / "whole")
    fit(ToyTask(), CONFIG, tmp_path)
    assert (tmp_path / "log.jsonl").read_text() == (tmp_path / "whole/log.jsonl").read_text()


@pytest.fixture
def ctrl_c_works():
    """A shell starts background jobs with SIGINT ignored; here it ends what runs, as at a terminal."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_second_signal_quits_at_once(tmp_path, ctrl_c_works):
    def twice():
        ours = signal.getsignal(signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        while signal.getsignal(signal.SIGINT) == ours:  # two signals at once would count as one
            time.sleep(0.001)
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(10)  # the second one ends this

    with pytest.raises(KeyboardInterrupt):
        fit(ToyTask({20: twice}), CONFIG, tmp_path)
    assert latest_checkpoint(tmp_path / "checkpoints").step == 7


def test_accumulation_equals_one_big_batch(tmp_path):
    class Big(Line):
        def loss(self, step):
            return (super().loss(2 * step)[0] + super().loss(2 * step + 1)[0]) / 2, {}

    small, _ = fit(Line(), plain(accumulate=2), tmp_path / "small")
    big, _ = fit(Big(), plain(), tmp_path / "big")
    assert torch.allclose(small.task.module.weight, big.task.module.weight, atol=1e-6)


def test_gradient_clipping(tmp_path):
    """The logged norm is the one before clipping; a tiny limit still learns, since AdamW scales it back."""
    _, free = fit(Line(), plain(steps=1, grad_clip=0, log_every=1), tmp_path / "free")
    _, clipped = fit(Line(), plain(steps=1, grad_clip=1e-3, log_every=1), tmp_path / "clipped")
    assert free[0]["grad_norm"] == clipped[0]["grad_norm"] > 1


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_bfloat16_runs_and_keeps_float32_weights(tmp_path, device):
    task = Line(device=device)
    _, history = fit(task, plain(precision="bf16", ema=0.9, steps=100), tmp_path)
    assert task.dtypes == {torch.bfloat16} and task.module.weight.dtype == torch.float32
    assert history[-1]["loss"] < 0.05 * history[0]["loss"]
    with pytest.raises(NovaError, match=r"'weight' learns but is torch.bfloat16"):
        wrong = Line()
        wrong.module.bfloat16()
        fit(wrong, plain(), tmp_path / "wrong")


def test_average_follows_its_formula_and_steps_aside():
    module = nn.Linear(3, 2)
    average = WeightAverage(module, 0.5)
    expected = module.weight.detach().clone()
    for step in range(12):
        with torch.no_grad():
            module.weight.add_(torch.randn(2, 3))
        average.update(step)
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * module.weight.detach()
    own = module.weight.detach().clone()
    with average.applied():
        assert torch.allclose(module.weight, expected, atol=1e-6)
    assert torch.equal(module.weight, own)


def test_validation_changes_nothing_in_the_training(tmp_path):
    """The weights do not depend on whether the run validates, although validation draws noise."""
    often, _ = fit(ToyTask(), replace(CONFIG, validate_every=1), tmp_path / "often")
    never, _ = fit(ToyTask(), replace(CONFIG, validate_every=0), tmp_path / "never")
    assert torch.equal(often.task.module[0].weight, never.task.module[0].weight)


def test_global_randomness_of_the_caller_is_left_alone(tmp_path):
    torch.manual_seed(5)
    random.seed(5)
    expected = torch.rand(3), random.random()
    torch.manual_seed(5)
    random.seed(5)
    fit(ToyTask(), CONFIG, tmp_path)
    assert torch.equal(torch.rand(3), expected[0]) and random.random() == expected[1]


def test_only_trainable_weights_are_written_and_load_again(tmp_path):
    trainer, _ = fit(ToyTask(), CONFIG, tmp_path)
    weights = load_file(tmp_path / "last.safetensors")
    assert not [name for name in weights if name.startswith("5.")]  # the frozen layer
    fresh = load_trained(ToyTask().module, tmp_path / "last.safetensors")
    with trainer.average.applied():
        assert all(
            torch.equal(a, b) for a, b in zip(fresh.state_dict().values(), trainer.task.module.state_dict().values())
        )
    with pytest.raises(NovaError, match="no such weight"):
        load_trained(nn.Linear(2, 2), tmp_path / "last.safetensors")
    with pytest.raises(NovaError, match="cannot read weights from"):
        load_trained(nn.Linear(2, 2), tmp_path / "nothing.safetensors")


def test_a_folder_is_never_started_over_silently(tmp_path):
    fit(Line(), plain(), tmp_path)
    with pytest.raises(NovaError, match="already holds a run"):
        fit(Line(), plain(), tmp_path, resume=False)
    for path in (tmp_path / "checkpoints").glob("*"):
        (path / "state.json").write_text("{}")
    with pytest.raises(NovaError, match="no checkpoint in .* is valid"):
        fit(Line(), plain(), tmp_path)
    import shutil

    shutil.rmtree(tmp_path / "checkpoints")
    with pytest.raises(NovaError, match="has a log but no checkpoint"):
        fit(Line(), plain(), tmp_path)


def test_nothing_to_learn(tmp_path):
    task = Line()
    task.module.requires_grad_(False)
    with pytest.raises(NovaError, match="no parameter of task.module has requires_grad"):
        fit(task, plain(), tmp_path)
