"""Rows on clips that are longer than the preset's T: edited in overlapping windows, as `novakit edit` does.

Source: ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from novakit.editing.windows.edit import window_keyframes
from novakit.editing.windows.plan import STEP, Window, cross_fade, plan_windows
from novakit.evaluation.baselines.task import EditTask
from novakit.evaluation.suites.rows import edit_with

LONG = 81  # frames: three windows of 33, and what the paper's clips have


@dataclass(frozen=True)
class TaskKeyframes:
    """The keyframes of a batch of clips, read as a `KeyframeStore` is: `indices`, and (B, 3, H, W) for each."""

    task: EditTask

    @property
    def indices(self) -> list[int]:
        return self.task.indices

    def __getitem__(self, index: int) -> Tensor:
        return self.task.keyframes[:, :, self.task.indices.index(index)]


def edit_in_windows(pipe: Any, task: EditTask) -> Tensor:
    """The edit of a long clip, (B, 3, T, H, W): windows of the preset's T that fade into each other."""
    windows = plan_windows(task.source.shape[2], pipe.preset.num_frames)
    edits = (edit_with(pipe, cut(task, window)).flatten(0, 1) for window in windows)  # (B*3, T, H, W) each
    frames = torch.stack(list(cross_fade(windows, edits)), dim=1)
    return frames.unflatten(0, (-1, 3))  # (B, 3, T, H, W)


def cut(task: EditTask, window: Window) -> EditTask:
    """The part of a task that lies in a window; neighbours share the noise of the frames that they share."""
    keyframes = window_keyframes(TaskKeyframes(task), window)
    inside, latents = slice(window.start, window.stop), slice(window.start // STEP, (window.stop - 1) // STEP + 1)
    return EditTask(
        task.source[:, :, inside],
        torch.stack(list(keyframes.values()), dim=2),
        list(keyframes),
        task.noise[:, :, latents],
        task.steps,
        task.mask[:, :, inside],
    )
