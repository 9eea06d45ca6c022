"""Weights of the diffusion editors: their licence and size are said before anything is fetched, and nothing is fetched
unasked.

Sizes are those of the folders that diffusers reads, as the hub's file lists give them; parameter counts times two bytes
agree. Licences are those of the model cards. Source: ours.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

from novakit.editing.inputs import notice
from novakit.errors import NovaError
from novakit.video.probing import reason

NEEDED = ["model_index.json", "*/*"]  # the parts' folders; single-file copies of the same weights lie beside them


@dataclass(frozen=True)
class Weights:
    """What a user should know about weights before fetching them."""

    hub_id: str
    pipelines: tuple[str, ...]  # names that its model_index.json may have as _class_name
    licence: str  # one sentence
    size: str  # to fetch, and where it goes
    access: str = ""  # what has to be done once before the hub hands it out
    extra: str = ""  # further words of the fetch command

    def command(self, model: str | None = None) -> str:
        """The command that puts the weights into the hub's cache, where novakit looks for them."""
        other = model not in (None, self.hub_id)
        return f"hf download {model if other else self.hub_id + self.extra}"

    def about(self, model: str) -> str:
        """Licence and size, for a message."""
        if model == self.hub_id:
            return f"{self.licence} {self.size}"
        return f"Read its licence on its model card. If it is as large as {self.hub_id}: {self.size}"


FLUX_KONTEXT = Weights(
    "black-forest-labs/FLUX.1-Kontext-dev",
    ("FluxKontextPipeline", "FluxKontextInpaintPipeline"),
    "FLUX.1 Kontext [dev] is under the FLUX.1 [dev] Non-Commercial License: no commercial use of the model; for the "
    "use of its pictures read the licence.",
    "33.7 GB in bfloat16 (transformer 23.8, T5 9.5, CLIP 0.2, VAE 0.2).",
    access="Accept the licence on its model card and log in (`hf auth login`) first. ",
    extra=" --exclude flux1-kontext-dev.safetensors",
)
QWEN_EDIT = Weights(
    "Qwen/Qwen-Image-Edit-2509",
    ("QwenImageEditPlusPipeline",),
    "Qwen-Image-Edit is under the Apache License 2.0, commercial use included.",
    "57.7 GB in bfloat16 (transformer 40.9, Qwen2.5-VL 16.6, VAE 0.3).",
)


def find_weights(model: str | Path, weights: Weights, download: bool = False) -> Path:
    """The folder of a pipeline: a local one, or the one in the hub's cache; fetched only if asked for.

    Args:
        model: folder, or hub id ("owner/name").
        weights: the published ones of this editor.
        download: True = fetch what is missing, after a notice with licence and size.

    Returns:
        A folder with model_index.json and every part that it lists.

    Raises:
        NovaError: missing, incomplete or another model's; names size and command.
    """
    folder = Path(model)
    if folder.is_dir():
        return _check(folder, weights)
    if not isinstance(model, str) or not re.fullmatch(r"\w[\w.-]*/[\w.-]+", model):
        raise NovaError(
            f"{model} is neither a folder nor a hub id (owner/name). Pass the folder of a pipeline, or "
            f"{weights.hub_id!r}: {weights.about(weights.hub_id)} `{weights.command()}` fetches it."
        )
    found = _cached(model)
    if found is None and download:
        found = _fetch(model, weights)
    if found is None:
        raise NovaError(
            f"the weights of {model} are not here: neither a folder of that name nor complete in the hub's cache. "
            f"{weights.about(model)} {weights.access}Fetch them with `{weights.command(model)}`, or pass "
            "download=True (--download), or the path of a folder that has them."
        )
    return _check(found, weights)


def _cached(model: str) -> Path | None:
    """The pipeline's folder in the hub's cache; None when it is not there or not complete."""
    from huggingface_hub import snapshot_download

    try:
        folder = Path(snapshot_download(model, local_files_only=True, allow_patterns=NEEDED))
        return None if _missing_part(_read_index(folder), folder) else folder
    except Exception:  # not cached, cut off, or a broken cache: all mean that it has to be fetched
        return None


def _fetch(model: str, weights: Weights) -> Path:
    """Fetch the parts' folders into the hub's cache, after saying what they are."""
    from huggingface_hub import snapshot_download

    notice(f"fetching {model}. {weights.about(model)}")
    try:
        return Path(snapshot_download(model, allow_patterns=NEEDED))
    except Exception as error:  # offline, gated, no such id, full disk: the hub's errors have no common class
        raise NovaError(
            f"{model} cannot be fetched: {reason(error)}. {weights.access}Offline (HF_HUB_OFFLINE) nothing is "
            f"fetched; what was fetched so far is kept. Try again with `{weights.command(model)}`."
        ) from error


def _check(folder: Path, weights: Weights) -> Path:
    """Refuse a folder that is not of this editor's pipeline, or lacks a part."""
    index = _read_index(folder)
    kind = index.get("_class_name")
    if kind not in weights.pipelines:
        raise NovaError(f"{folder} holds a {kind}; wanted {' or '.join(weights.pipelines)}. Pass such a folder.")
    missing = _missing_part(index, folder)
    if missing:
        raise NovaError(f"{folder} is incomplete: its part {missing}/ is missing. Fetch the folder again.")
    return folder


def _read_index(folder: Path) -> dict:
    path = folder / "model_index.json"
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise NovaError(f"{folder} is no diffusers pipeline: its {path.name} cannot be read. Pass another.") from error


def _missing_part(index: dict, folder: Path) -> str | None:
    """A part that model_index.json lists and whose folder is missing or empty."""
    parts = [part for part, value in index.items() if isinstance(value, list) and value[0] is not None]
    return next((part for part in parts if not any(folder.glob(f"{part}/*"))), None)
