"""Latents and the VACE context against diffusers' own pipeline, and the batches that it refuses."""

import pytest
import torch
from nova_tiny import tiny_clip, tiny_nova, tiny_vae

from novakit.errors import NovaError
from novakit.models import decode_latents, encode_clip, latent_shape, prepare_control
from novakit.models.sparse_branch import grey_latents, mask_channels

VAE = tiny_vae()


def diffusers_pipeline():
    """diffusers' WanVACEPipeline around the same VAE, for its `prepare_*` functions."""
    from diffusers import FlowMatchEulerDiscreteScheduler, WanVACEPipeline

    parts = {"tokenizer": None, "text_encoder": None, "scheduler": FlowMatchEulerDiscreteScheduler()}
    pipe = WanVACEPipeline(vae=VAE, transformer=tiny_nova().base, **parts)
    pipe.vae_scale_factor_spatial = 8  # diffusers counts the downsamplings only, not the VAE's own patches
    return pipe


@torch.no_grad()
def diffusers_context(clip, mask):
    pipe = diffusers_pipeline()
    rgb_mask = mask.expand(-1, 3, -1, -1, -1).contiguous()
    latents = pipe.prepare_video_latents(clip, rgb_mask, [[]], device="cpu")
    return torch.cat([latents, pipe.prepare_masks(rgb_mask, [[]])], dim=1)


def test_latents_are_normalised_and_four_frames_make_one():
    clip = tiny_clip(batch=2, frames=9)
    with torch.no_grad():
        latents = encode_clip(VAE, clip)
        code = VAE.encode(clip).latent_dist.mode()
        first = encode_clip(VAE, clip[:, :, :1])
    assert latents.shape == (2, 4, 3, 2, 3) and latent_shape(VAE, clip) == (3, 2, 3)
    mean, std = (torch.tensor(v).view(1, 4, 1, 1, 1) for v in (VAE.config.latents_mean, VAE.config.latents_std))
    torch.testing.assert_close(latents * std + mean, code)
    torch.testing.assert_close(latents[:, :, :1], first)  # causal: latent frame 0 is frame 0 alone


def test_decoding_undoes_the_normalisation():
    clip = tiny_clip()
    with torch.no_grad():
        code = VAE.encode(clip).latent_dist.mode()
        torch.testing.assert_close(decode_latents(VAE, encode_clip(VAE, clip)), VAE.decode(code).sample)


@pytest.mark.parametrize("frames, fits", [(8, "5 or 9"), (10, "9 or 13"), (16, "13 or 17")])
def test_a_length_that_would_be_cut_silently_is_refused(frames, fits):
    with pytest.raises(NovaError, match=f"has {frames} frames.*{fits}"):
        encode_clip(VAE, torch.zeros(1, 3, frames, 16, 16))


def test_odd_sizes_and_shapes_are_refused():
    with pytest.raises(NovaError, match="multiples of 8"):
        encode_clip(VAE, torch.zeros(1, 3, 5, 20, 16))
    with pytest.raises(NovaError, match=r"wanted \(B, 3, T, H, W\)"):
        encode_clip(VAE, torch.zeros(3, 5, 16, 16))


@pytest.mark.parametrize("mode, value", [("reactive", 1.0), ("inactive", 0.0)])
def test_both_control_modes_equal_diffusers_with_a_constant_mask(mode, value):
    clip = tiny_clip()
    with torch.no_grad():
        context = prepare_control(VAE, clip, mode=mode)
    expected = diffusers_context(clip, torch.full((1, 1, 9, 16, 24), value))
    assert context.shape == (1, 2 * 4 + 64, 3, 2, 3)
    torch.testing.assert_close(context, expected)
    other = prepare_control(VAE, clip, mode="inactive" if mode == "reactive" else "reactive")
    assert not torch.allclose(other, expected)


def test_an_explicit_mask_equals_diffusers():
    clip = tiny_clip()
    mask = (torch.rand(1, 1, 9, 16, 24, generator=torch.Generator().manual_seed(0)) > 0.5).float()
    with torch.no_grad():
        torch.testing.assert_close(prepare_control(VAE, clip, mask), diffusers_context(clip, mask))


def test_a_batch_equals_its_clips_one_by_one():
    clip = tiny_clip(batch=3)
    mask = (torch.rand(3, 1, 9, 16, 24, generator=torch.Generator().manual_seed(0)) > 0.5).float()
    with torch.no_grad():
        for given in (None, mask):
            together = prepare_control(VAE, clip, given)
            alone = [
                prepare_control(VAE, clip[i : i + 1], None if given is None else given[i : i + 1]) for i in range(3)
            ]
            torch.testing.assert_close(together, torch.cat(alone))


def test_masks_of_single_keyframes_vanish_in_the_time_resize():
    """The trap: nearest-exact samples frames 1, 5, 9, 12, 16, ... of 33: of every eighth, 16 survives."""
    mask = torch.ones(1, 1, 33, 16, 16)
    mask[:, :, ::8] = 0
    channels = mask_channels(VAE, mask)
    assert channels.shape == (1, 64, 9, 2, 2)
    assert [j for j in range(9) if channels[:, :, j].min() == 0] == [4]


def test_the_grey_clip_is_encoded_once_and_again_after_training(monkeypatch):
    import novakit.models.sparse_branch as sparse

    vae, calls = tiny_vae(seed=5), []
    monkeypatch.setattr(sparse, "encode_clip", lambda v, c: calls.append(1) or encode_clip(v, c))
    clip = tiny_clip()
    first = grey_latents(vae, clip)
    assert grey_latents(vae, clip) is first and len(calls) == 1
    grey_latents(vae, tiny_clip(frames=5))
    assert len(calls) == 2
    with torch.no_grad():
        vae.encoder.conv_in.bias.add_(0.5)
    assert not torch.equal(grey_latents(vae, clip), first) and len(calls) == 3


def test_bad_control_is_refused():
    with pytest.raises(NovaError, match="reactive, inactive"):
        prepare_control(VAE, tiny_clip(), mode="both")
    with pytest.raises(NovaError, match="mask has shape"):
        prepare_control(VAE, tiny_clip(), torch.ones(1, 1, 9, 8, 12))
