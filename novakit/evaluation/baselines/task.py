"""What every row of Table 1 is given (`EditTask`), and what a row says about itself (`Baseline`). Source: ours."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from novakit.errors import NovaError


@dataclass(frozen=True)
class EditTask:
    """B edits of one size. Rows get nothing else: no truth, no prompt, no post-processing.

    Raises:
        NovaError: tensors that do not fit each other, or keyframe indices outside the clip.
    """

    source: Tensor  # (B, 3, T, H, W) in [-1, 1], the clip to be edited
    keyframes: Tensor  # (B, 3, K, H, W) in [-1, 1], edited keyframes
    indices: list[int]  # their K frame indices, ascending
    noise: Tensor  # (B, Z, t, h, w), starting noise
    steps: int  # denoising steps
    mask: Tensor  # (B, 1, T, H, W) in {0, 1}; a row may read it only if it says sees_mask

    def __post_init__(self) -> None:
        batch, channels, frames, *size = self.source.shape
        wanted = {
            "keyframes": (self.keyframes, (batch, channels, len(self.indices), *size)),
            "mask": (self.mask, (batch, 1, frames, *size)),
            "noise": (self.noise[:, :1, :, :1, :1], (batch, 1, 1 + (frames - 1) // 4, 1, 1)),
        }
        for name, (tensor, shape) in wanted.items():
            if tuple(tensor.shape) != shape:
                raise NovaError(
                    f"{name} gives {tuple(tensor.shape)}, a source of {tuple(self.source.shape)} with keyframes at "
                    f"{self.indices} wants {shape}. Give all parts of a task the same clips, length and size."
                )
        ascending = all(a < b for a, b in zip(self.indices, self.indices[1:]))
        if not self.indices or not ascending or self.indices[0] < 0 or self.indices[-1] >= frames:
            raise NovaError(f"keyframe indices are {self.indices}; pass ascending ones from 0 to {frames - 1}.")
        if self.steps < 1:
            raise NovaError(f"steps is {self.steps}; pass 1 or more.")

    def clip(self, i: int) -> EditTask:
        """The task of clip `i` alone, a batch of one; what a row that tunes per clip goes through."""
        parts = {name: getattr(self, name)[i : i + 1] for name in ("source", "keyframes", "noise", "mask")}
        return replace(self, **parts)

    def first_frame(self, row: str) -> Tensor:
        """The edited first frame, (B, 3, 1, H, W).

        Raises:
            NovaError: frame 0 is no keyframe.
        """
        if self.indices[0] != 0:
            raise NovaError(f"{row} starts from the edited first frame; keyframes are at {self.indices}. Add frame 0.")
        return self.keyframes[:, :, :1]


def no_parameters(pipe: Any) -> int:
    """0: the row adds and trains nothing."""
    return 0


@dataclass(frozen=True)
class Baseline:
    """One row: a published method's idea on the kit's own base."""

    name: str  # key in BASELINES
    title: str  # as printed
    kept: str  # one sentence: what of the published method is here
    left_out: str  # one sentence: what is not
    edit: Callable[[Any, EditTask], Tensor]  # (pipe, task) -> (B, 3, T, H, W) in [-1, 1]
    per_video_tuning: bool = False  # trains on the clip that it edits
    sees_mask: bool = False  # reads EditTask.mask; NOVA does not
    needs_weights: str | None = None  # variant (novakit.training.variants.train) whose pipeline `edit` wants
    parameters: Callable[[Any], int] = no_parameters  # parameters that the method adds to the base or trains
