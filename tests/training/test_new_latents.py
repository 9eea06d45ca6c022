"""A transformer carried to the latents of another VAE says the same as before, in the new numbers."""

import copy

import pytest
import torch

from novakit.errors import NovaError
from novakit.models import build_transformer
from novakit.models.latents import encode_clip
from novakit.paths import shipped_weights
from novakit.training.new_latents import Affine, carry, latent_maps, move_latents, training_clips
from novakit.training.pretrain import trained_transformer, trained_vae
from novakit.training.unpack import unpack


def rotation(size=48):
    turn = torch.linalg.qr(torch.randn(size, size, generator=torch.Generator().manual_seed(0)))[0]
    return Affine(turn, torch.linspace(-1, 1, size))


def turned(affine, latents):
    return torch.einsum("yx,bxthw->bythw", affine.matrix, latents) + affine.offset[:, None, None, None]


def inverse(affine):
    return Affine(affine.matrix.T.contiguous(), -affine.matrix.T @ affine.offset)


@pytest.fixture(scope="module")
def vae(tmp_path_factory):
    return trained_vae(unpack(shipped_weights() / "nano", tmp_path_factory.mktemp("runs")))


def reparametrised(vae, affine):
    """The same VAE, its latents rotated and shifted."""
    other, size = copy.deepcopy(vae), vae.config.z_dim
    mean, std = (torch.tensor(vae.config[f"latents_{name}"]) for name in ("mean", "std"))
    with torch.no_grad():
        weight, bias = other.quant_conv.weight[:size].flatten(1), other.quant_conv.bias[:size]
        matrix = affine.matrix / std  # of raw codes
        other.quant_conv.weight[:size] = (matrix @ weight).view_as(other.quant_conv.weight[:size])
        other.quant_conv.bias[:size] = matrix @ (bias - mean) + affine.offset
    other.register_to_config(latents_mean=[0.0] * size, latents_std=[1.0] * size)
    return other


def test_a_rotation_of_the_latents_rotates_the_velocity():
    torch.manual_seed(1)
    model = build_transformer("nano").eval()
    for linear in model.dense_branch.output_projections():
        torch.nn.init.normal_(linear.weight, std=0.05)
    draw = torch.Generator().manual_seed(2)
    noisy, source = (torch.randn(1, 48, 3, 4, 6, generator=draw) for _ in range(2))
    control = torch.randn(1, 160, 3, 4, 6, generator=draw)
    given = {"timestep": torch.tensor([400.0]), "encoder_hidden_states": torch.zeros(1, 1, 32)}
    to_new = rotation()
    with torch.no_grad():
        before = model(noisy, control_hidden_states=control, source_latents=source, **given).sample
        move_latents(model, inverse(to_new), to_new)
        turned_control = torch.cat(
            [turned(to_new, control[:, :48]), turned(to_new, control[:, 48:96]), control[:, 96:]], 1
        )
        parts = {"control_hidden_states": turned_control, "source_latents": turned(to_new, source)}
        after = model(turned(to_new, noisy), **parts, **given).sample
    expected = turned(Affine(to_new.matrix, -to_new.offset), before)
    assert torch.allclose(after, expected, atol=2e-4)


def test_least_squares_finds_the_map_between_two_vaes(vae):
    to_new = rotation()
    other = reparametrised(vae, to_new)
    there, back = latent_maps(vae, other, training_clips(16))
    clip = next(training_clips(1, 1))
    old, new = encode_clip(vae, clip), encode_clip(other, clip)
    assert torch.allclose(turned(to_new, old), new, atol=1e-3), "the test's own VAE"
    assert torch.allclose(turned(back, old), new, atol=0.02) and torch.allclose(turned(there, new), old, atol=0.02)


def test_carrying_fills_the_folder_of_a_new_vae(vae, tmp_path):
    carry(shipped_weights() / "nano", tmp_path, reparametrised(vae, rotation()))
    for part in ("base", "nova"):
        (tmp_path / part / "start.safetensors").rename(tmp_path / part / "last.safetensors")
    assert trained_transformer(tmp_path, "base", "nova").is_nova
    with pytest.raises(NovaError, match="already holds base, nova"):
        carry(shipped_weights() / "nano", tmp_path, vae)
