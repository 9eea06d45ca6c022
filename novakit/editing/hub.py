"""Published weights: looked for in the hub's cache, and fetched only when asked to, after saying licence and size.

Source: ours, around huggingface_hub.
"""

import re
import shutil
from os import PathLike
from pathlib import Path

from novakit.editing.inputs import notice
from novakit.errors import NovaError
from novakit.files import size_text
from novakit.models.weights_files import first_line

WAN_ID = "Wan-AI/Wan2.1-VACE-1.3B-diffusers"
WAN_LICENCE = "Wan 2.1 VACE 1.3B with its VAE, and the text encoder UMT5-XXL, are under the Apache License 2.0."
# Sizes of Wan-AI/Wan2.1-VACE-1.3B-diffusers in bfloat16, from parameter counts: 2.154 B, 5.68 B and 0.127 B.
WAN_SIZES = "transformer 4.3 GB, text encoder 11.4 GB, VAE 0.3 GB in bfloat16; twice that in float32"
WAN_PARTS = ("model_index.json", "transformer/*", "vae/*", "text_encoder/*", "tokenizer/*", "scheduler/*")
DENSE_FILE = "dense.safetensors"  # the file of a hub repository that holds a trained dense branch


def is_hub_id(place: str | PathLike) -> bool:
    """Has it the form "owner/name", and is no file or folder here? (A Path never is one.)"""
    return isinstance(place, str) and bool(re.fullmatch(r"\w[\w.-]*/[\w.-]+", place)) and not Path(place).exists()


def cached_folder(hub_id: str) -> Path | None:
    """What the hub's cache holds of a repository, complete or not; asks no server."""
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(hub_id, local_files_only=True))
    except Exception as error:  # not cached, or known to be partial: then the error knows the folder
        partial = getattr(error, "snapshot_path", None)
        return Path(partial) if partial else None


def cached_file(hub_id: str, name: str) -> Path | None:
    """One file of a repository in the hub's cache; asks no server."""
    folder = cached_folder(hub_id)
    return folder / name if folder and (folder / name).is_file() else None


def fetch(hub_id: str, patterns: tuple[str, ...], licence: str | None = None) -> Path:
    """Fetch what is missing of a repository, after a notice with its licence and exact size; else say nothing.

    Args:
        hub_id: "owner/name".
        patterns: files wanted.
        licence: one sentence; None = not known here.

    Returns:
        The folder in the hub's cache.

    Raises:
        NovaError: no room on the disk, or the hub does not hand it out (offline, no such id, not logged in).
    """
    from huggingface_hub import constants, snapshot_download

    try:
        listed = snapshot_download(hub_id, allow_patterns=list(patterns), dry_run=True)
        missing = [file.file_size or 0 for file in listed if file.will_download]
        if missing:
            _announce(hub_id, missing, licence or "Read its licence on its model card.", Path(constants.HF_HUB_CACHE))
        return Path(snapshot_download(hub_id, allow_patterns=list(patterns)))
    except NovaError:
        raise
    except Exception as error:  # the hub's errors have no common class
        raise NovaError(
            f"{hub_id} cannot be fetched: {first_line(error)}. Offline (HF_HUB_OFFLINE) nothing is fetched; what was "
            f"fetched so far is kept. Try again with `hf download {hub_id}`."
        ) from error


def _announce(hub_id: str, sizes: list[int], licence: str, cache: Path) -> None:
    """Say what will be fetched, or refuse it where the disk has no room."""
    there = next(folder for folder in (cache, *cache.absolute().parents) if folder.exists())
    wanted, free = sum(sizes), shutil.disk_usage(there).free
    what = f"{hub_id}: {len(sizes)} files, {size_text(wanted)}, into {cache} ({size_text(free)} free)"
    if wanted > free:
        raise NovaError(f"no room to fetch {what}. Free some space, or set HF_HOME to a folder on a larger disk.")
    notice(f"fetching {what}. {licence}")
