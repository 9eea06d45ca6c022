"""Stage 1 of the nano weights: a small Wan VAE learns to compress clips of the nano world.

Loss: L1 and squared error of pixels + L1 of differences between neighbours in space and time (edges stay sharp and
plain ground still, without a downloaded perceptual network) + a weak pull of the posterior towards the unit Gaussian.
The net is convolutional, so it learns on short clips and small crops and is used on long and large ones.

Source: ours; architecture Wan 2.2's VAE through diffusers, made narrow.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor, nn

from novakit.models.latents import decode_latents, encode_clip, latent_shape
from novakit.scenes import render_clips
from novakit.training.objective import draw_noise, step_generator, without_autocast
from novakit.training.recipe import VaeClips

KL_WEIGHT = 1e-5
FIRST_LOGVAR = -6.0  # posterior std 0.05 at the start: with std 1 the decoder would first have to outshout the noise
EDGE_WEIGHT = 0.25
SQUARE_WEIGHT = 4.0


def reconstruction_loss(output: Tensor, clips: Tensor) -> tuple[Tensor, Tensor]:
    """How far decoded clips are from the true ones, both `(B, 3, T, H, W)`, T > 1; and its L1 part alone."""
    error = output - clips
    pixels, edges = error.abs().mean(), sum(error.diff(dim=axis).abs().mean() for axis in (2, 3, 4))
    return pixels + SQUARE_WEIGHT * error.square().mean() + EDGE_WEIGHT * edges, pixels


def psnr(a: Tensor, b: Tensor) -> Tensor:
    """PSNR in dB of clips in [-1, 1], one per clip: `(B,)`."""
    return -10.0 * torch.log10(((a - b) / 2.0).square().flatten(1).mean(dim=1).clamp_min(1e-12))


class VaeTask:
    """Trains encoder and decoder together on rendered clips.

    Args:
        vae: AutoencoderKLWan with mean 0 and std 1 in its config.
        seed: of the run; batch k is a function of (seed, k).
        clips: what a step sees.
    """

    def __init__(self, vae: nn.Module, seed: int = 0, clips: VaeClips | None = None) -> None:
        self.module, self.seed = vae, seed
        self.sees = clips or VaeClips(8, 9)
        with torch.no_grad():
            vae.quant_conv.bias[vae.config.z_dim :] = FIRST_LOGVAR

    @property
    def settings(self) -> dict[str, Any]:
        """What a resumed run must share."""
        return {"stage": "vae", **asdict(self.sees)}

    def clips(self, step: int) -> Tensor:
        """Batch `step`: rendered clips, cropped at a random place, half of the batches mirrored."""
        generator = step_generator(self.seed, step, "clips")
        seeds = torch.randint(2**31 - 1, (self.sees.batch,), generator=generator)
        device = next(self.module.parameters()).device
        clips = render_clips(seeds, num_frames=self.sees.num_frames, device=device)
        (height, width), (crop_h, crop_w) = clips.shape[-2:], self.sees.crop
        top = int(torch.randint(height - crop_h + 1, (1,), generator=generator))
        left = int(torch.randint(width - crop_w + 1, (1,), generator=generator))
        clips = clips[..., top : top + crop_h, left : left + crop_w]
        return clips.flip(-1) if torch.rand((), generator=generator) < 0.5 else clips

    def loss(self, step: int) -> tuple[Tensor, dict[str, float]]:
        """Reconstruction loss of batch `step`."""
        loss, numbers = self.measure(**self.inputs(step))
        return loss, {name: number.item() for name, number in numbers.items()}

    def inputs(self, step: int) -> dict[str, Tensor]:
        """Batch `step`, and the noise with which the posterior is sampled."""
        with without_autocast(next(self.module.parameters()).device):
            clips = self.clips(step)
        code = clips.new_empty(len(clips), self.module.config.z_dim, *latent_shape(self.module, clips))
        return {"clips": clips, "noise": draw_noise(code, step_generator(self.seed, step))}

    def measure(self, clips: Tensor, noise: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss of given clips (B, 3, T, H, W) and noise (B, Z, t, h, w)."""
        posterior = self.module.encode(clips).latent_dist
        mean, logvar = posterior.mean.float(), posterior.logvar.float()
        output = self.module.decode(mean + noise * (0.5 * logvar).exp()).sample.float()
        kl = 0.5 * (mean.square() + logvar.exp() - 1.0 - logvar).mean()
        loss, pixels = reconstruction_loss(output, clips)
        return loss + KL_WEIGHT * kl, {"l1": pixels, "kl": kl, "psnr": psnr(output, clips).mean()}

    def validate(self, step: int) -> dict[str, float]:
        """PSNR of the round trip on eight whole clips with textures that training never shows."""
        clips = render_clips(range(8), split="val", num_frames=33).to(next(self.module.parameters()).device)
        return {"psnr": psnr(self.round_trip(clips), clips).mean().item()}

    def validation_clips(self, step: int) -> dict[str, Tensor]:
        """Three clips above their round trips, as one video."""
        clips = render_clips(range(3), split="val", num_frames=33).to(next(self.module.parameters()).device)
        pairs = torch.cat([clips, self.round_trip(clips)], dim=-2).cpu()  # (3, 3, T, 2H, W)
        return {"round_trip": torch.cat(list(pairs), dim=-1)[None]}

    def round_trip(self, clips: Tensor) -> Tensor:
        """decode(encode(clips))."""
        return decode_latents(self.module, encode_clip(self.module, clips))


@torch.no_grad()
def measure_latents(vae: nn.Module, num_clips: int = 64, batch: int = 8) -> tuple[list[float], list[float]]:
    """Mean and std of every latent channel over training clips, for the VAE's config (`latents_mean`, `_std`)."""
    device = next(vae.parameters()).device
    codes = []
    for start in range(0, num_clips, batch):
        clips = render_clips(range(start, start + batch), num_frames=17, device=device)
        codes.append(vae.encode(clips).latent_dist.mode().float().transpose(0, 1).flatten(1))  # (Z, ...)
    stack = torch.cat(codes, dim=1)
    return stack.mean(dim=1).tolist(), stack.std(dim=1).tolist()
