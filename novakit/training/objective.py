"""Equation 4 as a rectified flow: what the network predicts, and why it is the paper's objective.

The paper writes E||eps - eps_theta(z_t, t, source, keyframes)||^2. Wan 2.1 is a rectified-flow model, so the
trained target is the velocity v = eps - z_0 on the straight path z_t = (1 - sigma) z_0 + sigma eps.
From a velocity v' follow z_0' = z_t - sigma v' and eps' = z_t + (1 - sigma) v', hence

    ||eps' - eps||^2 = (1 - sigma)^2 ||v' - v||^2 :

the same objective up to the weight (1 - sigma)^2.
Source: paper eq. 4; Wan 2.1 (flow matching, timestep = 1000 sigma); the derivation is ours.
"""

import hashlib

import torch
from torch import Tensor

from novakit.errors import NovaError

NUM_TRAIN_TIMESTEPS = 1000  # the network is told 1000 * sigma, as Wan's scheduler does


def without_autocast(device: torch.device | str = "cpu") -> torch.autocast:
    """Context with autocast off, for rendering, warping and metrics inside a task's loss."""
    return torch.autocast(torch.device(device).type, enabled=False)


def step_generator(seed: int, step: int, stream: str = "noise") -> torch.Generator:
    """A CPU generator that depends on (seed, step, stream) only, so step k draws the same after a resume.

    Args:
        seed: the run's seed.
        step: batch index.
        stream: name of the use; different names give independent numbers.
    """
    digest = hashlib.sha256(f"{seed}/{stream}/{step}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


def draw_noise(like: Tensor, generator: torch.Generator) -> Tensor:
    """Standard normal float32 numbers of the shape and on the device of `like`, from a CPU generator.

    A GPU draws them itself, from a seed that the generator gives: a CPU thread would be the slowest part of a step.
    """
    if like.device.type == "cpu":
        return torch.randn(like.shape, generator=generator)
    seed = int(torch.randint(2**62, (), generator=generator))
    own = torch.Generator(like.device).manual_seed(seed)
    return torch.randn(like.shape, generator=own, device=like.device)


def shift_sigmas(sigmas: Tensor, shift: float) -> Tensor:
    """sigma' = s sigma / (1 + (s - 1) sigma): s > 1 moves noise levels towards 1; s = 1 changes nothing.

    Args:
        sigmas: noise levels in [0, 1], any shape.
        shift: s > 0 (Wan uses 3 at 480p).

    Source: SD3 (arXiv 2403.03206) eq. 23, as in diffusers' flow-matching schedulers.
    """
    if not shift > 0:
        raise NovaError(f"timestep shift is {shift!r}; pass a number above 0 (1 = no shift, Wan uses 3).")
    return shift * sigmas / (1 + (shift - 1) * sigmas)


def sample_sigmas(
    batch: int, generator: torch.Generator | None = None, shift: float = 1.0, scheme: str = "uniform"
) -> Tensor:
    """Draw one noise level per clip.

    Args:
        batch: number of clips B.
        generator: CPU generator; None uses the global one.
        shift: timestep shift s, see `shift_sigmas`.
        scheme: "uniform" on [0, 1), or "logit_normal" = sigmoid of a standard normal (more middle levels).

    Returns:
        Float32 noise levels in [0, 1], shape (B,), on the CPU.
    """
    if scheme == "uniform":
        sigmas = torch.rand(batch, generator=generator)
    elif scheme == "logit_normal":
        sigmas = torch.sigmoid(torch.randn(batch, generator=generator))
    else:
        raise NovaError(f"noise-level scheme {scheme!r} is unknown; choose 'uniform' or 'logit_normal'.")
    return shift_sigmas(sigmas, shift)


def expand_sigmas(sigmas: Tensor, like: Tensor) -> Tensor:
    """Reshape (B,) noise levels to (B, 1, 1, …) so that they multiply `like`, on its device."""
    return sigmas.to(like.device, torch.float32).reshape(-1, *[1] * (like.ndim - 1))  # (B, 1, 1, 1, 1)


def add_noise(latents: Tensor, noise: Tensor, sigmas: Tensor) -> Tensor:
    """z_t = (1 - sigma) z_0 + sigma eps.

    Args:
        latents: z_0, (B, Z, t, h, w).
        noise: eps, the same shape, standard normal.
        sigmas: (B,) in [0, 1].
    """
    sigma = expand_sigmas(sigmas, latents)
    return (1 - sigma) * latents + sigma * noise


def velocity_target(latents: Tensor, noise: Tensor) -> Tensor:
    """v = eps - z_0, the direction of the straight path from data to noise."""
    return noise - latents


def flow_matching_loss(
    prediction: Tensor, noise: Tensor, latents: Tensor, sigmas: Tensor, weight: Tensor | None = None
) -> Tensor:
    """Mean over clips of weight * mean((v' - v)^2), v = eps - z_0, computed in float32.

    Args:
        prediction: v', the network's output, (B, Z, t, h, w).
        noise: eps, the same shape.
        latents: z_0, the same shape.
        sigmas: (B,) noise levels of the batch.
        weight: (B,) weight per clip, for instance `epsilon_loss_weight(sigmas)`; None = 1.

    Returns:
        Scalar loss.
    """
    if not prediction.shape == noise.shape == latents.shape or sigmas.shape != latents.shape[:1]:
        raise NovaError(
            f"shapes differ: prediction {list(prediction.shape)}, noise {list(noise.shape)}, latents "
            f"{list(latents.shape)}, sigmas {list(sigmas.shape)}; the first three must agree, sigmas be (B,)."
        )
    error = prediction.float() - velocity_target(latents.float(), noise.float())
    per_clip = error.square().flatten(1).mean(1)  # (B,)
    return per_clip.mean() if weight is None else (weight.to(per_clip) * per_clip).mean()


def latents_from_velocity(noisy: Tensor, velocity: Tensor, sigmas: Tensor) -> Tensor:
    """z_0' = z_t - sigma v': the clean latents that a velocity implies."""
    return noisy - expand_sigmas(sigmas, noisy) * velocity


def epsilon_from_velocity(noisy: Tensor, velocity: Tensor, sigmas: Tensor) -> Tensor:
    """eps' = z_t + (1 - sigma) v': the noise that a velocity implies."""
    return noisy + (1 - expand_sigmas(sigmas, noisy)) * velocity


def epsilon_loss_weight(sigmas: Tensor) -> Tensor:
    """(1 - sigma)^2: `flow_matching_loss` with this weight is the paper's epsilon objective exactly."""
    return (1 - sigmas).square()
