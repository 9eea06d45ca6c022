"""The base alone (main branch and VACE blocks, dense branch off): what every baseline here conditions and runs.

Source: VACE's masked video-to-video through diffusers; which frames are kept is the caller's.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from novakit.editing.denoise import Conditions, denoise
from novakit.editing.text import null_token
from novakit.models import decode_latents, prepare_control


@torch.no_grad()
def kept_context(
    pipe: Any,
    keyframes: Tensor,
    indices: list[int],
    num_frames: int,
    source: Tensor | None = None,
    mask: Tensor | None = None,
) -> Tensor:
    """VACE context of a clip of which some frames, and perhaps a region of the others, are kept.

    Args:
        pipe: NovaEditPipeline.
        keyframes: frames to keep whole, (B, 3, K, H, W) in [-1, 1].
        indices: their K places; may be empty. [0] alone is first-frame conditioning.
        num_frames: T of the clip to make.
        source: (B, 3, T, H, W), kept where `mask` is 0; None = grey between the keyframes.
        mask: (B, 1, T, H, W), 1 = grey there, to be made.

    Returns:
        context (B, 2Z + s*s, t, h, w); mask 0 on what is kept, 1 on what is made.
    """
    batch, _, _, height, width = keyframes.shape
    control = keyframes.new_zeros(batch, 3, num_frames, height, width)
    generate = keyframes.new_ones(batch, 1, num_frames, height, width)
    if source is not None and mask is not None:
        control, generate = source * (1.0 - mask), mask.clone()
    control[:, :, indices], generate[:, :, indices] = keyframes, 0.0
    device = pipe.transformer.device
    return prepare_control(pipe.vae, control.to(device), generate.to(device)).to(pipe.transformer.dtype)


def base_conditions(pipe: Any, context: Tensor) -> Conditions:
    """What the base reads besides noisy latents: a context (B, 2Z + s*s, t, h, w) and the empty prompt."""
    model = pipe.transformer
    text = null_token(len(context), model.base.config.text_dim, context.device, model.dtype)
    return Conditions(context, None, None, text, None, text, dense_scale=0.0)


@torch.no_grad()
def sample_base(pipe: Any, noise: Tensor, steps: int, context: Tensor) -> Tensor:
    """Denoise with the base alone and decode.

    Args:
        pipe: NovaEditPipeline; its dense branch is not used.
        noise: (B, Z, t, h, w), float32.
        steps: denoising steps.
        context: of `kept_context`.

    Returns:
        clip (B, 3, T, H, W) in [-1, 1].
    """
    start, conditions = noise.to(context.device), base_conditions(pipe, context)
    latents = denoise(pipe.transformer, pipe.scheduler, start, steps, conditions, lambda i, timestep, now: now)
    return decode_latents(pipe.vae, latents)
