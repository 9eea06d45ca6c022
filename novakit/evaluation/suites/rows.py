"""The rows of the tables: what is edited how, with which keyframes, from which weights.

No row is given the mask unless it says so, nothing is post-processed, and the keyframes are frames of the truth unless
the row says otherwise. Every table carries the same three rows that need no model of editing: the unedited source,
the interpolated keyframes, and the VAE round trip of the truth, the best that any row can reach.

Source: ours.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from novakit.degradation import interpolate_keyframes, sample_keyframe_indices
from novakit.evaluation.suites.given import KeyframeMaker, from_truth, scene_seed
from novakit.models import decode_latents, encode_clip

BATCH = 4
INTERVAL = 8  # keyframe interval of every row that does not say another
NUM_FRAMES = 33  # T of every row that does not say another: one window of the preset
IRREGULAR_GAPS = (4, 12)  # range of the gaps where keyframes lie at irregular places
BLUR_SIGMA = 2.0  # pixels, of the source that the dense branch reads in the row "blurred dense input"


def _nothing(pipe: Any) -> int:
    return 0


@dataclass(frozen=True)
class Row:
    """One row of a table."""

    name: str  # of its records
    title: str
    edit: Callable[[Any, Any], Tensor]  # (pipe, EditTask) -> (B, 3, T, H, W) in [-1, 1]
    keyframes: KeyframeMaker = from_truth
    num_frames: int = NUM_FRAMES  # T of its clips
    interval: int = INTERVAL  # frames; the irregular row draws its own
    irregular: bool = False  # keyframes at irregular places, others in every scene
    weights: str | None = None  # name of a training variant; None = the pipeline's own weights
    tunes: bool = False  # trains on the clip that it edits
    sees_mask: bool = False
    seeded: bool = True  # False: the starting noise plays no part, so one seed is all there is
    reads_truth: bool = False  # the ceiling: is handed the truth in place of the source
    parameters: Callable[[Any], int] = _nothing  # that the method adds to the base or trains
    note: str = ""

    @property
    def batch(self) -> int:
        """Scenes that are edited in one call."""
        return 1 if self.tunes or self.irregular else BATCH

    def places(self, num_frames: int, scene: int, seed: int) -> list[int]:
        """Frame indices of the keyframes of a scene."""
        if not self.irregular:
            return list(range(0, num_frames, self.interval))
        generator = torch.Generator().manual_seed(scene_seed(scene, seed))
        return sample_keyframe_indices(num_frames, IRREGULAR_GAPS, generator, irregular=True)


def edit_with(pipe: Any, task: Any, **options: Any) -> Tensor:
    """One call of NovaEditPipeline, as a user makes it: source and keyframes, no mask.

    Args:
        pipe: NovaEditPipeline.
        task: EditTask.
        **options: of the call, such as dense_scale=0.
    """
    given = [{k: frames[:, place] for place, k in enumerate(task.indices)} for frames in task.keyframes]
    return pipe(task.source, given, num_inference_steps=task.steps, latents=task.noise, **options).frames


def without_dense(pipe: Any, task: Any) -> Tensor:
    """The same weights with the dense branch switched off."""
    return edit_with(pipe, task, dense_scale=0.0)


def frame_local(reach: int) -> Callable[[Any, Any], Tensor]:
    """An edit whose dense cross-attention sees its own latent frame +- `reach` only; the weights learned to see all."""

    def edit(pipe: Any, task: Any) -> Tensor:
        before = pipe.transformer.config.dense_window
        pipe.transformer.register_to_config(dense_window=reach)
        try:
            return edit_with(pipe, task)
        finally:
            pipe.transformer.register_to_config(dense_window=before)

    return edit


def blurred(source: Tensor) -> Tensor:
    """The source (B, 3, T, H, W) out of focus: a Gaussian of BLUR_SIGMA pixels in every frame."""
    from kornia.filters import gaussian_blur2d

    frames = source.transpose(1, 2).flatten(0, 1)  # (B*T, 3, H, W)
    size = 2 * round(3 * BLUR_SIGMA) + 1
    soft = gaussian_blur2d(frames, size, (BLUR_SIGMA, BLUR_SIGMA))
    return soft.unflatten(0, (len(source), -1)).transpose(1, 2)  # (B, 3, T, H, W)


def with_blurred_source(pipe: Any, task: Any) -> Tensor:
    """The dense branch reads a blurred source; the sparse branch, which reads keyframes only, is as ever."""
    from dataclasses import replace

    return edit_with(pipe, replace(task, source=blurred(task.source)))


def interpolated(pipe: Any, task: Any) -> Tensor:
    """The keyframes blended into each other."""
    return interpolate_keyframes(task.keyframes, task.indices, task.source.shape[2])


@torch.no_grad()
def round_trip(pipe: Any, task: Any) -> Tensor:
    """Encoder and decoder of the VAE, nothing else; the row reads the truth."""
    return decode_latents(pipe.vae, encode_clip(pipe.vae, task.source))


def dense_parameters(pipe: Any) -> int:
    """Parameters that NOVA adds to its base: the cross-attention of the dense branch."""
    return sum(p.numel() for p in pipe.transformer.dense_branch.parameters())


NOVA = Row("nova", "NOVA", edit_with, parameters=dense_parameters)
SOURCE = Row("source", "unedited source", lambda pipe, task: task.source, seeded=False)
INTERPOLATION = Row("interpolation", "interpolated keyframes", interpolated, seeded=False)
ROUND_TRIP = Row("round_trip", "VAE round trip of the truth (ceiling)", round_trip, seeded=False, reads_truth=True)
REFERENCES = (SOURCE, INTERPOLATION, ROUND_TRIP)
