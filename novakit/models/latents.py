"""Clips to latents and back, through diffusers' AutoencoderKLWan.

The causal video VAE turns a clip (B, 3, T, H, W) into latents (B, Z, t, h, w) with t = 1 + (T-1)/4: latent
frame 0 is frame 0 alone, latent frame j >= 1 holds frames 4j-3 .. 4j. Everywhere in the kit latents are
*normalised*, z = (VAE code - mean) / std with the VAE's own per-channel mean and std, as in Wan.
Source: Wan 2.1 through diffusers' WanVACEPipeline (`prepare_video_latents`, decode at the end of `__call__`).
"""

import torch
from torch import Tensor, nn

from novakit.errors import NovaError


def vae_scale(vae: nn.Module) -> tuple[int, int]:
    """How much smaller latents are: (temporal, spatial) factors, (4, 8) for both presets."""
    return vae.config.scale_factor_temporal, vae.config.scale_factor_spatial


def latent_shape(vae: nn.Module, clip: Tensor) -> tuple[int, int, int]:
    """Latent grid (t, h, w) of a clip (B, C, T, H, W): t = 1 + (T-1)/4, h = H/8, w = W/8."""
    temporal, spatial = vae_scale(vae)
    num_frames, height, width = clip.shape[-3:]
    return 1 + (num_frames - 1) // temporal, height // spatial, width // spatial


def latent_statistics(vae: nn.Module, like: Tensor) -> tuple[Tensor, Tensor]:
    """Per-channel mean and std of the VAE's code, each (1, Z, 1, 1, 1), on the device of `like`."""
    shape = (1, vae.config.z_dim, 1, 1, 1)
    mean = torch.tensor(vae.config.latents_mean, device=like.device, dtype=torch.float32).view(shape)
    std = torch.tensor(vae.config.latents_std, device=like.device, dtype=torch.float32).view(shape)
    return mean, std


def check_clip(vae: nn.Module, clip: Tensor, what: str = "clip") -> None:
    """Refuse a clip that the VAE would silently cut: T must be 4k+1, H and W multiples of the spatial factor.

    Raises:
        NovaError: says what came, what was wanted and what to do.
    """
    temporal, spatial = vae_scale(vae)
    if clip.ndim != 5 or clip.shape[1] != 3:
        raise NovaError(f"{what} has shape {tuple(clip.shape)}; wanted (B, 3, T, H, W). Add or move the axes.")
    num_frames, height, width = clip.shape[2:]
    if (num_frames - 1) % temporal:
        fits = 1 + (num_frames - 1) // temporal * temporal
        raise NovaError(
            f"{what} has {num_frames} frames; the VAE needs {temporal}k+1 ({fits} or {fits + temporal}). "
            f"Cut it to {fits} frames, or repeat its last frame up to {fits + temporal}."
        )
    if height % spatial or width % spatial:
        raise NovaError(
            f"{what} is {height}x{width} pixels; height and width must be multiples of {spatial}. Resize it."
        )


def encode_clip(vae: nn.Module, clip: Tensor) -> Tensor:
    """Encode a clip into normalised latents, z = (mode of VAE(clip) - mean) / std.

    Args:
        vae: AutoencoderKLWan.
        clip: (B, 3, T, H, W) in [-1, 1], T = 4k+1, H and W multiples of the spatial factor.

    Returns:
        latents (B, Z, t, h, w), float32.

    Raises:
        NovaError: T, H or W would be cut silently.

    Source: Wan 2.1 (the mode of the posterior is used, not a sample).
    """
    check_clip(vae, clip)
    code = vae.encode(clip.to(vae.dtype)).latent_dist.mode().float()  # (B, Z, t, h, w)
    mean, std = latent_statistics(vae, code)
    return (code - mean) / std


def decode_latents(vae: nn.Module, latents: Tensor) -> Tensor:
    """Decode normalised latents into a clip: VAE decoder of z * std + mean, clamped to [-1, 1].

    Args:
        vae: AutoencoderKLWan.
        latents: (B, Z, t, h, w), normalised.

    Returns:
        clip (B, 3, T, H, W) float32 in [-1, 1], T = 4(t-1) + 1.

    Source: Wan 2.1.
    """
    mean, std = latent_statistics(vae, latents)
    code = latents.float() * std + mean
    return vae.decode(code.to(vae.dtype), return_dict=False)[0].float()
