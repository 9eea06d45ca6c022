"""The table of nano scores: NOVA beside what needs no NOVA, on held-out scenes with a rendered truth.

Rows: NOVA; the VAE round trip of the truth (the best any row can reach); linear interpolation of the keyframes; the
unedited source; the same base as VACE multi-frame, twice. Columns: PSNR and SSIM inside and outside the mask, against
rendered tensors. No mask enters NOVA and nothing is post-processed.

Two means: `psnr` averages the decibels of the scenes; `pooled` is the PSNR of their mean squared error. They differ
where a row is nearly perfect in a few scenes: before a still camera the interpolated background *is* the truth
(50-80 dB), which no model with a VAE can reach. `still_camera` tells those scenes apart.

Source: ours; the paper has no ground truth.
"""

from __future__ import annotations

import time
from pathlib import Path

import torch
from torch import Tensor
from tqdm.auto import tqdm

from novakit.degradation import interpolate_keyframes
from novakit.evaluation.baselines import vace_multiframe
from novakit.evaluation.metrics import region_psnr, region_ssim
from novakit.files import atomic_write_json
from novakit.models import decode_latents, encode_clip
from novakit.provenance import provenance
from novakit.scenes import SceneBatch, render_scenes

ROWS = {
    "nova": "NOVA",
    "interpolation": "linear interpolation of the keyframes",
    "source": "unedited source",
    "vace_grey": "VACE multi-frame, grey between keyframes",
    "vace_source": "VACE multi-frame, source outside the mask (is told the mask)",
    "round_trip": "VAE round trip of the truth (upper bound)",
}
BATCH = 4


def edited_clips(pipe, scenes: SceneBatch, indices: list[int], steps: int, seed: int) -> dict[str, Tensor]:
    """The clip of every row for a batch of scenes, each `(B, 3, T, H, W)` in [-1, 1]."""
    keyframes = scenes.truth[:, :, indices]  # (B, 3, K, H, W)
    grid = encode_clip(pipe.vae, scenes.truth)
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(grid.shape, generator=generator).to(grid)
    given = [{index: frame[:, place] for place, index in enumerate(indices)} for frame in keyframes]
    nova = pipe(scenes.source, given, num_inference_steps=steps, latents=noise)
    return {
        "nova": nova.frames,
        "interpolation": interpolate_keyframes(keyframes, indices, scenes.truth.shape[2]),
        "source": scenes.source,
        "vace_grey": vace_multiframe(pipe, keyframes, indices, noise, steps),
        "vace_source": vace_multiframe(pipe, keyframes, indices, noise, steps, scenes.source, scenes.mask),
        "round_trip": decode_latents(pipe.vae, grid),
    }


def score_clip(output: Tensor, scenes: SceneBatch, indices: list[int]) -> list[dict[str, float]]:
    """PSNR and SSIM of every scene, inside the mask (all frames, and only between keyframes) and outside it."""
    between = torch.ones_like(scenes.mask)
    between[:, :, indices] = 0.0
    regions = {"inside": scenes.mask, "between": scenes.mask * between, "outside": 1.0 - scenes.mask}
    columns = {
        f"{name}_{metric.__name__[7:]}": metric(output.cpu(), scenes.truth.cpu(), region.cpu())
        for name, region in regions.items()
        for metric in (region_psnr, region_ssim)
    }
    return [{name: float(values[i]) for name, values in columns.items()} for i in range(len(scenes.edits))]


@torch.no_grad()
def score_scenes(
    pipe, scenes: int = 32, interval: int = 8, steps: int | None = None, seed: int = 0, progress: bool = True
) -> list[dict]:
    """Score every row on held-out test scenes; the five kinds of edit take turns.

    Args:
        pipe: NovaEditPipeline of preset nano.
        scenes: number of test scenes.
        interval: keyframe interval; keyframes are frames of the truth.
        steps: denoising steps; None = the preset's.
        seed: of the starting noise.
        progress: show a progress bar.

    Returns:
        One record per scene and row: row, scene, edit, moving, and the columns of `score_clip`.
    """
    from novakit.scenes import EDITS

    steps = steps or pipe.preset.steps
    records = []
    for start in tqdm(range(0, scenes, BATCH), desc="scoring", disable=not progress):
        ids = list(range(start, min(start + BATCH, scenes)))
        parts = [render_scenes([i], split="test", edit=EDITS[i % len(EDITS)]) for i in ids]
        batch = _join(parts)
        indices = list(range(0, batch.truth.shape[2], interval))
        for row, output in edited_clips(pipe, batch, indices, steps, seed + start).items():
            for i, columns in enumerate(score_clip(output, batch, indices)):
                flags = {"moving": bool(batch.moving[i]), "still_camera": bool(batch.still_camera[i])}
                records.append({"row": row, "scene": ids[i], "edit": batch.edits[i], **flags, **columns})
    return records


def _join(parts: list[SceneBatch]) -> SceneBatch:
    """One batch out of single scenes."""

    def cat(name: str) -> Tensor:
        return torch.cat([getattr(part, name) for part in parts])

    edits = [edit for part in parts for edit in part.edits]
    flags = (cat("moving"), cat("still_camera"))
    return SceneBatch(cat("source"), cat("truth"), cat("mask"), edits, *flags, cat("seeds"))


def summarise(records: list[dict], **only: object) -> dict[str, dict[str, float]]:
    """Mean of every column by row, over the records that match `only` (for instance `edit="recolour"`).

    Every PSNR column gets a `pooled` one beside it: the PSNR of the scenes' mean squared error.
    """
    table: dict[str, dict[str, float]] = {}
    for row in ROWS:
        chosen = [r for r in records if r["row"] == row and all(r[k] == v for k, v in only.items())]
        columns = [key for key in (chosen[0] if chosen else {}) if key.rsplit("_", 1)[-1] in ("psnr", "ssim")]
        values = {c: torch.tensor([r[c] for r in chosen], dtype=torch.float64) for c in columns}
        means = {c: v.nanmean() for c, v in values.items()}
        for column in [c for c in columns if c.endswith("psnr")]:
            means[column[:-4] + "pooled"] = -10.0 * torch.log10((10.0 ** (-values[column] / 10.0)).nanmean())
        table[row] = {**{c: round(v.item(), 4) for c, v in means.items()}, "scenes": len(chosen)}
    return table


def as_markdown(table: dict[str, dict[str, float]]) -> str:
    """The table as Markdown: mean PSNR / mean SSIM, and for the background the PSNR of the mean squared error."""
    head = "| | inside the mask | inside, between keyframes | outside the mask | outside, pooled |"
    lines = [head, "|---|---|---|---|---|"]
    for row, values in table.items():
        cells = [f"{values[f'{r}_psnr']:.2f} dB / {values[f'{r}_ssim']:.3f}" for r in ("inside", "between", "outside")]
        lines.append(f"| {ROWS[row]} | " + " | ".join(cells) + f" | {values['outside_pooled']:.2f} dB |")
    return "\n".join(lines)


def score_command(
    *,
    out: Path | None = None,
    scenes: int = 32,
    steps: int | None = None,
    seed: int = 0,
    device: str = "auto",
    folder: Path | None = None,
    interval: int = 8,
) -> dict:
    """`novakit score`: print the table, and write it as JSON with every scene's record.

    Args:
        out: JSON file, or None.
        folder: another pipeline folder than the shipped weights (a run of `novakit pretrain export`).
        scenes, steps, seed, interval: see `score_scenes`.
        device: "auto", "cpu" or "cuda".
    """
    from novakit.editing.loading import load_folder
    from novakit.editing.pipeline import NovaEditPipeline
    from novakit.scenes import EDITS

    pipe = (
        load_folder(NovaEditPipeline, folder, device) if folder else NovaEditPipeline.from_preset("nano", device=device)
    )
    started = time.perf_counter()
    records = score_scenes(pipe, scenes, interval, steps, seed)
    table = summarise(records)
    report = {
        "what": f"{scenes} held-out test scenes, keyframe interval {interval}, against rendered tensors",
        "table": table,
        "by_edit": {edit: summarise(records, edit=edit) for edit in EDITS},
        "moving": summarise(records, moving=True),
        "moving_camera": summarise(records, still_camera=False),
        "still_camera": summarise(records, still_camera=True),
        "steps": steps or pipe.preset.steps,
        "minutes": round((time.perf_counter() - started) / 60, 2),
        **provenance(seed=seed),
        "records": [{k: None if v != v else v for k, v in record.items()} for record in records],  # NaN: no pixels
    }
    print(as_markdown(table))
    if report["moving_camera"]["nova"]["scenes"]:
        print(f"\nOnly the {report['moving_camera']['nova']['scenes']} scenes whose camera moves:\n")
        print(as_markdown(report["moving_camera"]))
    if out:
        atomic_write_json(out, report)
    return report
