"""Pixels to latents: the encoder, its fingerprint, and everything that is stored of one clip.

Why several variants. A clip is seen steps x batch / clips times: 8,000 x 8 / 5,000 = 12.8 in the paper's run. With one
stored variant the model would see the same 5,000 mistakes 13 times and could learn them by heart. Sources and controls
are drawn independently of each other, so V of each make V x V pairs: V = ceil(sqrt(12.8)) = 4 gives 16, and no pair
is met twice; each source and each control is met about three times, in other company and with other noise. That costs
1 + 2V = 9 encodings and 38 MB a clip (188 GB for 5,000) at 832x480x81; 13 of each would cost 27 and 113 MB.

What is stored. The VACE context of a control sequence has 2Z + 64 channels, but in the "reactive" convention the first
Z are the latents of grey and the last 64 are ones, for every clip: only the Z in the middle are kept, and `context_of`
puts the context together again. The VAE encodes in float32, as it does in an edit; latents are kept in float16.

Source: ours; encoding is Wan 2.1's (`novakit.models.latents`).
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from novakit.device import choose_device
from novakit.editing.base_parts import find_prompts, load_vae, places_of
from novakit.editing.loading import check_base_and_dense, find_base
from novakit.errors import NovaError
from novakit.models.latents import encode_clip
from novakit.models.sparse_branch import grey_latents
from novakit.paths import shipped_weights
from novakit.presets import Preset
from novakit.training.objective import step_generator
from novakit.training.preparation.examples import (
    FOREIGN,
    degraded_control,
    draw_kind,
    given_control,
    pseudo_source,
)
from novakit.training.preparation.plan import Item

CONSTANTS = "constants"  # key under which that which all clips share is stored, like a clip
VARIANTS = math.ceil(math.sqrt(8000 * 8 / 5000))  # 4, see above


@dataclass(frozen=True)
class Encoder:
    """What turns clips into latents."""

    vae: nn.Module
    fingerprint: str  # of its config and weights
    text: Callable[[], Tensor | None] = lambda: None  # encodes the empty prompt, (1, L, text_dim); None = null token


@dataclass(frozen=True)
class Encoded:
    """One clip as it is stored."""

    tensors: dict[str, Tensor]  # "target", "source.0", ..., "control.0", ...: (Z, t, h, w) float16
    variants: list[dict[str, str]]  # of each source: kind, and the clip whose content it shows


def load_encoder(preset: Preset, base: Any, device: torch.device, download: bool = False) -> Encoder:
    """VAE on a device, with its fingerprint; the text encoder is loaded only when its one prompt is asked for.

    Args:
        preset: whose VAE.
        base: folder or hub id of the published base; None = the published one in the hub's cache.
        device: where the VAE goes.
        download: fetch what is missing of the base, after a notice with licence and size.

    Raises:
        NovaError: weights are missing or damaged, or a base was given where weights ship.
    """
    check_base_and_dense(preset, base, None)
    shipped = preset.weights == "shipped"
    places = [shipped_weights() / preset.name] if shipped else places_of(find_base(preset, base, download), preset)
    vae = load_vae(places, preset, torch.float32).requires_grad_(False)
    encoder = Encoder(vae.to(device), fingerprint_of(vae))
    return encoder if shipped else replace(encoder, text=lambda: _empty_prompt(places, preset, device))


def _empty_prompt(places: list[Path], preset: Preset, device: torch.device) -> Tensor | None:
    reader = find_prompts(places, preset, choose_device(device.type).dtype)
    return None if reader is None else reader.read([""], device)


def fingerprint_of(vae: nn.Module) -> str:
    """16 hex digits of everything in a VAE that has a say in latents: encoder, mean and std; not the decoder."""
    config = {name: value for name, value in dict(vae.config).items() if name.startswith("latents_")}
    digest = hashlib.sha256(json.dumps(config, sort_keys=True).encode())
    for name, weight in sorted(vae.state_dict().items()):
        if name.startswith(("encoder.", "quant_conv.")):
            digest.update(name.encode() + weight.float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def context_of(grey: Tensor, control: Tensor, spatial: int) -> Tensor:
    """The VACE context of stored control latents, as `prepare_control` makes it in mode "reactive".

    Args:
        grey: latents of mid-grey, (Z, t, h, w).
        control: latents of control sequences, (B, Z, t, h, w).
        spatial: pixels per latent along one axis, s.

    Returns:
        (B, 2Z + s*s, t, h, w).
    """
    ones = control.new_ones(len(control), spatial**2, *control.shape[2:])
    return torch.cat([grey.expand_as(control), control, ones], dim=1)


@torch.no_grad()
def encode_constants(encoder: Encoder, shape: tuple[int, int, int]) -> dict[str, Tensor]:
    """What all clips share: "grey" (Z, t, h, w), and "text" (1, L, text_dim) where the preset reads text.

    Args:
        encoder: the encoder.
        shape: (T, H, W) of the clips.
    """
    device = next(encoder.vae.parameters()).device
    grey = grey_latents(encoder.vae, torch.empty(1, 3, *shape, device=device))
    text = encoder.text()
    constants = {"grey": _store(grey[0])}
    return constants if text is None else {**constants, "text": text.float().cpu().contiguous()}


@torch.no_grad()
def encode_item(
    encoder: Encoder,
    item: Item,
    clips: Mapping[str, Tensor],
    others: Mapping[int, tuple[str, Tensor]],
    *,
    variants: int,
    interval: int,
    seed: int,
) -> Encoded:
    """Target, sources and controls of one clip; a function of (seed, the clip's key), never of the process.

    Args:
        encoder: the encoder.
        item: the clip.
        clips: "target", and "source" or "control" where files were given; (1, 3, T, H, W) in [-1, 1].
        others: variant -> key and pixels of another clip, for the variants that `lent` names.
        variants: V.
        interval: keyframe interval, frames.
        seed: of the whole cache.

    Raises:
        NovaError: latents that are no numbers, or constant.
    """
    device = next(encoder.vae.parameters()).device
    clips = {name: clip.to(device) for name, clip in clips.items()}
    target, tensors, made = clips["target"], {}, []

    def keep(name: str, clip: Tensor) -> None:
        tensors[name] = _store(encode_clip(encoder.vae, clip)[0])
        if fault := unhealthy(tensors[name]):
            raise NovaError(f"its {name} latents are {fault}")

    keep("target", target)
    for v in range(variants if "source" not in clips else 1):
        source, about = _source(item, clips, others, v, seed)
        keep(f"source.{v}", source), made.append(about)
    for v in range(variants if "control" not in clips else 1):
        keep(f"control.{v}", _control(item, clips, v, interval, seed))
    return Encoded(tensors, made)


def lent(item: Item, variants: int, seed: int) -> list[int]:
    """The variants of a clip's source that show another clip's content."""
    if item.video.source:
        return []
    return [v for v in range(variants) if draw_kind(_source_generator(item, v, seed)) in FOREIGN]


def _source_generator(item: Item, variant: int, seed: int) -> torch.Generator:
    return step_generator(seed, variant, f"prepare/{item.key}/source")


def _source(
    item: Item, clips: Mapping[str, Tensor], others: Mapping[int, tuple[str, Tensor]], variant: int, seed: int
) -> tuple[Tensor, dict[str, str]]:
    """Pseudo source number `variant` in pixels, and what it is."""
    if "source" in clips:
        return clips["source"], {"kind": "given"}
    target, generator = clips["target"], _source_generator(item, variant, seed)
    kind = draw_kind(generator)
    if kind not in FOREIGN:
        return pseudo_source(kind, target, None, generator), {"kind": kind}
    key, other = others[variant]
    return pseudo_source(kind, target, other.to(target), generator), {"kind": kind, "foreign": key}


def _control(item: Item, clips: Mapping[str, Tensor], variant: int, interval: int, seed: int) -> Tensor:
    """Control sequence number `variant` in pixels."""
    if "control" in clips:
        return given_control(clips["control"], interval)
    return degraded_control(clips["target"], interval, step_generator(seed, variant, f"prepare/{item.key}/control"))


def unhealthy(latents: Tensor) -> str | None:
    """What forbids training on latents (Z, t, h, w): "NaN or infinite", "constant", or None."""
    if not torch.isfinite(latents).all():
        return "NaN or infinite"
    return "constant" if latents.min() == latents.max() else None


def _store(latents: Tensor) -> Tensor:
    return latents.half().contiguous().cpu()
