"""VACE multi-frame: the same base, keyframes placed in the control video, no dense branch.

Two rows, since the paper does not say which one it ran: the clip between keyframes is grey, or it is the source
outside the edited region. Kept: VACE's own conditioning (mask 0 on what is given, 1 on what is to be made). Left
out: nothing is trained. Single-frame masks vanish in VACE's resize of the mask in time; the keyframes still enter
through the inactive latents.

Source: VACE through diffusers; the conditioning is ours.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from novakit.evaluation.baselines.on_base import kept_context, sample_base
from novakit.evaluation.baselines.task import Baseline, EditTask


@torch.no_grad()
def vace_multiframe(
    pipe: Any,
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
    num_frames = 4 * (noise.shape[2] - 1) + 1
    return sample_base(pipe, noise, steps, kept_context(pipe, keyframes, indices, num_frames, source, mask))


def edit_grey(pipe: Any, task: EditTask) -> Tensor:
    """The row that sees keyframes only."""
    return vace_multiframe(pipe, task.keyframes, task.indices, task.noise, task.steps)


def edit_with_source(pipe: Any, task: EditTask) -> Tensor:
    """The row that also sees the source outside the mask."""
    return vace_multiframe(pipe, task.keyframes, task.indices, task.noise, task.steps, task.source, task.mask)


VACE_GREY = Baseline(
    name="vace_grey",
    title="VACE multi-frame, grey between keyframes",
    kept="All edited keyframes in VACE's control video, mask 0 on them and 1 on the grey frames between.",
    left_out="The source clip, which this row never sees; prompts, which the nano base has none of.",
    edit=edit_grey,
)
VACE_SOURCE = Baseline(
    name="vace_source",
    title="VACE multi-frame, source outside the mask (is told the mask)",
    kept="All edited keyframes, and between them the source outside the edited region, with VACE's mask.",
    left_out="Prompts, which the nano base has none of; the mask is the exact one, which no user draws.",
    edit=edit_with_source,
    sees_mask=True,
)
