"""The paired row: it reads source and keyframes, not the mask, and asks for its weights."""

import os
from dataclasses import replace

import pytest
import torch

from novakit.errors import NovaError
from novakit.evaluation.baselines import BASELINES, senorita
from novakit.evaluation.baselines.trained import trained_pipe
from novakit.models.shallow_replica import ShallowReplicaTransformer
from novakit.training.variants import train as variants


@pytest.fixture(scope="module")
def paired(pipe):
    """The variant's pipeline as training would leave it, with random additions."""
    model = variants.VARIANTS["paired"].model(pipe.transformer).eval()
    torch.manual_seed(0)
    for linear in model.dense_branch.output_projections():
        torch.nn.init.normal_(linear.weight, std=0.02)
    return type(pipe)(vae=pipe.vae, transformer=model, scheduler=pipe.scheduler, preset="nano")


def test_the_row_reads_source_and_every_keyframe_but_not_the_mask(paired, task):
    one = replace(task.clip(0), steps=1)
    edited = senorita.edit(paired, one)
    assert edited.shape == one.source.shape and edited.abs().max() <= 1.0
    assert torch.equal(senorita.edit(paired, replace(one, mask=1 - one.mask)), edited)
    assert not torch.equal(senorita.edit(paired, replace(one, source=-one.source)), edited)
    last = one.keyframes.clone()
    last[:, :, -1] *= -1
    assert not torch.equal(senorita.edit(paired, replace(one, keyframes=last)), edited)


def test_untrained_it_is_the_base_and_ignores_the_source(pipe, task):
    model = variants.VARIANTS["paired"].model(pipe.transformer).eval()
    fresh = type(pipe)(vae=pipe.vae, transformer=model, scheduler=pipe.scheduler, preset="nano")
    one = replace(task.clip(0), steps=1)
    assert torch.equal(senorita.edit(fresh, one), senorita.edit(fresh, replace(one, source=-one.source)))


def test_without_weights_the_command_is_named(pipe, task, monkeypatch, tmp_path):
    monkeypatch.setenv("NOVAKIT_BUILD", str(tmp_path))
    with pytest.raises(NovaError, match="pretrain --stage variant --variant paired"):
        BASELINES["senorita"].edit(pipe, task)


def test_weights_are_loaded_once_and_anew_after_another_training(pipe, monkeypatch, tmp_path):
    calls = []
    monkeypatch.setenv("NOVAKIT_BUILD", str(tmp_path))
    monkeypatch.setattr("novakit.evaluation.baselines.trained.load_variant", lambda name, pipe: calls.append(name))
    home = tmp_path / "variants" / "paired"
    home.mkdir(parents=True)
    for ended in (1, 2):
        (home / variants.FINISHED).write_text("{}")
        os.utime(home / variants.FINISHED, (ended, ended))
        for _ in range(2):
            trained_pipe("paired", pipe, ShallowReplicaTransformer)
    assert calls == ["paired", "paired"]


def test_the_row_counts_additions_and_copied_blocks(pipe):
    copied = sum(weight.numel() for block in pipe.transformer.base.blocks[:2] for weight in block.parameters())
    additions = 8 * (2 * 160 + 2 * (160 * 160 + 160))  # norm, values, output projection in each of 8 layers
    assert senorita.SENORITA.parameters(pipe) == BASELINES["senorita"].parameters(pipe) == copied + additions
    assert senorita.SENORITA.needs_weights == BASELINES["senorita"].needs_weights == "paired"
