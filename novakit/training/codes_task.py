"""The first lesson of the nano VAE: encode to given codes, decode from them, each half by itself.

Encoder and decoder learn side by side and share nothing: a wrong encoder does not disturb the decoder, and the target
of both is there from the first step. Every residual branch starts at zero, so both begin as the short linear nets that
their shortcuts are.

Source: ours; the codes are `novakit.training.block_codes`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from novakit.scenes import render_clips
from novakit.training.block_codes import BlockCodes
from novakit.training.objective import without_autocast
from novakit.training.recipe import VaeClips
from novakit.training.vae_task import VaeTask, psnr, reconstruction_loss


def zero_residual_branches(vae: nn.Module) -> None:
    """Set the last projection of every residual branch and attention of the VAE to zero, in place."""
    for module in vae.modules():
        last = {"WanResidualBlock": "conv2", "WanAttentionBlock": "proj"}.get(type(module).__name__)
        if last:
            nn.init.zeros_(getattr(module, last).weight)
            nn.init.zeros_(getattr(module, last).bias)


def fit_codes(vae: nn.Module, num_clips: int = 256, batch: int = 8) -> BlockCodes:
    """Block codes of training clips, as many per block as the VAE has channels."""
    starts = range(0, num_clips, batch)
    clips = (render_clips(range(start, start + batch), num_frames=17) for start in starts)
    return BlockCodes.fit(clips, vae.config.z_dim, vae.config.scale_factor_spatial)


class CodesTask(VaeTask):
    """Trains the encoder to give block codes and the decoder to undo them.

    Args:
        vae: AutoencoderKLWan with mean 0 and std 1 in its config; its residual branches are set to zero here.
        codes: the linear code; None takes it from training clips (about half a minute).
        seed, clips: as in VaeTask.
    """

    def __init__(
        self, vae: nn.Module, codes: BlockCodes | None = None, seed: int = 0, clips: VaeClips | None = None
    ) -> None:
        super().__init__(vae, seed, clips)
        self.codes = codes or fit_codes(vae)
        zero_residual_branches(vae)
        with torch.no_grad():
            vae.quant_conv.weight[vae.config.z_dim :] = 0.0  # the spread of the posterior waits for the next part

    @property
    def settings(self) -> dict[str, Any]:
        """What a resumed run must share."""
        return {**super().settings, "codes": "principal components of blocks"}

    def inputs(self, step: int) -> dict[str, Tensor]:
        """Batch `step` and its codes."""
        with without_autocast(next(self.module.parameters()).device):
            clips = self.clips(step)
            return {"clips": clips, "codes": self.codes.encode(clips.cpu()).to(clips.device)}

    def measure(self, clips: Tensor, codes: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss of given clips (B, 3, T, H, W) and codes (B, Z, t, h, w): error of the codes + of the decoded clips."""
        encoded = self.module.encode(clips).latent_dist.mean.float()
        output = self.module.decode(codes).sample.float()
        miss = (encoded - codes).square().mean()
        loss, pixels = reconstruction_loss(output, clips)
        return loss + miss, {"l1": pixels, "codes": miss, "psnr": psnr(output, clips).mean()}
