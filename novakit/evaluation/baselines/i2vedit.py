"""I2VEdit on our base: teach a LoRA how this one clip moves, then start from the edited first frame.

The base, conditioned on a first frame, makes *some* clip that goes on from it. A small LoRA on the self-attention,
trained on the source clip alone (given its own first frame, recover the rest), makes it the clip with this motion. The
tuned network inverts the source to noise, and samples from that noise with the edited first frame instead.

Source: I2VEdit (arXiv 2405.16537), i2vedit/ and config/customize_train.yaml. `invert=False` is its "LoRA only" form.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from novakit.evaluation.baselines.flow_inversion import FEWEST_STEPS, invert_flow
from novakit.evaluation.baselines.lora import SELF_ATTENTION, LoraConfig, clip_lora, lora_parameters, seed_of, tune
from novakit.evaluation.baselines.on_base import base_conditions, kept_context, sample_base
from novakit.evaluation.baselines.task import Baseline, EditTask
from novakit.models import encode_clip
from novakit.training.nova_task import NovaBatch


@dataclass(frozen=True)
class I2VEditConfig:
    """The LoRA, and where sampling starts."""

    #: The paper: rank 32, temporal attention only, lr 5e-4, 300 steps (about 250 chosen).
    lora: LoraConfig = LoraConfig(targets=SELF_ATTENTION, rank=32, steps=80, lr=3e-3)
    invert: bool = True  # start from the source's inverted noise (the paper does) instead of the task's noise


CONFIG = I2VEditConfig()


def edit(pipe: Any, task: EditTask, config: I2VEditConfig | None = None) -> Tensor:
    """Edit from the first frame, one LoRA per clip.

    Args:
        pipe: NovaEditPipeline; its dense branch is not used; left exactly as it was.
        task: B clips, tuned one after another; frame 0 must be a keyframe, the other keyframes are not read.
        config: of the LoRA and the starting noise; None = CONFIG.

    Returns:
        The edited clips (B, 3, T, H, W) in [-1, 1].

    Raises:
        NovaError: frame 0 is no keyframe, or peft is missing.
    """
    task.first_frame("I2VEdit")
    config = config or CONFIG
    return torch.cat([_edit_clip(pipe, task.clip(i), config) for i in range(len(task.source))])


def _edit_clip(pipe: Any, task: EditTask, config: I2VEditConfig) -> Tensor:
    lesson, seed, noise = motion_lesson(pipe, task.source), seed_of(task.noise, config.lora.seed), task.noise
    steps = max(task.steps, FEWEST_STEPS) if config.invert else task.steps
    context = kept_context(pipe, task.first_frame("I2VEdit"), [0], task.source.shape[2])
    with clip_lora(pipe.transformer.base, config.lora, seed) as parameters:
        tune(pipe, parameters, [lesson], config.lora, seed)
        if config.invert:
            source = base_conditions(pipe, lesson.control)
            noise = invert_flow(pipe, lesson.target_latents, steps, source)[0]
        return sample_base(pipe, noise, steps, context)


@torch.no_grad()
def motion_lesson(pipe: Any, source: Tensor) -> NovaBatch:
    """Recover the source (B, 3, T, H, W) from its own first frame."""
    latents = encode_clip(pipe.vae, source.to(pipe.transformer.device))
    return NovaBatch(latents, None, kept_context(pipe, source[:, :, :1], [0], source.shape[2]))


I2VEDIT = Baseline(
    name="i2vedit",
    title="I2VEdit (motion LoRA per clip)",
    kept="A LoRA per clip on the self-attention of the main blocks, trained on the source under its own first frame; "
    "then inversion of the source and sampling with the edited first frame.",
    left_out="Noise on smooth areas before inversion, attention matching, chained chunks; Wan's one attention over "
    "space and time stands for the temporal attention alone.",
    edit=edit,
    per_video_tuning=True,
    parameters=lambda pipe: lora_parameters(pipe, CONFIG.lora),
)
