"""AnyV2V on our base: invert the source, then sample again from its noise with the edited first frame.

Three ideas of the paper: (1) the first frame alone is edited; (2) the source, conditioned on its *own* first frame,
is inverted to noise, which remembers where things are and how they move; (3) while sampling from that noise with the
*edited* first frame, the early steps take the self-attention's queries and keys from the source, so that tokens look
where the source's tokens looked, and only what they find there (the values) is new.
The source runs beside the edit in one batch, at the latents that inversion passed through; nothing lies on a disk.

Source: AnyV2V (arXiv 2403.14468), i2vgen-xl/. Nothing here is random: the starting noise of the task is not read.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from novakit.editing.denoise import Conditions, set_timesteps, velocity
from novakit.errors import NovaError
from novakit.evaluation.baselines.flow_inversion import FEWEST_STEPS, invert_flow
from novakit.evaluation.baselines.on_base import base_conditions, kept_context
from novakit.evaluation.baselines.task import Baseline, EditTask
from novakit.models import decode_latents, encode_clip


@dataclass(frozen=True)
class AnyV2VConfig:
    """How strongly the source leads."""

    blocks: tuple[int, ...] | None = None  # main blocks that share Q and K; None = all (the paper: the decoder's)
    share: float = 0.5  # share of the steps that share Q and K (the paper: 0.2 spatial, 0.5 temporal attention)
    repeats: int = 4  # fixed-point repetitions of every inversion step; 0 = plain DDIM-like inversion


@contextmanager
def shared_attention(blocks: Sequence[nn.Module]) -> Iterator[None]:
    """In a batch [source; edit], give the edit the source's self-attention queries and keys, in these blocks.

    Q and K are taken behind their norms and before RoPE, which is the same for both. Values stay the edit's own.
    """

    def source_for_both(module: nn.Module, inputs: tuple, output: Tensor) -> Tensor:
        return output.chunk(2)[0].repeat(2, 1, 1)  # (2B, N, D)

    norms = [norm for block in blocks for norm in (block.attn1.norm_q, block.attn1.norm_k)]
    handles = [norm.register_forward_hook(source_for_both) for norm in norms]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def edit(pipe: Any, task: EditTask, config: AnyV2VConfig | None = None) -> Tensor:
    """Edit from the first frame alone, without training.

    Args:
        pipe: NovaEditPipeline; its dense branch is not used.
        task: B clips; frame 0 must be a keyframe, the other keyframes and the noise are not read.
        config: how strongly the source leads.

    Returns:
        The edited clips (B, 3, T, H, W) in [-1, 1].

    Raises:
        NovaError: frame 0 is no keyframe, or a block that the base does not have.
    """
    config = config or AnyV2VConfig()
    blocks, device, frames = _chosen_blocks(pipe, config), pipe.transformer.device, task.source.shape[2]
    source = kept_context(pipe, task.source[:, :, :1], [0], frames)
    edited = kept_context(pipe, task.first_frame("AnyV2V"), [0], frames)
    with torch.no_grad():
        latents = encode_clip(pipe.vae, task.source.to(device))
        steps = max(task.steps, FEWEST_STEPS)
        trajectory = invert_flow(pipe, latents, steps, base_conditions(pipe, source), config.repeats)
        return decode_latents(pipe.vae, _sample(pipe, trajectory, source, edited, blocks, config.share))


def _sample(pipe: Any, trajectory: list[Tensor], source: Tensor, edited: Tensor, blocks: list, share: float) -> Tensor:
    """Latents of the edit: Euler steps from the inverted noise, the first ones beside the source."""
    steps, batch = len(trajectory) - 1, len(edited)
    timesteps = set_timesteps(pipe.scheduler, steps, edited.device)
    sigmas = pipe.scheduler.sigmas.tolist()
    alone, beside = base_conditions(pipe, edited), base_conditions(pipe, torch.cat([source, edited]))
    latents = trajectory[0]
    for i, timestep in enumerate(timesteps):
        if i < round(share * steps):
            v = _beside_source(pipe, trajectory[i], latents, timestep, beside, blocks)[batch:]
        else:
            v = velocity(pipe.transformer, latents, timestep, alone, None)
        latents = latents + (sigmas[i + 1] - sigmas[i]) * v
    return latents


def _beside_source(
    pipe: Any, source: Tensor, latents: Tensor, timestep: Tensor, conditions: Conditions, blocks: list
) -> Tensor:
    """Velocities (2B, Z, t, h, w) of source and edit, the edit looking where the source looks."""
    with shared_attention(blocks):
        return velocity(pipe.transformer, torch.cat([source, latents]), timestep, conditions, None)


def _chosen_blocks(pipe: Any, config: AnyV2VConfig) -> list[nn.Module]:
    """The main blocks that share their attention."""
    every = pipe.transformer.base.blocks
    chosen = range(len(every)) if config.blocks is None else config.blocks
    if wrong := [block for block in chosen if not 0 <= block < len(every)]:
        raise NovaError(f"AnyV2V is to share attention in blocks {wrong}; this base has 0 to {len(every) - 1}.")
    return [every[block] for block in chosen]


ANYV2V = Baseline(
    name="anyv2v",
    title="AnyV2V (first frame, inversion, shared attention)",
    kept="First edited frame only; inversion of the source under its own first frame; queries and keys of the source "
    "in the first steps; no training.",
    left_out="Injected convolution features (a DiT has none) and guidance 9 with a prompt (the nano base reads none); "
    "Wan's one attention over space and time stands for the paper's two.",
    edit=edit,
)
