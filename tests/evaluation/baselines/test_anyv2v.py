"""AnyV2V: inversion undoes sampling, shared attention with one's own queries and keys changes nothing."""

from dataclasses import replace

import pytest
import torch

from novakit.editing.denoise import denoise, velocity
from novakit.errors import NovaError
from novakit.evaluation.baselines import anyv2v
from novakit.evaluation.baselines.anyv2v import AnyV2VConfig, shared_attention
from novakit.evaluation.baselines.flow_inversion import invert_flow
from novakit.evaluation.baselines.on_base import base_conditions, kept_context
from novakit.evaluation.metrics import region_psnr
from novakit.models import decode_latents, encode_clip


@pytest.fixture(scope="module")
def source(pipe, task):
    """Latents of one source, and what the base reads when it is given its first frame."""
    clip = task.source[1:]
    context = kept_context(pipe, clip[:, :, :1], [0], clip.shape[2])
    with torch.no_grad():
        return encode_clip(pipe.vae, clip), base_conditions(pipe, context)


def round_trip_error(pipe, source, steps, repeats):
    """Error of invert-then-sample, relative to the latents."""
    latents, conditions = source
    with torch.no_grad():
        noise = invert_flow(pipe, latents, steps, conditions, repeats)[0]
        back = denoise(pipe.transformer, pipe.scheduler, noise, steps, conditions, lambda i, timestep, now: now)
    return float((back - latents).norm() / latents.norm())


def test_invert_then_sample_returns_the_source(pipe, source):
    plain, repeated = (round_trip_error(pipe, source, 8, repeats) for repeats in (0, AnyV2VConfig().repeats))
    assert repeated < 0.08
    assert repeated < plain / 3


def test_a_trajectory_ends_in_the_clip_and_starts_near_noise(pipe, source):
    trajectory = invert_flow(pipe, source[0], 4, source[1])
    assert len(trajectory) == 5 and torch.equal(trajectory[-1], source[0])
    assert 0.5 < trajectory[0].std() < 1.5


def both_halves(pipe, source, other, blocks):
    latents, conditions = source
    two = base_conditions(pipe, torch.cat([conditions.control] * 2))
    when = torch.tensor(600.0)
    with torch.no_grad(), shared_attention(blocks):
        return velocity(pipe.transformer, torch.cat([latents, other]), when, two, None).chunk(2)


def test_sharing_ones_own_queries_and_keys_is_the_identity(pipe, source):
    plain = both_halves(pipe, source, source[0], [])
    shared = both_halves(pipe, source, source[0], pipe.transformer.base.blocks)
    assert torch.equal(shared[1], plain[1])


def test_the_source_half_runs_as_if_alone_and_the_other_looks_where_it_looks(pipe, source):
    other = source[0].flip(-1)
    plain = both_halves(pipe, source, other, [])
    shared = both_halves(pipe, source, other, pipe.transformer.base.blocks[2:5])
    assert torch.equal(shared[0], plain[0])
    assert (shared[1] - plain[1]).abs().mean() > 0.01


def test_hooks_are_gone_after_an_error(pipe):
    with pytest.raises(KeyboardInterrupt), shared_attention(pipe.transformer.base.blocks):
        raise KeyboardInterrupt
    assert not any(module._forward_hooks for module in pipe.transformer.modules())


def test_an_unedited_first_frame_gives_the_source_back_however_few_steps_nova_takes(pipe, task):
    one = task.clip(1)
    kept = replace(one, keyframes=one.source[:, :, one.indices], steps=2)
    with torch.no_grad():
        ceiling = decode_latents(pipe.vae, encode_clip(pipe.vae, one.source))
    assert region_psnr(anyv2v.edit(pipe, kept), ceiling, torch.ones_like(one.mask)).item() > 30


def test_the_edit_arrives_in_the_first_frame(pipe, task):
    one = task.clip(0)
    first, mask = anyv2v.edit(pipe, one)[:, :, :1], one.mask[:, :, :1]
    to_edit, to_source = (region_psnr(first, other[:, :, :1], mask) for other in (one.keyframes, one.source))
    assert to_edit > to_source + 3


def test_a_block_that_does_not_exist_is_refused(pipe, task):
    with pytest.raises(NovaError, match=r"blocks \[8\]; this base has 0 to 7"):
        anyv2v.edit(pipe, task, AnyV2VConfig(blocks=(8,)))
