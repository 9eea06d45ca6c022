"""VACE multi-frame: the same base, keyframes placed in the control video, no dense branch.

Two rows, since the paper does not say which one it ran: the clip between keyframes is grey, or it is the source
outside the edited region. Kept: VACE's own conditioning (mask 0 on what is given, 1 on what is to be made). Left
out: nothing is trained. Single-frame masks vanish in VACE's resize of the mask in time; the keyframes still enter
through the inactive latents.

Source: VACE through diffusers; the conditioning is ours.
"""

from __future__ import annotations

import torch
from torch import Tensor

from novakit.editing.denoise import Conditions, denoise
from novakit.editing.text import null_token
from novakit.models import decode_latents, prepare_control


@torch.no_grad()
def vace_multiframe(
    pipe,
    keyframes: Tensor,
    indices: list[int],
    noise: Tensor,
    steps: int,
    source: Tensor | None = None,
    mask: Tensor | None = None,
) -> Tensor:
    """Edit with the base alone.

    Args:
        pipe: NovaEditPipeline; its dense branch is not used.
        keyframes: edited keyframes `(B, 3, K, H, W)` in [-1, 1].
        indices: their K frame indices.
        noise: starting noise `(B, Z, t, h, w)`.
        steps: denoising steps.
        source: the source clip `(B, 3, T, H, W)`, for the row that sees the background; needs `mask`.
        mask: the edited region `(B, 1, T, H, W)`; only this row is told it.

    Returns:
        The edited clip `(B, 3, T, H, W)` in [-1, 1].
    """
    batch, _, _, height, width = keyframes.shape
    frames = 4 * (noise.shape[2] - 1) + 1
    control = keyframes.new_zeros(batch, 3, frames, height, width)
    generate = keyframes.new_ones(batch, 1, frames, height, width)
    if source is not None and mask is not None:
        control, generate = source * (1.0 - mask), mask.clone()
    control[:, :, indices], generate[:, :, indices] = keyframes, 0.0
    model = pipe.transformer
    text = null_token(batch, model.base.config.text_dim, noise.device, model.dtype)
    context = prepare_control(pipe.vae, control, generate).to(model.dtype)
    conditions = Conditions(context, None, None, text, None, text, dense_scale=0.0)
    latents = denoise(model, pipe.scheduler, noise, steps, conditions, lambda i, timestep, now: now)
    return decode_latents(pipe.vae, latents)
