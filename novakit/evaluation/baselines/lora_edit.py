"""LoRA-Edit on our base: teach a LoRA to fill the hidden region of this one clip, then show it the edited frame.

Grey-box self-supervision: the source with its region greyed, its first frame whole, and VACE's mask; the lesson is the
source itself. So the LoRA learns how the content of the region follows from the first frame. At the end the first frame
is the edited one, and the same hole is filled with the edit. Further edited keyframes can be single-frame lessons: the
frame with its region greyed, to be filled as the user drew it. They are off: on the nano base, which was never trained
on single frames, they cost more background than they bring.
It is a pair-free trick like NOVA's, per clip instead of over a data set; and it is told the mask, which NOVA is not.

Source: LoRA-Edit (arXiv 2506.10082), predata_app.py, predata_additional.py, train.py, inference.py.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from novakit.evaluation.baselines.lora import ALL_LINEAR, LoraConfig, clip_lora, lora_parameters, seed_of, tune
from novakit.evaluation.baselines.on_base import kept_context, sample_base
from novakit.evaluation.baselines.task import Baseline, EditTask
from novakit.models import encode_clip
from novakit.training.nova_task import NovaBatch


@dataclass(frozen=True)
class LoraEditConfig:
    """The LoRA, and how long it learns the further keyframes."""

    lora: LoraConfig = LoraConfig(targets=ALL_LINEAR, rank=16, steps=70, lr=3e-3)  # the paper: r 16, lr 1e-3
    keyframe_steps: int = 0  # further steps on edited keyframes but the first (the paper, if given: 10 epochs)


CONFIG = LoraEditConfig()


def edit(pipe: Any, task: EditTask, config: LoraEditConfig | None = None) -> Tensor:
    """Edit from the first frame, the greyed source and the mask; one LoRA per clip.

    Args:
        pipe: NovaEditPipeline; its dense branch is not used; left exactly as it was.
        task: B clips, tuned one after another; frame 0 must be a keyframe. The mask is read.
        config: of the LoRA and its lessons; None = CONFIG.

    Returns:
        The edited clips (B, 3, T, H, W) in [-1, 1].

    Raises:
        NovaError: frame 0 is no keyframe, or peft is missing.
    """
    task.first_frame("LoRA-Edit")
    config = config or CONFIG
    return torch.cat([_edit_clip(pipe, task.clip(i), config) for i in range(len(task.source))])


def _edit_clip(pipe: Any, task: EditTask, config: LoraEditConfig) -> Tensor:
    lora, seed = config.lora, seed_of(task.noise, config.lora.seed)
    with clip_lora(pipe.transformer.base, lora, seed) as parameters:
        tune(pipe, parameters, [grey_lesson(pipe, task.source, task.mask)], lora, seed)
        if (more := keyframe_lessons(pipe, task)) and config.keyframe_steps:
            tune(pipe, parameters, more, replace(lora, steps=config.keyframe_steps), seed + 1)
        first, frames = task.first_frame("LoRA-Edit"), task.source.shape[2]
        context = kept_context(pipe, first, [0], frames, task.source, task.mask)
        return sample_base(pipe, task.noise, task.steps, context)


@torch.no_grad()
def grey_lesson(pipe: Any, source: Tensor, mask: Tensor) -> NovaBatch:
    """Recover the source (B, 3, T, H, W) from its first frame and what lies outside the mask (B, 1, T, H, W)."""
    latents = encode_clip(pipe.vae, source.to(pipe.transformer.device))
    return NovaBatch(latents, None, kept_context(pipe, source[:, :, :1], [0], source.shape[2], source, mask))


@torch.no_grad()
def keyframe_lessons(pipe: Any, task: EditTask) -> list[NovaBatch]:
    """Each edited keyframe but the first as a clip of one frame, its region greyed."""
    lessons = []
    for place, index in list(enumerate(task.indices))[1:]:
        frame, mask = task.keyframes[:, :, place : place + 1], task.mask[:, :, index : index + 1]
        latents = encode_clip(pipe.vae, frame.to(pipe.transformer.device))
        lessons.append(NovaBatch(latents, None, kept_context(pipe, frame[:, :, :0], [], 1, frame, mask)))
    return lessons


LORA_EDIT = Baseline(
    name="lora_edit",
    title="LoRA-Edit (grey-box LoRA per clip, is told the mask)",
    kept="A LoRA per clip on all linear layers of the main blocks, trained to fill the greyed region of the source "
    "from its first frame; then the edited first frame, the greyed source and the mask.",
    left_out="Further edited frames (there, but off), captions with a trigger token, SAM 2 boxes (the exact mask "
    "stands for them), fp8, 8-bit AdamW, TeaCache; VACE's mask channels stand for Wan I2V's.",
    edit=edit,
    per_video_tuning=True,
    sees_mask=True,
    parameters=lambda pipe: lora_parameters(pipe, CONFIG.lora),
)
