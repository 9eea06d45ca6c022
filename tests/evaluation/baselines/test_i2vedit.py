"""I2VEdit: the LoRA teaches the base this clip's motion; the pipeline comes out as it went in."""

from dataclasses import replace

import pytest
import torch

from novakit.evaluation.baselines import i2vedit
from novakit.evaluation.baselines.on_base import kept_context, sample_base


@pytest.fixture(scope="module")
def outputs(pipe, task):
    """One clip by the base as it is and by the tuned base, both from the edited first frame and the same noise."""
    one = task.clip(1)
    context = kept_context(pipe, one.first_frame("the base"), [0], one.source.shape[2])
    plain = sample_base(pipe, one.noise, one.steps, context)
    before = {name: weight.clone() for name, weight in pipe.transformer.state_dict().items()}
    tuned = i2vedit.edit(pipe, one, i2vedit.I2VEditConfig(replace(i2vedit.CONFIG.lora, steps=25), invert=False))
    after = pipe.transformer.state_dict()
    assert list(after) == list(before) and all(torch.equal(after[name], before[name]) for name in before)
    assert torch.equal(sample_base(pipe, one.noise, one.steps, context), plain)
    return plain, tuned


def change(clip):
    """Change from frame to frame, flat and without its mean."""
    steps = (clip[:, :, 1:] - clip[:, :, :-1]).flatten()
    return steps - steps.mean()


def test_motion_follows_the_source_better_than_the_base_does(outputs, task):
    wanted = change(task.source[1:])
    plain, tuned = (float(torch.cosine_similarity(change(clip), wanted, dim=0)) for clip in outputs)
    assert tuned > plain


def test_what_is_not_edited_comes_nearer_to_the_source(outputs, task):
    outside = 1.0 - task.mask[1:]
    plain, tuned = (float(((clip - task.source[1:]).square() * outside).mean()) for clip in outputs)
    assert tuned < 0.9 * plain
