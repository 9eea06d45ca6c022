"""What `novakit train` reads: a latent cache, or for nano examples of its own world; some clips are held out.

Source: ours; the examples are those that the shipped nano weights learned from (`novakit.training.data`).
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, fields
from hashlib import sha256
from pathlib import Path

import torch

from novakit.errors import NovaError, NovaNotice
from novakit.presets import Preset
from novakit.training.data import LatentStore, LoadedStore
from novakit.training.distributed.processes import Processes
from novakit.training.distributed.task import BatchSource
from novakit.training.nova_task import NovaBatch
from novakit.training.objective import step_generator
from novakit.training.recipe import FEED

ONE_IN = 50  # videos of a cache of which one is held out
SCORED = 4  # held-out clips that a validation measures, at four noise levels each: 45 s at full size on one H200
SHARDS, VAL_SHARDS = 16, 2  # of rendered examples: 112 clips and 16 held-out ones, about 40 s of one CPU core


@dataclass(frozen=True)
class TrainingData:
    """What a run learns from."""

    source: BatchSource
    validation: Sequence[NovaBatch]  # held-out batches, never trained on
    about: str  # one line for the user

    def clip_size(self, preset: Preset) -> dict[str, int]:
        """frames, height and width of the first clip, in frames and pixels.

        Raises:
            NovaError: latents of another encoder than the preset's.
        """
        clip = first_clip(self.source)
        _, channels, *grid = clip.target_latents.shape
        wanted = preset.transformer["in_channels"]
        if channels != wanted:
            raise NovaError(
                f"the latents of the data have {channels} channels; {preset.name} wants {wanted}. They come from "
                "another encoder: prepare them for this preset, or choose the preset that they were prepared for."
            )
        temporal = preset.vae.get("scale_factor_temporal", 4)
        spatial = preset.vae.get("scale_factor_spatial", 8)
        return {"frames": temporal * (grid[0] - 1) + 1, "height": spatial * grid[1], "width": spatial * grid[2]}


def first_clip(source: BatchSource) -> NovaBatch:
    """The first clip that a source gives, a batch of one."""
    return source.rows(0, 1, 0, range(1)) if hasattr(source, "rows") else source.batch(0, 1, 0)


def open_data(
    preset: Preset,
    folder: str | Path | None,
    out: Path,
    team: Processes,
    *,
    base: Path | None = None,
    seed: int = 0,
    allow_missing: int = 0,
) -> TrainingData:
    """The data of a run, the same in every process.

    Args:
        preset: what it is for.
        folder: a latent cache; None = examples of the nano world, in `out`/examples.
        out: the run's folder.
        team: all processes; the main one renders.
        base: folder of the published base, whose VAE must have made the cache.
        seed: of the examples.
        allow_missing: damaged clips of a cache that may be left out.

    Raises:
        NovaError: no data, or data of another encoder, size or version.
    """
    if folder is not None:
        return team.together(lambda: open_cache(preset, folder, base, allow_missing))
    if preset.weights != "shipped":
        raise NovaError(
            f"--data is missing: {preset.name} trains on a latent cache. Make one with `novakit prepare VIDEOS "
            f"--preset {preset.name} --out CACHE`, then pass --data CACHE."
        )
    return open_examples(preset, out / "examples", seed, team)


def open_cache(preset: Preset, folder: str | Path, base: Path | None, allow_missing: int) -> TrainingData:
    """A latent cache; all clips of some of its videos are held out."""
    from novakit.training.preparation.cache import LatentCache

    cache = LatentCache(folder, preset=preset.name, base=base, allow_missing=allow_missing)
    apart = held_out([item["video"] for item in cache.items])
    trained, kept = copy(cache), copy(cache)
    trained.items = [item for item in cache.items if item["video"] not in apart]
    kept.items = [item for item in cache.items if item["video"] in apart]
    scored = min(SCORED, len(kept))
    validation = [kept.rows(0, scored, 0, range(row, row + 1)) for row in range(scored)]
    about = (
        f"{len(trained)} clips to learn from; held out: {len(kept)} of {len(apart)} other videos, {scored} are scored."
    )
    return TrainingData(trained, validation, about)


def held_out(videos: Sequence[str]) -> set[str]:
    """Which videos are never trained on: about one in fifty, by the hash of its name, and at least one of several.

    A function of the names only: more videos in a cache do not move those that were held out for their hash.
    """
    hashes = {video: int(sha256(video.encode()).hexdigest(), 16) for video in set(videos)}
    chosen = {video for video, number in hashes.items() if number % ONE_IN == 0}
    if chosen or len(hashes) < 2:
        return chosen if len(chosen) < len(hashes) else set()
    return {min(hashes, key=hashes.get)}


def open_examples(
    preset: Preset, folder: Path, seed: int, team: Processes, shards: int = SHARDS, val_shards: int = VAL_SHARDS
) -> TrainingData:
    """Examples of the nano world, rendered and encoded once and kept in `folder`."""
    warnings.warn(f"no --data: examples of the nano world are rendered into {folder}.", NovaNotice, stacklevel=2)
    stores = [
        LatentStore(folder, "dense", count, seed=seed, split=split)
        for count, split in ((shards, "train"), (val_shards, "val"))
    ]
    team.on_main(lambda: _render(preset, stores))
    trained, apart = (NanoExamples(store.load(), f"nano world {seed}, {store.num_shards}") for store in stores)
    validation = [apart.batch(step, 4, seed) for step in range(4)]
    about = f"{trained.count} clips of the nano world to learn from; held out: {apart.count} of other scenes."
    return TrainingData(trained, validation, about)


def _render(preset: Preset, stores: Sequence[LatentStore]) -> None:
    from novakit.training.preparation.encoding import load_encoder

    vae = load_encoder(preset, None, torch.device("cpu")).vae
    for store in stores:
        store.build(vae)


class NanoExamples:
    """Rendered examples as a BatchSource: all clips of a batch have one length.

    Args:
        store: what was rendered.
        fingerprint: names it; a resumed run must have the same.
    """

    def __init__(self, store: LoadedStore, fingerprint: str) -> None:
        self.store, self.fingerprint = store, fingerprint

    @property
    def count(self) -> int:
        """Number of clips."""
        return sum(len(group["target_latents"]) for group in self.store.groups.values())

    def batch(self, step: int, size: int, seed: int) -> NovaBatch:
        """Batch `step` of `size` clips, drawn with (seed, step)."""
        generator = step_generator(seed, step, "pick")
        lengths = sorted(self.store.groups)
        group = self.store.groups[lengths[-1 if torch.rand(1, generator=generator) < FEED.long_share else 0]]
        rows = torch.randint(len(group["target_latents"]), (size,), generator=generator)
        return NovaBatch(*(group[field.name][rows].float() for field in fields(NovaBatch)))
