"""The denoising loop: from noise to the latents of the edited clip, one Euler step per noise level."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from novakit.models.attention_maps import AttentionRequest
from novakit.models.dense_branch import DenseCache
from novakit.models.step_cache import StepCache


@dataclass(frozen=True)
class Conditions:
    """All that the network reads besides the noisy latents."""

    control: Tensor | None  # VACE context (B, 2Z + s*s, t, h, w); None = sparse branch off
    source_latents: Tensor | None  # (S, Z, t, h, w), for the uncached road
    dense_cache: DenseCache | None  # K and V of the source, for the cached road
    prompt: Tensor  # (B, L, text_dim)
    negative: Tensor | None  # (B, L, text_dim); None = no guidance pass
    empty: Tensor  # the empty prompt (S, L, text_dim), which the replica reads
    sparse_scale: float | list[float] = 1.0
    dense_scale: float = 1.0
    guidance_scale: float = 1.0


def set_timesteps(scheduler: Any, steps: int, device: torch.device) -> Tensor:
    """Noise levels of `steps` steps; the timesteps (steps,) in [0, 1000].

    diffusers' flow-matching Euler scheduler ends its default schedule just above 0 and spends a step there;
    Wan's own schedule, sigma = 1, (n-1)/n, ..., 1/n before the shift, does not.
    """
    if type(scheduler).__name__ == "FlowMatchEulerDiscreteScheduler":
        scheduler.set_timesteps(sigmas=[1 - i / steps for i in range(steps)], device=device)
    else:
        scheduler.set_timesteps(steps, device=device)
    return scheduler.timesteps


def velocity(
    transformer: nn.Module,
    latents: Tensor,
    timestep: Tensor,
    conditions: Conditions,
    request: AttentionRequest | None,
    caches: tuple[StepCache, StepCache] | None = None,
) -> Tensor:
    """v of one noise level, with guidance: v_neg + g (v - v_neg); the second pass only where it differs."""

    def predict(text: Tensor, asked: AttentionRequest | None, which: int) -> Tensor:
        return transformer(
            latents.to(transformer.dtype),
            timestep.expand(len(latents)),
            text,
            conditions.control,
            source_latents=conditions.source_latents,
            dense_cache=conditions.dense_cache,
            sparse_scale=conditions.sparse_scale,
            dense_scale=conditions.dense_scale,
            empty_hidden_states=conditions.empty,
            attention_request=asked,
            step_cache=caches[which] if caches else None,
            return_dict=False,
        )[0].float()

    guided = predict(conditions.prompt, request, 0)
    if conditions.negative is None:
        return guided
    other = predict(conditions.negative, None, 1)
    return other + conditions.guidance_scale * (guided - other)


def denoise(
    transformer: nn.Module,
    scheduler: Any,
    noise: Tensor,
    steps: int,
    conditions: Conditions,
    on_step: Callable[[int, Tensor, Tensor], Tensor],
    request: AttentionRequest | None = None,
    step_cache: float = 0.0,
) -> Tensor:
    """Walk from noise to latents.

    Args:
        transformer: NovaTransformer3DModel.
        scheduler: any diffusers flow-matching scheduler (Euler; UniPC with flow sigmas).
        noise: (B, Z, t, h, w), float32.
        steps: number of steps.
        conditions: what the network reads.
        on_step: `on_step(i, timestep, latents) -> latents`, called after every step.
        request: attention maps to fill in step `request.step`.
        step_cache: threshold of a `StepCache` for each of the two passes; 0 = none.

    Returns:
        latents (B, Z, t, h, w), float32.
    """
    timesteps = set_timesteps(scheduler, steps, noise.device)
    latents, count = noise, len(timesteps)
    caches = (StepCache(step_cache), StepCache(step_cache)) if step_cache else None
    for i, timestep in enumerate(timesteps):
        asked = request if request is not None and request.step % count == i else None
        v = velocity(transformer, latents, timestep, conditions, asked, caches)
        latents = scheduler.step(v, timestep, latents, return_dict=False)[0]
        latents = on_step(i, timestep, latents)
    return latents
