"""Stage 1 of the nano weights: a small Wan VAE learns to compress clips of the nano world.

Loss: L1 and squared error of pixels + L1 of image gradients (edges stay sharp without a downloaded perceptual
network) + a weak pull of the posterior towards the unit Gaussian. The net is convolutional, so it learns on short
clips and small crops and is used on long and large ones.

Source: ours; architecture Wan 2.2's VAE through diffusers, made narrow.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from novakit.models.latents import decode_latents, encode_clip
from novakit.scenes import render_clips
from novakit.training.objective import step_generator, without_autocast

KL_WEIGHT = 1e-5
FIRST_LOGVAR = -6.0  # posterior std 0.05 at the start: with std 1 the decoder would first have to outshout the noise
EDGE_WEIGHT = 0.25
SQUARE_WEIGHT = 2.0


def gradient_difference(a: Tensor, b: Tensor) -> Tensor:
    """Mean absolute difference of the horizontal and vertical image gradients of two clips `(B, 3, T, H, W)`."""
    error = a - b
    return error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()


def psnr(a: Tensor, b: Tensor) -> Tensor:
    """PSNR in dB of clips in [-1, 1], one per clip: `(B,)`."""
    return -10.0 * torch.log10(((a - b) / 2.0).square().flatten(1).mean(dim=1).clamp_min(1e-12))


class VaeTask:
    """Trains encoder and decoder together on rendered clips.

    Args:
        vae: AutoencoderKLWan with mean 0 and std 1 in its config.
        seed: of the run; batch k is a function of (seed, k).
        batch: clips per step.
        num_frames: frames per clip, 4k+1.
        crop: pixels `(H, W)` cut from each rendered frame.
        decoder_only: leave the encoder as it is, so that latents made before stay valid.
    """

    def __init__(
        self,
        vae: nn.Module,
        seed: int = 0,
        batch: int = 8,
        num_frames: int = 9,
        crop: tuple[int, int] = (32, 48),
        decoder_only: bool = False,
    ) -> None:
        self.module = vae
        with torch.no_grad():
            vae.quant_conv.bias[vae.config.z_dim :] = FIRST_LOGVAR
        self.decoder_only = decoder_only
        for frozen in (vae.encoder, vae.quant_conv):
            frozen.requires_grad_(not decoder_only)
        self.seed, self.batch, self.num_frames, self.crop = seed, batch, num_frames, crop

    @property
    def settings(self) -> dict[str, Any]:
        """What a resumed run must share."""
        return {
            "stage": "vae",
            "batch": self.batch,
            "num_frames": self.num_frames,
            "crop": list(self.crop),
            "decoder_only": self.decoder_only,
        }

    def clips(self, step: int) -> Tensor:
        """Batch `step`: rendered clips, cropped at a random place."""
        generator = step_generator(self.seed, step, "clips")
        seeds = torch.randint(2**31 - 1, (self.batch,), generator=generator)
        device = next(self.module.parameters()).device
        clips = render_clips(seeds, num_frames=self.num_frames, device=device)
        (height, width), (crop_h, crop_w) = clips.shape[-2:], self.crop
        top = int(torch.randint(height - crop_h + 1, (1,), generator=generator))
        left = int(torch.randint(width - crop_w + 1, (1,), generator=generator))
        return clips[..., top : top + crop_h, left : left + crop_w]

    def loss(self, step: int) -> tuple[Tensor, dict[str, float]]:
        """Reconstruction loss of batch `step`."""
        with without_autocast(next(self.module.parameters()).device):
            clips = self.clips(step)
        with torch.set_grad_enabled(not self.decoder_only):
            posterior = self.module.encode(clips).latent_dist
        mean, logvar = posterior.mean.float(), posterior.logvar.float()
        noise = torch.randn(mean.shape, generator=step_generator(self.seed, step)).to(mean)
        code = mean + noise * (0.5 * logvar).exp()
        output = self.module.decode(code).sample.float()
        kl = 0.5 * (mean.square() + logvar.exp() - 1.0 - logvar).mean()
        pixels = (output - clips).abs().mean()
        squares = (output - clips).square().mean()
        edges = gradient_difference(output, clips)
        loss = pixels + SQUARE_WEIGHT * squares + EDGE_WEIGHT * edges + KL_WEIGHT * kl
        return loss, {
            "l1": pixels.item(),
            "kl": kl.item(),
            "psnr": psnr(output.detach(), clips).mean().item(),
        }

    def validate(self, step: int) -> dict[str, float]:
        """PSNR of the round trip on eight whole clips with textures that training never shows."""
        clips = render_clips(range(8), split="val", num_frames=33).to(next(self.module.parameters()).device)
        return {"psnr": psnr(self.round_trip(clips), clips).mean().item()}

    def validation_clips(self, step: int) -> dict[str, Tensor]:
        """Three clips above their round trips, as one video."""
        clips = render_clips(range(3), split="val", num_frames=33).to(next(self.module.parameters()).device)
        pairs = torch.cat([clips, self.round_trip(clips).float().cpu()], dim=-2)  # (3, 3, T, 2H, W)
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
