"""How training examples of the nano world are made: render, degrade, encode. One maker for every stage.

Source: ours; degradations are the paper's (eq. 2, eq. 3), conditioning tasks are VACE's.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from novakit.degradation import (
    AnchoredControlConfig,
    anchored_control,
    interpolate_keyframes,
    random_regions,
    sample_keyframe_indices,
)
from novakit.models.latents import encode_clip
from novakit.models.sparse_branch import prepare_control
from novakit.scenes import ClipsWithCutOuts, render_clips, render_cut_outs
from novakit.training.nova_task import NovaBatch
from novakit.training.pseudo_sources import draw_pseudo_sources

#: Conditioning tasks of the base and how often each is drawn.
BASE_TASKS = {
    "keyframes": 0.40,  # interpolated keyframes in the reactive channels: NOVA's control sequence
    "keyframes_inactive": 0.05,  # the same in the inactive channels
    "keyframes_grey": 0.15,  # keyframes kept, grey elsewhere: VACE multi-frame
    "keyframes_structure": 0.15,  # keyframes kept, elsewhere a blurred grey version: carry a look along a motion
    "first_frame": 0.05,  # only frame 0 kept
    "masked_source": 0.15,  # keyframes whole, a moving region hidden elsewhere
    "control_video": 0.05,  # a blurred grey version of the whole clip in the reactive channels
}
#: No colour shift among the operations: it would teach that the source is right where the two disagree in colour.
CONTROL = AnchoredControlConfig(
    ops=("blur", "affine", "downscale", "elastic", "jpeg"), clean_clip_prob=0.6, strength=(0.05, 0.6)
)

#: Share of batches whose keyframes lie 12 to 16 frames apart: there the control says little, and was seldom seen.
LONG_GAPS = 0.25


def random_indices(num_frames: int, generator: torch.Generator) -> tuple[int, ...]:
    """Keyframe indices of one batch: every 8 frames, 2 to 16 (some irregular), or long ones (LONG_GAPS)."""
    draw = torch.rand(3, generator=generator)
    if draw[0] < 0.4:
        return tuple(sample_keyframe_indices(num_frames, 8, generator))
    if draw[0] < 0.4 + LONG_GAPS:
        return tuple(sample_keyframe_indices(num_frames, (12, 16), generator))
    first = bool(draw[2] > 0.15)
    return tuple(
        sample_keyframe_indices(num_frames, (2, 16), generator, irregular=bool(draw[1] < 0.4), include_first=first)
    )


def encode_examples(vae: nn.Module, clips: Tensor) -> Tensor:
    """Latents of clips; bfloat16 convolutions halve the time and cost less than the VAE's own error."""
    with torch.autocast(clips.device.type, torch.bfloat16):
        return encode_clip(vae, clips)


def encode_context(vae: nn.Module, clips: Tensor, mask: Tensor | None = None, mode: str = "reactive") -> Tensor:
    """The VACE context of a control sequence, encoded as in `encode_examples`."""
    with torch.autocast(clips.device.type, torch.bfloat16):
        return prepare_control(vae, clips, mask, mode)


def main_batch(vae: nn.Module, clips: Tensor, generator: torch.Generator) -> NovaBatch:
    """For the plain DiT: clean clips `(B, 3, T, H, W)`, no condition."""
    return NovaBatch(encode_examples(vae, clips), None, None)


def sparse_batch(vae: nn.Module, clips: Tensor, generator: torch.Generator) -> NovaBatch:
    """For the VACE blocks: one of BASE_TASKS per batch, on clean clips `(B, 3, T, H, W)`."""
    names, weights = list(BASE_TASKS), torch.tensor(list(BASE_TASKS.values()))
    name = names[int(torch.multinomial(weights, 1, generator=generator))]
    indices = [0] if name == "first_frame" else list(random_indices(clips.shape[2], generator))
    return NovaBatch(encode_examples(vae, clips), None, _base_control(vae, clips, name, indices, generator))


def _base_control(vae: nn.Module, clips: Tensor, name: str, indices: list[int], generator: torch.Generator) -> Tensor:
    """The VACE context of one conditioning task."""
    if name in ("keyframes", "keyframes_inactive"):
        control = interpolate_keyframes(clips[:, :, indices], indices, clips.shape[2])
        return encode_context(vae, control, mode="reactive" if name == "keyframes" else "inactive")
    if name == "control_video":
        return encode_context(vae, _structure(clips))
    mask = torch.ones_like(clips[:, :1])
    if name == "masked_source":
        batch, _, frames, height, width = clips.shape
        regions = random_regions(batch, frames, height, width, generator, device=clips.device)
        mask = regions.masks.reshape(batch, frames, 1, height, width).transpose(1, 2).contiguous()
    mask[:, :, indices] = 0.0
    unseen = _structure(clips) if name == "keyframes_structure" else 0.0
    return encode_context(vae, clips * (1.0 - mask) + unseen * mask, mask)


def _structure(clips: Tensor) -> Tensor:
    """The clips without colour and detail: grey, in blocks of 4 x 4 pixels."""
    small = torch.nn.functional.avg_pool3d(clips.mean(dim=1, keepdim=True), (1, 4, 4))
    return small.repeat_interleave(4, 3).repeat_interleave(4, 4).expand_as(clips)


def dense_batch(
    vae: nn.Module,
    clips: ClipsWithCutOuts,
    generator: torch.Generator,
    choose_indices: Callable[[int, torch.Generator], tuple[int, ...]] = random_indices,
) -> NovaBatch:
    """For NOVA: pseudo source (eq. 3) and anchored control (eq. 2), drawn independently of each other."""
    indices = choose_indices(clips.clip.shape[2], generator)
    control = anchored_control(clips.clip, indices, generator, CONTROL)
    source, _ = draw_pseudo_sources(clips, generator)
    return NovaBatch(
        encode_examples(vae, clips.clip), encode_examples(vae, source), encode_context(vae, control.control)
    )


#: What to render, and how to make a batch of it.
Maker = tuple[Callable, Callable[..., NovaBatch]]
#: The maker of every stage.
MAKERS: dict[str, Maker] = {
    "main": (render_clips, main_batch),
    "sparse": (render_clips, sparse_batch),
    "dense": (render_cut_outs, dense_batch),
}
