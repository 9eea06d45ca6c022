"""A LoRA that lives for one clip: put in, trained on that clip, used, and taken out without a trace.

I2VEdit and LoRA-Edit are both this, with different lessons. The layers come from peft; the base's own modules are put
back at the end, also after an error or Ctrl-C, so that the next row of a table meets the very same pipeline.

Source: LoRA (arXiv 2106.09685) through peft; the loop is eq. 4 (`novakit.training.objective`) on a single clip.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from novakit.editing.denoise import velocity
from novakit.errors import NovaError
from novakit.evaluation.baselines.on_base import base_conditions
from novakit.training.nova_task import NovaBatch
from novakit.training.objective import (
    NUM_TRAIN_TIMESTEPS,
    add_noise,
    flow_matching_loss,
    sample_sigmas,
    step_generator,
)

#: Linear layers of the main blocks, as regular expressions of their names inside the base.
SELF_ATTENTION = r"blocks\.\d+\.attn1\.(to_q|to_k|to_v|to_out\.0)"
ALL_LINEAR = r"blocks\.\d+\.(attn[12]\.(to_q|to_k|to_v|to_out\.0)|ffn\.net\.(0\.proj|2))"


@dataclass(frozen=True)
class LoraConfig:
    """Size and training of a per-clip LoRA."""

    targets: str  # which linear layers of the base, a regular expression that must match a name in full
    rank: int = 16  # r; the factor alpha / r is 1
    steps: int = 100  # AdamW steps per clip
    lr: float = 1e-3  # learning rate, constant
    shift: float = 3.0  # timestep shift of the noise levels, as the base was trained
    seed: int = 0  # of the LoRA's first weights and of the training noise, together with the task's noise

    def __post_init__(self) -> None:
        if self.rank < 1 or self.steps < 0 or not self.lr > 0:
            raise NovaError(
                f"a LoRA of rank {self.rank}, {self.steps} steps and learning rate {self.lr} cannot be trained; "
                "pass rank >= 1, steps >= 0, lr > 0."
            )


def _peft():
    """peft, or an error that says where to get it."""
    try:
        import peft
    except ImportError as error:
        raise NovaError(
            "peft is missing: I2VEdit and LoRA-Edit train a LoRA per clip. Install the extra: "
            'pip install "novakit[baselines]" (from a clone: pip install -e ".[baselines]").'
        ) from error
    return peft


def lora_parameters(pipe: Any, config: LoraConfig) -> int:
    """Parameters of the LoRA: rank * (inputs + outputs) of every layer that it is put on."""
    layers = _targets(pipe.transformer.base, config.targets)
    return sum(config.rank * (layer.in_features + layer.out_features) for layer in layers)


def _targets(base: nn.Module, pattern: str) -> list[nn.Linear]:
    layers = [layer for name, layer in base.named_modules() if re.fullmatch(pattern, name)]
    if not layers:
        raise NovaError(f"no layer of the base is called like {pattern!r}; see base.named_modules() for the names.")
    return layers


def seed_of(noise: Tensor, seed: int) -> int:
    """A seed that follows from a clip's own starting noise, so that it does not depend on the batch."""
    digest = hashlib.sha256(noise.detach().float().cpu().contiguous().numpy().tobytes() + str(seed).encode())
    return int.from_bytes(digest.digest()[:8], "big") >> 1


@contextmanager
def clip_lora(base: nn.Module, config: LoraConfig, seed: int) -> Iterator[list[nn.Parameter]]:
    """Put a fresh LoRA into the base (it changes nothing yet); gives its parameters; takes it out at the end.

    Args:
        base: WanVACETransformer3DModel; all its own weights are frozen meanwhile.
        config: where, and of which rank.
        seed: of the first weights. The global random state is left as it was.

    Raises:
        NovaError: peft is missing, or no layer has such a name.
    """
    peft = _peft()
    _targets(base, config.targets)
    places = [(parent, name, child) for parent in base.modules() for name, child in parent.named_children()]
    flags = [(weight, weight.requires_grad) for weight in base.parameters()]
    attributes = set(vars(base))
    try:
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            given = peft.LoraConfig(r=config.rank, lora_alpha=config.rank, target_modules=config.targets)
            peft.inject_adapter_in_model(given, base)
        yield [weight for name, weight in base.named_parameters() if ".lora_" in name]
    finally:
        for parent, name, child in places:
            setattr(parent, name, child)
        for weight, flag in flags:
            weight.requires_grad_(flag)
        for name in set(vars(base)) - attributes:
            delattr(base, name)


def clip_loss(pipe: Any, lesson: NovaBatch, sigmas: Tensor, noise: Tensor) -> Tensor:
    """Eq. 4 of the base on one lesson, with its gradient.

    Args:
        lesson: target_latents (B, Z, t, h, w) and control (B, 2Z + s*s, t, h, w).
        sigmas: (B,) noise levels in [0, 1].
        noise: (B, Z, t, h, w).
    """
    latents = lesson.target_latents
    noise, when = noise.to(latents.device), (NUM_TRAIN_TIMESTEPS * sigmas).to(latents.device)
    noisy = add_noise(latents, noise, sigmas)
    with torch.enable_grad():
        prediction = velocity(pipe.transformer, noisy, when, base_conditions(pipe, lesson.control), None)
        return flow_matching_loss(prediction, noise, latents, sigmas)


def tune(
    pipe: Any, parameters: list[nn.Parameter], lessons: Sequence[NovaBatch], config: LoraConfig, seed: int
) -> list[float]:
    """Train the LoRA; step k takes lesson k modulo their number, and draws from (seed, k) only.

    Returns:
        The loss of every step; it jumps with the noise level.
    """
    optimizer = torch.optim.AdamW(parameters, lr=config.lr, weight_decay=0.0)
    losses = []
    for step in range(config.steps):
        lesson, generator = lessons[step % len(lessons)], step_generator(seed, step)
        sigmas = sample_sigmas(len(lesson.target_latents), generator, config.shift)
        loss = clip_loss(pipe, lesson, sigmas, torch.randn(lesson.target_latents.shape, generator=generator))
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        losses.append(loss.item())
    return losses
