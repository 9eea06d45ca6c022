"""Senorita-2M on our base: trained on true pairs, the source enters through a shallow replica that is added.

What the row isolates: pairs against simulated degradations, and *added* shallow features against *queried* deep ones.
The nano world renders its pairs exactly (`render_scenes`, split train), so this row gets cleaner pairs than any
specialist editor made for the paper. The training is `novakit pretrain --stage variant --variant paired`: the budget
of the reference, no more.

Source: Senorita-2M (control_cogvideox, app.py); the network is `novakit.models.shallow_replica`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from novakit.evaluation.baselines.task import Baseline, EditTask
from novakit.evaluation.baselines.trained import trained_pipe
from novakit.models.shallow_replica import ShallowReplicaTransformer
from novakit.training.variants.train import trained_parameters

VARIANT = "paired"


@torch.no_grad()
def edit(pipe: Any, task: EditTask) -> Tensor:
    """Edit with the paired variant; keyframes and source go in as they do for NOVA.

    Args:
        pipe: the shipped NovaEditPipeline, or that of the variant.
        task: B clips; the mask is not read.

    Returns:
        The edited clips (B, 3, T, H, W) in [-1, 1].

    Raises:
        NovaError: the variant is not trained.
    """
    paired = trained_pipe(VARIANT, pipe, ShallowReplicaTransformer)
    keyframes = [dict(zip(task.indices, frames.unbind(1), strict=True)) for frames in task.keyframes]
    return paired(task.source, keyframes, num_inference_steps=task.steps, latents=task.noise).frames


def parameters(pipe: Any) -> int:
    """Additions at every main layer, and the copied blocks."""
    return trained_parameters(VARIANT, pipe)


SENORITA = Baseline(
    name="senorita",
    title="Senorita-2M (paired training, shallow replica, added features)",
    kept="Training on true (source, edited) pairs; a shallow copy of the first quarter of the DiT that learns, reads "
    "the source and is added to every main layer through linear layers that start at zero; frozen main branch.",
    left_out="First-frame conditioning by channels (all keyframes enter through the frozen VACE blocks, as for NOVA), "
    "the copy's own patch embedding and timestep, guidance 4, chained chunks, and a 5B base.",
    edit=edit,
    needs_weights=VARIANT,
    parameters=parameters,
)
