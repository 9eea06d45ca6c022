"""Validation clips of a full-size run: one held-out clip, denoised from its cached latents by what has learned so far.

The source is read anew in every step, as in training, so this is slower than an edit; it needs no text encoder, and the
VAE is in the GPU's memory only while it decodes. Source: ours.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from novakit.models import build_scheduler
from novakit.models.latents import decode_latents
from novakit.presets import Preset
from novakit.training.distributed.processes import Processes
from novakit.training.nova_task import NovaBatch
from novakit.training.objective import step_generator

STEPS = 20  # at most: enough to see what has been learned, less than the 50 of an edit at full size


class LatentPreview:
    """Makes the validation clips of `train`; call it with the model.

    Args:
        preset: denoising steps and shift.
        vae: AutoencoderKLWan on the CPU, in the main process; it visits the GPU to decode.
        batch: held-out clips, of which the first is shown.
        text: the encoded empty prompt (1, L, text_dim); None = the null token.
        team: all processes. Under FSDP all denoise, for each holds a part of the weights; else the main one alone.
        seed: of the starting noise.
    """

    def __init__(
        self,
        preset: Preset,
        vae: nn.Module | None,
        batch: NovaBatch,
        text: Tensor | None,
        team: Processes,
        seed: int = 0,
    ) -> None:
        self.preset, self.vae, self.text, self.team, self.seed = preset, vae, text, team, seed
        if vae is not None and not vae.config.is_residual:  # tiles bound the memory of a large clip
            vae.enable_tiling()
        self.batch = NovaBatch(batch.target_latents[:1], batch.source_latents[:1], batch.control[:1])

    @torch.no_grad()
    def __call__(self, model: nn.Module) -> dict[str, Tensor]:
        """{"preview": (1, 3, T, 3H, W)} in [-1, 1]: source above sample above target; empty but in the main process."""
        if not (self.team.is_main or self.team.shard):
            return {}
        batch = self.batch.to(self.team.device)
        sample = self._denoise(model, batch)
        if not self.team.is_main:
            return {}
        vae = self.vae.to(self.team.device)
        shown = [decode_latents(vae, each).cpu() for each in (batch.source_latents, sample, batch.target_latents)]
        vae.to("cpu")
        return {"preview": torch.cat(shown, dim=-2)}

    def _denoise(self, model: nn.Module, batch: NovaBatch) -> Tensor:
        """Latents (1, Z, t, h, w) from noise."""
        device, half = self.team.device, model.base.patch_embedding.weight.dtype == torch.bfloat16
        scheduler = build_scheduler(self.preset)
        scheduler.set_timesteps(min(self.preset.steps, STEPS), device=device)
        generator = step_generator(self.seed, 0, "preview")
        latents = torch.randn(batch.target_latents.shape, generator=generator).to(device)
        text = latents.new_zeros(1, 1, model.base.config.text_dim) if self.text is None else self.text.to(latents)
        given = {"encoder_hidden_states": text, "control_hidden_states": batch.control.float()}
        given["source_latents"] = batch.source_latents.float()
        for timestep in scheduler.timesteps:
            with torch.autocast(device.type, torch.bfloat16, enabled=half):
                velocity = model(latents, timestep.expand(1), **given, return_dict=False)[0]
            latents = scheduler.step(velocity.float(), timestep, latents).prev_sample
        return latents
