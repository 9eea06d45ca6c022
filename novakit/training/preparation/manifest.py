"""What a cache says of itself: the settings it was made with, and the manifest of its clips.

    CACHE/settings.json          written first: what every run in this folder must share
          shards/NAME.safetensors and NAME.json, the records of the clips in it; one shard holds what all clips
                                 share: latents of grey, the encoded empty prompt
          seen/, quarantine/     what is known of each video; clips that could not be encoded. Delete a file there
                                 to have its video or clip tried again
          manifest.json          written last; without it the cache is not finished
          report.html            what was kept, what was dropped and why

Source: ours.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, fields
from hashlib import sha256
from pathlib import Path
from typing import Any

from torch import Tensor

from novakit.errors import NovaError
from novakit.files import atomic_write_json

FORMAT = "novakit-latents-1"


@dataclass(frozen=True)
class Settings:
    """What decides the content of a cache, besides the videos."""

    preset: str
    height: int  # pixels
    width: int  # pixels
    num_frames: int  # T
    variants: int  # V sources and V controls of each clip
    interval: int  # keyframe interval, frames
    seed: int
    encoder: str  # fingerprint of the VAE
    format: str = FORMAT  # of the files


def check_settings(folder: Path, settings: Settings) -> None:
    """Write the settings of a new cache; refuse those that differ from an existing one's.

    Raises:
        NovaError: names each setting that differs, with both values.
    """
    path = folder / "settings.json"
    if not path.exists():
        atomic_write_json(path, asdict(settings))
        return
    before = read_json(path)
    now = asdict(settings)
    differing = [f"{name} {before.get(name)!r}, now {now[name]!r}" for name in now if before.get(name) != now[name]]
    if differing:
        raise NovaError(
            f"{folder} was begun with other settings: {'; '.join(differing)}. Use the same, or another folder."
        )


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file.

    Raises:
        NovaError: missing or damaged.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise NovaError(f"{path} is missing or damaged ({error}). Run `novakit prepare` again.") from None
    if not isinstance(data, dict):
        raise NovaError(f"{path} does not hold an object. Run `novakit prepare` again.")
    return data


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a finished cache.

    Raises:
        NovaError: no cache, an unfinished one, another version, or a damaged file.
    """
    path = folder / "manifest.json"
    if not path.exists():
        if (folder / "settings.json").exists():
            raise NovaError(f"the cache {folder} is not finished. Run the same `novakit prepare` again: it goes on.")
        raise NovaError(f"{folder} is no latent cache. Make one with `novakit prepare VIDEOS --out {folder}`.")
    data = read_json(path)
    version = data.get("settings", {}).get("format")
    if version != FORMAT:
        raise NovaError(f"the cache {folder} has format {version!r}; this novakit reads {FORMAT}. Prepare it again.")
    if not _whole(data):
        raise NovaError(f"{path} is damaged. Run the same `novakit prepare` again: it is written anew.")
    return data


def _whole(data: dict[str, Any]) -> bool:
    """Is everything there that a reader asks for, and do shards have names of ours (no paths)?"""
    if not {"items", "shards", "constants"} <= set(data):
        return False
    records, names = [data["constants"], *data["items"]], {*data["shards"], data["constants"].get("shard")}
    return (
        set(data["settings"]) == {field.name for field in fields(Settings)}
        and all({"key", "shard", "sha256"} <= set(record) and record["shard"] in names for record in records)
        and all("name" in item for item in data["items"])
        and all(re.fullmatch("[0-9a-f]{16}", str(name)) for name in names)
    )


def hash_of(tensor: Tensor) -> str:
    """SHA-256 of a tensor's bytes, 64 hex digits."""
    return sha256(tensor.contiguous().numpy().data).hexdigest()
