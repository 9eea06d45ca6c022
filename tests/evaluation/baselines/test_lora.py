"""A per-clip LoRA starts as no change, learns, and leaves the pipeline exactly as it was."""

import sys

import peft
import pytest
import torch

from novakit.errors import NovaError
from novakit.evaluation.baselines.i2vedit import motion_lesson
from novakit.evaluation.baselines.lora import (
    ALL_LINEAR,
    SELF_ATTENTION,
    LoraConfig,
    clip_lora,
    clip_loss,
    lora_parameters,
    seed_of,
    tune,
)

SMALL = LoraConfig(targets=SELF_ATTENTION, rank=8, steps=30, lr=5e-3)


def state(pipe):
    """Everything of the transformer that a LoRA could leave changed."""
    model = pipe.transformer
    return {
        "modules": [(name, id(module), module.training) for name, module in model.named_modules()],
        "attributes": [(name, sorted(vars(module))) for name, module in model.named_modules()],
        "weights": [(name, id(w), w.requires_grad, w.grad is None) for name, w in model.named_parameters()],
        "values": {name: w.clone() for name, w in model.state_dict().items()},
    }


def assert_restored(pipe, before):
    after = state(pipe)
    values = before.pop("values"), after.pop("values")
    assert after == before
    assert list(values[0]) == list(values[1])
    assert all(torch.equal(values[0][name], values[1][name]) for name in values[0])


@pytest.fixture(scope="module")
def lesson(pipe, task):
    return motion_lesson(pipe, task.source[:1])


def loss_at_fixed_noise(pipe, lesson):
    """Mean loss over four noise levels, with the same noise every time."""
    generator, shape = torch.Generator().manual_seed(5), lesson.target_latents.shape
    with torch.no_grad():
        each = [
            clip_loss(pipe, lesson, torch.tensor([sigma]), torch.randn(shape, generator=generator)).item()
            for sigma in (0.2, 0.5, 0.7, 0.9)
        ]
    return sum(each) / len(each)


@pytest.mark.parametrize("targets", [SELF_ATTENTION, ALL_LINEAR])
def test_a_fresh_lora_changes_nothing_and_has_the_promised_parameters(pipe, lesson, targets):
    config = LoraConfig(targets=targets, rank=4)
    plain = loss_at_fixed_noise(pipe, lesson)
    with clip_lora(pipe.transformer.base, config, 0) as parameters:
        assert loss_at_fixed_noise(pipe, lesson) == plain
        assert sum(weight.numel() for weight in parameters) == lora_parameters(pipe, config)
        learning = {id(weight) for weight in pipe.transformer.base.parameters() if weight.requires_grad}
        assert learning == {id(weight) for weight in parameters}


def test_the_loss_falls_and_the_pipeline_is_restored_bit_for_bit(pipe, lesson):
    before, plain = state(pipe), loss_at_fixed_noise(pipe, lesson)
    with clip_lora(pipe.transformer.base, SMALL, 0) as parameters:
        losses = tune(pipe, parameters, [lesson], SMALL, 0)
        tuned = loss_at_fixed_noise(pipe, lesson)
    assert len(losses) == SMALL.steps
    assert tuned < 0.95 * plain
    assert_restored(pipe, before)
    assert loss_at_fixed_noise(pipe, lesson) == plain


@pytest.mark.parametrize("problem", [KeyboardInterrupt, RuntimeError])
def test_restored_when_training_breaks_off_in_the_middle(pipe, lesson, problem, monkeypatch):
    before, taken = state(pipe), []
    real_step = torch.optim.AdamW.step

    def step_then_break(self, *arguments):
        real_step(self, *arguments)
        taken.append(1)
        if len(taken) == 2:
            raise problem

    monkeypatch.setattr(torch.optim.AdamW, "step", step_then_break)
    with pytest.raises(problem), clip_lora(pipe.transformer.base, SMALL, 0) as parameters:
        tune(pipe, parameters, [lesson], SMALL, 0)
    assert len(taken) == 2
    assert_restored(pipe, before)


def test_restored_when_ctrl_c_falls_into_the_insertion_itself(pipe, monkeypatch):
    before, real = state(pipe), peft.inject_adapter_in_model

    def insert_then_break(*arguments, **options):
        real(*arguments, **options)
        raise KeyboardInterrupt

    monkeypatch.setattr(peft, "inject_adapter_in_model", insert_then_break)
    with pytest.raises(KeyboardInterrupt), clip_lora(pipe.transformer.base, SMALL, 0):
        pass
    assert_restored(pipe, before)


def test_first_weights_follow_from_the_seed_and_global_randomness_is_left_alone(pipe):
    def first(seed):
        with clip_lora(pipe.transformer.base, SMALL, seed) as parameters:
            return parameters[0].detach().clone()

    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    once, again, other = first(0), first(0), first(1)
    assert torch.equal(torch.rand(3), expected)
    assert torch.equal(once, again) and not torch.equal(once, other)


def test_seeds_follow_from_a_clips_own_noise():
    noise = torch.randn(2, 4, generator=torch.Generator().manual_seed(0))
    assert seed_of(noise[0], 0) == seed_of(noise[0].clone(), 0)
    assert len({seed_of(noise[0], 0), seed_of(noise[1], 0), seed_of(noise[0], 1)}) == 3


def test_without_peft_the_way_out_is_named(pipe, monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(NovaError, match=r"novakit\[baselines\]"), clip_lora(pipe.transformer.base, SMALL, 0):
        pass


def test_bad_settings_are_refused(pipe):
    with pytest.raises(NovaError, match="rank 0"):
        LoraConfig(targets=SELF_ATTENTION, rank=0)
    with pytest.raises(NovaError, match="no layer of the base is called like 'attn9'"):
        lora_parameters(pipe, LoraConfig(targets="attn9"))
