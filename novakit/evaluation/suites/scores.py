"""Everything that is measured on one edited clip: the six metrics, the distance to the truth, and a few questions.

Beside `measure_clips` and `score_clip`:

    keyframe_psnr   quality of the keyframes that went in, inside the mask
    artefact        how much of the keyframes' faults stands in the output at the keyframes; 0 = none, 1 = copied
    steady_psnr     inside the mask, against the edit as the first keyframe shows it: what consistency is for
    sharpness       rms step from pixel to pixel in the background (as of BG-SSIM), as a share of the source's
    edit_flicker    change from frame to frame inside the mask, as a multiple of the truth's

Source: ours.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from novakit.evaluation.metrics import background_region, flicker, region_psnr, trace_of
from novakit.evaluation.scoring import score_clip
from novakit.evaluation.suites.given import Given
from novakit.scenes import SceneBatch

FAULT = 0.02  # pixels of a keyframe that are off by more, in [-1, 1], count as faulty
TRACES = ("ghost", "double", "artefact")  # shares of a difference: no bound where that is small, so medians are told

Measure = Callable[..., dict[str, Tensor]]  # measure_clips(output, source, mask, encoder, truth=...)


@dataclass(frozen=True)
class Judge:
    """What measures: the six metrics with their encoder, and their labels."""

    measure: Measure
    encoder: Any
    labels: dict[str, str]  # "TC" -> "TC[embedded, adjacent]"


@torch.no_grad()
def score_batch(output: Tensor, scenes: SceneBatch, given: Given, indices: list[int], judge: Judge) -> list[dict]:
    """Scores of a batch of clips.

    Args:
        output: edited clips (B, 3, T, H, W) in [-1, 1], on the CPU.
        scenes: their scenes; the truth is replaced by the target that the keyframes ask for.
        given: keyframes and target.
        indices: frame indices of the keyframes.
        judge: the six metrics.

    Returns:
        One dict of numbers per clip; None where a number has no meaning (no such pixel).
    """
    scenes = replace(scenes, truth=given.target)
    six = judge.measure(output, scenes.source, scenes.mask, judge.encoder, truth=given.target)
    extra = questions(output, scenes, given, indices)
    records = []
    for i, truth_based in enumerate(score_clip(output, scenes, indices)):
        numbers = {name: float(values[i]) for name, values in six.items()} | truth_based
        numbers |= {name: float(values[i]) for name, values in extra.items()}
        records.append({name: None if value != value else round(value, 5) for name, value in numbers.items()})
    return records


def questions(output: Tensor, scenes: SceneBatch, given: Given, indices: list[int]) -> dict[str, Tensor]:
    """The columns that are asked for by claims, each (B,); NaN where there is nothing to ask."""
    target, mask = given.target, scenes.mask
    wanted, shown, there = target[:, :, indices], output[:, :, indices], mask[:, :, indices]
    faulty = ((given.keyframes - wanted).abs().amax(dim=1, keepdim=True) > FAULT).float()
    background = background_region(mask)
    nan = output.new_full((len(output),), torch.nan)
    return {
        "keyframe_psnr": region_psnr(given.keyframes, wanted, there),
        "artefact": trace_of(given.keyframes, shown, wanted, faulty),
        "steady_psnr": nan if given.like_first is None else region_psnr(output, given.like_first, mask),
        "sharpness": sharpness(output, background) / sharpness(scenes.source, background),
        "edit_flicker": flicker(output, target, mask),
    }


def sharpness(clip: Tensor, region: Tensor) -> Tensor:
    """Root mean square step from pixel to pixel, to the right and down, over a region; (B,), NaN where it is empty.

    Squares, since a soft edge makes as many small steps as a sharp one makes large ones: their plain mean is the same.

    Args:
        clip: (B, 3, T, H, W).
        region: (B, 1, T, H, W) in {0, 1}; a step counts where both pixels lie in it.
    """
    total, count = 0.0, 0.0
    for axis in (3, 4):
        both = region.narrow(axis, 1, region.shape[axis] - 1) * region.narrow(axis, 0, region.shape[axis] - 1)
        step = clip.diff(dim=axis).square().mean(dim=1, keepdim=True)
        total = total + (step * both).flatten(1).sum(1)
        count = count + both.flatten(1).sum(1)
    return (total / count).sqrt()
