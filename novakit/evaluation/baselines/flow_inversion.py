"""Flow inversion: the way from a clip back to the noise that the base would make it from.

A rectified flow is an ordinary differential equation, dx = v(x, sigma) d sigma. Sampling walks it from sigma = 1 to 0
in Euler steps; inversion walks the same noise levels upwards. An Euler step down, from s_i to s_{i+1}, reads v at its
*upper* end, which inversion does not know yet: x_i = x_{i+1} + (s_i - s_{i+1}) v(x_i, s_i). Reading v at x_{i+1}
instead is the usual approximation (DDIM inversion makes it too); repeating the line with the new x_i converges to the
exact inverse where the step is short enough.

Source: Euler inversion as in AnyV2V's and I2VEdit's samplers, carried over to flows; the repetitions are those of
fixed-point inversion (AIDI, arXiv 2309.04907). The code is ours.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from novakit.editing.denoise import Conditions, set_timesteps, velocity

FEWEST_STEPS = 8  # a long Euler step cannot be undone: with four the nano base runs away from the clip


@torch.no_grad()
def invert_flow(pipe: Any, latents: Tensor, steps: int, conditions: Conditions, repeats: int = 4) -> list[Tensor]:
    """Latents of a clip at every noise level of a sampling run.

    Args:
        pipe: NovaEditPipeline; its scheduler gives the noise levels.
        latents: the clip, clean and normalised, (B, Z, t, h, w).
        steps: sampling steps to be undone.
        conditions: what the base reads, the same as in the sampling to come.
        repeats: how often a step is repeated with the better guess; 0 = the plain approximation.

    Returns:
        steps + 1 tensors (B, Z, t, h, w): the i-th lies at the i-th noise level; the first is the inverted noise, the
        last the clip.
    """
    timesteps = set_timesteps(pipe.scheduler, steps, latents.device)
    sigmas = pipe.scheduler.sigmas.tolist()
    trajectory = [latents.float()]
    for i in reversed(range(steps)):
        below = guess = trajectory[0]
        for _ in range(1 + repeats):
            v = velocity(pipe.transformer, guess, timesteps[i], conditions, None)
            guess = below + (sigmas[i] - sigmas[i + 1]) * v
        trajectory.insert(0, guess)
    return trajectory
