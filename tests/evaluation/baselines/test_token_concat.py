"""The row of the official release's scheme: what it reads, where a keyframe lies, and what it says without weights."""

from dataclasses import replace

import pytest
import torch

from novakit.errors import NovaError
from novakit.evaluation.baselines import BASELINES, token_concat
from novakit.evaluation.baselines.token_concat import sample_concatenated
from novakit.models.token_concat import TokenConcatTransformer
from novakit.training.variants.train import load_variant


@pytest.fixture(scope="module")
def concatenated(pipe):
    """The untrained variant: the plain DiT with its self-attention open to source and cues."""
    model = TokenConcatTransformer(pipe.transformer.base).eval()
    return type(pipe)(vae=pipe.vae, transformer=model, scheduler=pipe.scheduler, preset="nano")


def test_the_row_reads_source_and_every_keyframe_but_not_the_mask(concatenated, task):
    one = replace(task.clip(0), steps=1)
    edited = token_concat.edit(concatenated, one)
    assert edited.shape == one.source.shape and edited.abs().max() <= 1.0
    assert torch.equal(token_concat.edit(concatenated, replace(one, mask=1 - one.mask)), edited)
    assert not torch.equal(token_concat.edit(concatenated, replace(one, source=-one.source)), edited)
    last = one.keyframes.clone()
    last[:, :, -1] *= -1
    assert not torch.equal(token_concat.edit(concatenated, replace(one, keyframes=last)), edited)


def test_keyframes_may_lie_anywhere_and_their_place_counts(concatenated, task):
    one = replace(task.clip(0), steps=1)
    early = sample_concatenated(concatenated, replace(one, keyframes=one.keyframes[:, :, :2], indices=[3, 7]))
    late = sample_concatenated(concatenated, replace(one, keyframes=one.keyframes[:, :, :2], indices=[3, 15]))
    assert not torch.equal(early, late)


def test_a_scene_gives_the_same_clip_in_any_batch(concatenated, task):
    both = sample_concatenated(concatenated, replace(task, steps=2))
    alone = sample_concatenated(concatenated, replace(task, steps=2).clip(1))
    assert (both[1] - alone[0]).abs().max() < 1e-3


def test_without_weights_the_command_is_named(pipe, task, monkeypatch, tmp_path):
    monkeypatch.setenv("NOVAKIT_BUILD", str(tmp_path))
    with pytest.raises(NovaError, match="pretrain --stage variant --variant token_concat"):
        BASELINES["token_concat"].edit(pipe, task)
    with pytest.raises(NovaError, match="is not trained"):
        load_variant("token_concat", pipe=pipe)


def test_the_row_counts_self_attention_and_roles_from_either_pipeline(pipe, concatenated):
    attention = sum(weight.numel() for block in pipe.transformer.base.blocks for weight in block.attn1.parameters())
    assert BASELINES["token_concat"].parameters(pipe) == attention + 2 * 160
    assert token_concat.TOKEN_CONCAT.parameters(concatenated) == attention + 2 * 160
    assert token_concat.TOKEN_CONCAT.needs_weights == "token_concat"
