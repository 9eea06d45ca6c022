"""Weights of SAM 2: found in a folder or in the hub's cache, fetched only when asked for. Source: ours."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from novakit.device import DeviceChoice
from novakit.editing.inputs import notice
from novakit.errors import NovaError
from novakit.video.probing import reason

SAM_MODEL = "facebook/sam2.1-hiera-tiny"
SAM_ABOUT = "SAM 2.1 Hiera tiny: 39 million parameters, 156 MB, Apache License 2.0, commercial use included"
_FILES = ["config.json", "model.safetensors"]  # beside them lies the same as a .pt file, which is not needed


def fetch_command(model: str = SAM_MODEL) -> str:
    """The command that puts the weights into the hub's cache, where novakit looks for them."""
    return f"hf download {model} {' '.join(_FILES)}"


def load_sam(model: str | Path, choice: DeviceChoice, download: bool = False) -> Any:
    """A `Sam2VideoModel` ready to follow.

    Args:
        model: folder, or hub id ("owner/name").
        choice: device and precision.
        download: True = fetch what is missing, after a notice with licence and size.

    Raises:
        NovaError: missing, another model's, or damaged.
    """
    from transformers import Sam2VideoModel

    folder = _check(_find(model, download))
    try:
        with _no_progress_bars():
            sam, info = Sam2VideoModel.from_pretrained(
                str(folder), dtype=choice.dtype, local_files_only=True, output_loading_info=True
            )
    except Exception as error:  # OSError, JSON, size and safetensors errors have no common class
        raise NovaError(
            f"the weights of SAM 2 in {folder} cannot be read: {reason(error)}. Fetch them again."
        ) from error
    lacking = sorted(info["missing_keys"])
    if lacking:
        raise NovaError(f"{folder / _FILES[1]} lacks {len(lacking)} tensors, first {lacking[0]}. Fetch it again.")
    return sam.eval().to(choice.device)


@contextmanager
def _no_progress_bars() -> Iterator[None]:
    """Reading 156 MB takes a second."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def _find(model: str | Path, download: bool) -> Path:
    """The folder of the weights, with as little network as asked for."""
    if Path(model).is_dir():
        return Path(model)
    from huggingface_hub import snapshot_download

    about = SAM_ABOUT if str(model) == SAM_MODEL else "read size and licence on its model card"
    try:
        return Path(snapshot_download(str(model), allow_patterns=_FILES, local_files_only=True))
    except Exception as error:  # not in the cache, or no such id
        if not download:
            raise NovaError(
                f"the weights of SAM 2 are missing: {model} is neither a folder nor in the hub's cache ({about}). "
                f"Fetch them with `{fetch_command(str(model))}` (in Python also download=True), or use optical flow, "
                "which needs none."
            ) from error
    notice(f"fetching {model} ({about}).")
    try:
        return Path(snapshot_download(str(model), allow_patterns=_FILES))
    except Exception as error:  # offline, refused, no such id
        raise NovaError(f"{model} cannot be fetched: {reason(error)}. Check the name and the network.") from error


def _check(folder: Path) -> Path:
    """Refuse a folder that holds no video model of SAM 2."""
    try:
        kind = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("model_type")
    except (OSError, ValueError, AttributeError) as error:
        raise NovaError(
            f"{folder} holds no readable config.json of SAM 2. Pass the folder that `{fetch_command()}` names."
        ) from error
    if kind != "sam2_video":
        raise NovaError(f"{folder} holds a model of type {kind!r}; wanted 'sam2_video', e.g. {SAM_MODEL}.")
    return folder
