"""What each small training reads: the reference's examples with one thing changed, from the same scenes.

All makers get the same seeds, so every variant sees the same worlds. Source: ours; the degradations are the paper's.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import torch
from torch import Tensor, nn

from novakit.degradation import anchored_control, interpolate_keyframes
from novakit.errors import NovaError
from novakit.files import atomic_write_json
from novakit.models.token_concat import encode_cues
from novakit.scenes import ClipsWithCutOuts, SceneBatch, render_clips, render_cut_outs, render_scenes
from novakit.training.data import LatentStore
from novakit.training.makers import (
    CONTROL,
    Maker,
    dense_batch,
    encode_context,
    encode_examples,
    random_indices,
)
from novakit.training.nova_task import NovaBatch
from novakit.training.pseudo_sources import MIXTURE, PATCHES, draw_pseudo_sources
from novakit.training.recipe import FEED
from novakit.training.state import frozen_fingerprint

INTERVAL = 8
CARD = "examples.json"  # beside the shards: with which VAE and recipe they were made


def every_8(num_frames: int, generator: torch.Generator | None = None) -> tuple[int, ...]:
    """Keyframes at 0, 8, 16, …: one training interval, nothing drawn."""
    return tuple(range(0, num_frames, INTERVAL))


def interval_8_batch(vae: nn.Module, clips: ClipsWithCutOuts, generator: torch.Generator) -> NovaBatch:
    """The full recipe with keyframes always 8 apart (claim C4)."""
    return dense_batch(vae, clips, generator, every_8)


def _clean_control(vae: nn.Module, target: Tensor, generator: torch.Generator) -> Tensor:
    """Context of the target's own keyframes, untouched, at random intervals."""
    indices = list(random_indices(target.shape[2], generator))
    return encode_context(vae, interpolate_keyframes(target[:, :, indices], indices, target.shape[2]))


def clean_batch(vae: nn.Module, clips: Tensor, generator: torch.Generator) -> NovaBatch:
    """No degradation at all (claim C10): clean keyframes, and the source is the target `(B, 3, T, H, W)` itself."""
    latents = encode_examples(vae, clips)
    return NovaBatch(latents, latents, _clean_control(vae, clips, generator))


def paired_batch(vae: nn.Module, scenes: SceneBatch, generator: torch.Generator) -> NovaBatch:
    """True pairs (Senorita-2M): the scene before the edit is the source, the scene after it the target."""
    source, target = encode_examples(vae, scenes.source), encode_examples(vae, scenes.truth)
    return NovaBatch(target, source, _clean_control(vae, scenes.truth, generator))


def concat_batch(vae: nn.Module, clips: ClipsWithCutOuts, generator: torch.Generator) -> NovaBatch:
    """For token concatenation: degraded keyframes 8 apart, each encoded alone, in the place of the control.

    `control` holds the cues (B, Z, K, h, w), not a VACE context. A fixed interval is the official release's (10).
    """
    keyframes = anchored_control(clips.clip, every_8(clips.clip.shape[2]), generator, CONTROL).keyframes
    source, _ = draw_pseudo_sources(clips, generator)
    with torch.autocast(keyframes.device.type, torch.bfloat16):
        cues = encode_cues(vae, keyframes)
    return NovaBatch(encode_examples(vae, clips.clip), encode_examples(vae, source), cues)


#: What to render and how to make examples of it.
VARIANT_MAKERS: dict[str, Maker] = {
    "reference": (render_cut_outs, dense_batch),
    "interval_8": (render_cut_outs, interval_8_batch),
    "no_degradation": (render_clips, clean_batch),
    "paired": (render_scenes, paired_batch),
    "token_concat": (render_cut_outs, concat_batch),
}


def recipe_of(vae: nn.Module) -> str:
    """Short hash of what examples depend on besides their seeds: the frozen VAE and the settings of degradation."""
    settings = (frozen_fingerprint(vae), CONTROL, PATCHES, MIXTURE, FEED.frame_counts, INTERVAL)
    return hashlib.sha256(repr(settings).encode()).hexdigest()[:16]


def open_store(folder: Path, maker: str, shards: int, split: str, vae: nn.Module) -> LatentStore:
    """The store of a variant's examples, empty or as far as it was built.

    Args:
        folder: where the shards lie.
        maker: one of VARIANT_MAKERS.
        shards: how many the store has when complete.
        split: "train" or "val".
        vae: the frozen VAE that encodes.

    Raises:
        NovaError: the folder holds examples of another VAE or recipe, which must not be mixed with these.
    """
    card, recipe = folder / CARD, recipe_of(vae)
    found = json.loads(card.read_text(encoding="utf-8"))["recipe"] if card.exists() else None
    if found != recipe and any(folder.glob("*.safetensors")):
        raise NovaError(
            f"the examples in {folder} were made with another VAE or another recipe ({found}, now {recipe}). "
            "Remove the folder, or train in another one."
        )
    atomic_write_json(card, {"maker": maker, "recipe": recipe})
    return LatentStore(folder, "dense", shards, split=split, maker=VARIANT_MAKERS[maker])
