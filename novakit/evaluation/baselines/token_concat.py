"""The official release's scheme on our base: source, keyframes and target in one self-attention.

The release replaced the paper's two branches by temporal concatenation in Wan Fun InP and trains the self-attention;
`novakit.models.token_concat` says what each token is told and where that differs. Here the scheme stands on the plain
DiT of the shipped base and learns from the same simulated degradations as the other rows, for the same number of
steps: `novakit pretrain --stage variant --variant token_concat`. Keyframes are 8 apart in its training (release: 10).

Source: official release (train_nova.py); the port is ours.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from novakit.editing.denoise import set_timesteps
from novakit.editing.text import null_token
from novakit.evaluation.baselines.task import Baseline, EditTask
from novakit.evaluation.baselines.trained import trained_pipe
from novakit.models import decode_latents, encode_clip
from novakit.models.token_concat import TokenConcatTransformer, encode_cues, latent_place
from novakit.training.variants.train import trained_parameters

VARIANT = "token_concat"


def edit(pipe: Any, task: EditTask) -> Tensor:
    """Edit by concatenation.

    Args:
        pipe: the shipped NovaEditPipeline, or that of the variant.
        task: B clips; the mask is not read.

    Returns:
        The edited clips (B, 3, T, H, W) in [-1, 1].

    Raises:
        NovaError: the variant is not trained.
    """
    return sample_concatenated(trained_pipe(VARIANT, pipe, TokenConcatTransformer), task)


@torch.no_grad()
def sample_concatenated(pipe: Any, task: EditTask) -> Tensor:
    """Denoise the target tokens beside clean source and cue tokens, and decode.

    Args:
        pipe: a pipeline whose transformer is a TokenConcatTransformer.
        task: B clips.

    Returns:
        clips (B, 3, T, H, W) in [-1, 1].
    """
    model, device = pipe.transformer, pipe.transformer.device
    source = encode_clip(pipe.vae, task.source.to(device)).to(model.dtype)
    cues = encode_cues(pipe.vae, task.keyframes.to(device)).to(model.dtype)
    places = [latent_place(index) for index in task.indices]
    text = null_token(len(source), model.base.config.text_dim, device, model.dtype)
    latents = task.noise.to(device)
    for timestep in set_timesteps(pipe.scheduler, task.steps, device):
        velocity = model(latents.to(model.dtype), timestep.expand(len(latents)), text, source, cues, places)
        latents = pipe.scheduler.step(velocity.float(), timestep, latents, return_dict=False)[0]
    return decode_latents(pipe.vae, latents)


def parameters(pipe: Any) -> int:
    """The self-attention of every main block, and the two role vectors."""
    return trained_parameters(VARIANT, pipe)


TOKEN_CONCAT = Baseline(
    name="token_concat",
    title="Official release's scheme (source, cue and target tokens in one attention)",
    kept="Latents of source, keyframes (each encoded alone) and target concatenated in time inside the DiT's "
    "self-attention, which learns; loss on the target part; no dense branch, no VACE hints.",
    left_out="The released weights, Wan Fun InP as the base, single-keyframe training and the box mask; changed in its "
    "favour: keyframes have their own place in time, clean tokens timestep 0, roles a learned vector.",
    edit=edit,
    needs_weights=VARIANT,
    parameters=parameters,
)
