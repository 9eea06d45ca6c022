"""Tiny random NOVA models and clips that several test files share."""

import torch
from torch import nn

from novakit.editing import NovaEditPipeline
from novakit.models import NovaTransformer3DModel, build_scheduler

BASE = {
    "patch_size": [1, 1, 1],
    "num_attention_heads": 2,
    "attention_head_dim": 12,
    "in_channels": 4,
    "out_channels": 4,
    "text_dim": 8,
    "freq_dim": 16,
    "ffn_dim": 32,
    "num_layers": 4,
    "rope_max_seq_len": 32,
    "vace_layers": [0, 2],
    "vace_in_channels": 2 * 4 + 8 * 8,
}

VAE = {
    "base_dim": 4,
    "z_dim": 4,
    "dim_mult": [1, 1, 1],
    "num_res_blocks": 1,
    "temperal_downsample": [True, True],
    "is_residual": True,
    "in_channels": 12,
    "out_channels": 12,
    "patch_size": 2,
    "scale_factor_spatial": 8,
    "scale_factor_temporal": 4,
    "latents_mean": [0.1, -0.2, 0.3, 0.0],
    "latents_std": [0.5, 1.5, 1.0, 2.0],
}


def tiny_vae(seed: int = 0) -> nn.Module:
    """A random AutoencoderKLWan with 8x spatial and 4x temporal scale."""
    from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan

    torch.manual_seed(seed)
    return AutoencoderKLWan(**VAE).eval()


def tiny_nova(seed: int = 0, trained: bool = True, base: dict | None = None, **dense) -> NovaTransformer3DModel:
    """A random NOVA; `trained` gives the dense output projections random weights: the branch has a say."""
    torch.manual_seed(seed)
    model = NovaTransformer3DModel(base_config={**BASE, **(base or {})}, **dense).eval()
    if trained:
        perturb_output(model)
    return model


def perturb_output(model: NovaTransformer3DModel, std: float = 0.5) -> None:
    """Random output projections in the dense branch, as training would leave them."""
    for linear in model.dense_branch.output_projections():
        nn.init.normal_(linear.weight, std=std)
        nn.init.normal_(linear.bias, std=std)


def tiny_inputs(batch: int = 2, frames: int = 3, size: int = 4, seed: int = 1) -> dict:
    """Random inputs of one forward pass on a (frames, size, size) latent grid."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    grid = (frames, size, size)
    return {
        "hidden_states": draw(batch, 4, *grid),
        "timestep": torch.linspace(900, 300, batch),
        "encoder_hidden_states": draw(batch, 1, 8),
        "control_hidden_states": draw(batch, BASE["vace_in_channels"], *grid),
        "source_latents": draw(batch, 4, *grid),
    }


def tiny_clip(batch: int = 1, frames: int = 9, height: int = 16, width: int = 24, seed: int = 2) -> torch.Tensor:
    """A smooth random clip (B, 3, T, H, W) in [-1, 1]."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(batch, 3, 3, 4, 6, generator=generator) * 2 - 1
    return nn.functional.interpolate(coarse, size=(frames, height, width), mode="trilinear")


def tiny_pipeline(preset: str | None = None, trained: bool = True, **dense) -> NovaEditPipeline:
    """A pipeline of random tiny models."""
    return NovaEditPipeline(tiny_vae(), tiny_nova(trained=trained, **dense), build_scheduler("nano"), preset=preset)


def keyframes_of(clip: torch.Tensor, indices: tuple[int, ...] = (0, 8)) -> dict[int, torch.Tensor]:
    """Edited keyframes: the clip's own frames with colours inverted."""
    return {k: -clip[0, :, k] for k in indices}
