"""Scores of NOVA beside what needs no NOVA, on held-out scenes with a rendered truth: one record per scene and row.

Rows: NOVA; linear interpolation of the keyframes; the unedited source; the same base as VACE multi-frame, twice; and
three that know the answer: NOVA with *every* frame of the truth as a keyframe, its base so without the dense branch,
and the VAE round trip of the truth. Inside the mask each has more than the one before, so their differences say what
the motion, the pull of the source, the base and the VAE cost. No mask enters NOVA, nothing is post-processed, and the
truth is the rendered tensor. `novakit.evaluation.score_report` makes tables of the records.

Source: ours; the paper has no ground truth.
"""

from __future__ import annotations

import torch
from torch import Tensor
from tqdm.auto import tqdm

from novakit.degradation import interpolate_keyframes
from novakit.evaluation.baselines import vace_multiframe
from novakit.evaluation.metrics import flicker, region_mean, region_psnr, ssim_map, trace_of
from novakit.models import decode_latents, encode_clip
from novakit.scenes import EDITS, SceneBatch, render_scenes

ROWS = {
    "nova": "NOVA",
    "interpolation": "linear interpolation of the keyframes",
    "source": "unedited source",
    "vace_grey": "VACE multi-frame, grey between keyframes",
    "vace_source": "VACE multi-frame, source outside the mask (is told the mask)",
    "nova_told": "NOVA told the truth at every frame",
    "base_told": "its base told the same, without the dense branch",
    "round_trip": "VAE round trip of the truth (ceiling)",
}
BATCH = 4


def keyframe_indices(num_frames: int, interval: int) -> list[int]:
    """Frames 0, K, 2K, ... of a clip."""
    return list(range(0, num_frames, interval))


def held_out_scenes(ids: list[int], num_frames: int = 33) -> SceneBatch:
    """Held-out scenes of T frames; the five kinds of edit take turns."""
    parts = [render_scenes([i], split="test", edit=EDITS[i % len(EDITS)], num_frames=num_frames) for i in ids]

    def cat(name: str) -> Tensor:
        return torch.cat([getattr(part, name) for part in parts])

    edits = [edit for part in parts for edit in part.edits]
    flags = (cat("moving"), cat("still_camera"))
    return SceneBatch(cat("source"), cat("truth"), cat("mask"), edits, *flags, cat("seeds"))


def start_noise(pipe, scenes: SceneBatch, seed: int) -> Tensor:
    """Starting noise `(B, Z, t, h, w)`; a scene has its own, whatever batch it is in."""
    grid = encode_clip(pipe.vae, scenes.truth[:1]).shape[1:]
    seeds = [1_000_003 * seed + int(scene) for scene in scenes.seeds]
    return torch.stack([torch.randn(grid, generator=torch.Generator().manual_seed(s)) for s in seeds])


@torch.no_grad()
def edited_clips(
    pipe, scenes: SceneBatch, indices: list[int], steps: int, seed: int, rows: tuple[str, ...] = tuple(ROWS)
) -> dict[str, Tensor]:
    """The clip of every row, each `(B, 3, T, H, W)` in [-1, 1]; the keyframes are frames of the truth."""
    keyframes = scenes.truth[:, :, indices]  # (B, 3, K, H, W)
    noise = start_noise(pipe, scenes, seed).to(pipe.device)
    every_frame = list(range(scenes.truth.shape[2]))

    def nova(indices: list[int], dense_scale: float = 1.0) -> Tensor:
        given = [{index: clip[:, index] for index in indices} for clip in scenes.truth]
        options = {"num_inference_steps": steps, "latents": noise, "dense_scale": dense_scale}
        return pipe(scenes.source, given, **options).frames

    makers = {
        "nova": lambda: nova(indices),
        "interpolation": lambda: interpolate_keyframes(keyframes, indices, scenes.truth.shape[2]),
        "source": lambda: scenes.source,
        "vace_grey": lambda: vace_multiframe(pipe, keyframes, indices, noise, steps),
        "vace_source": lambda: vace_multiframe(pipe, keyframes, indices, noise, steps, scenes.source, scenes.mask),
        "nova_told": lambda: nova(every_frame),
        "base_told": lambda: nova(every_frame, dense_scale=0.0),
        "round_trip": lambda: decode_latents(pipe.vae, encode_clip(pipe.vae, scenes.truth)),
    }
    return {row: makers[row]().cpu() for row in rows}


def score_clip(output: Tensor, scenes: SceneBatch, indices: list[int]) -> list[dict[str, float]]:
    """Scores of every scene: PSNR and SSIM inside the mask (all frames, and only between keyframes) and outside it.

    Also `ghost` (trace of the source) and `double` (trace of the interpolated keyframes) inside the mask between
    keyframes, and `flicker` outside the mask.
    """
    truth, outside = scenes.truth, 1.0 - scenes.mask
    between = scenes.mask.clone()
    between[:, :, indices] = 0.0
    interpolation = interpolate_keyframes(truth[:, :, indices], indices, truth.shape[2])
    similarity = ssim_map(output, truth)  # once for all regions
    columns = {}
    for name, region in {"inside": scenes.mask, "between": between, "outside": outside}.items():
        columns[f"{name}_psnr"] = region_psnr(output, truth, region)
        columns[f"{name}_ssim"] = region_mean(similarity, region)
    columns["ghost"] = trace_of(scenes.source, output, truth, between)
    columns["double"] = trace_of(interpolation, output, truth, between)
    columns["flicker"] = flicker(output, truth, outside)
    return [{name: float(values[i]) for name, values in columns.items()} for i in range(len(scenes.edits))]


@torch.no_grad()
def score_scenes(
    pipe,
    scenes: int = 64,
    interval: int = 8,
    steps: int | None = None,
    seed: int = 0,
    rows: tuple[str, ...] = tuple(ROWS),
    progress: bool = True,
) -> list[dict]:
    """Score rows on held-out test scenes.

    Args:
        pipe: NovaEditPipeline of preset nano.
        scenes: number of test scenes.
        interval: keyframe interval; keyframes are frames of the truth.
        steps: denoising steps; None = the preset's.
        seed: of the starting noise.
        rows: which of ROWS.
        progress: show a progress bar.

    Returns:
        One record per scene and row: row, scene, edit, interval, moving, still_camera and the columns of `score_clip`.
    """
    steps = steps or pipe.preset.steps
    records = []
    for start in tqdm(range(0, scenes, BATCH), desc=f"scoring, interval {interval}", disable=not progress):
        ids = list(range(start, min(start + BATCH, scenes)))
        batch = held_out_scenes(ids)
        indices = keyframe_indices(batch.truth.shape[2], interval)
        for row, output in edited_clips(pipe, batch, indices, steps, seed, rows).items():
            for i, columns in enumerate(score_clip(output, batch, indices)):
                about = {"row": row, "scene": ids[i], "edit": batch.edits[i], "interval": interval}
                flags = {"moving": bool(batch.moving[i]), "still_camera": bool(batch.still_camera[i])}
                records.append({**about, **flags, **columns})
    return records
