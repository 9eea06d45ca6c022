"""Presets to pipelines: shipped weights for nano, a published base and a dense file for wan-1.3b.

Nothing is downloaded unless asked for: what is missing is named with its size and the command that fetches it.
"""

from collections.abc import Collection
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import Any

import torch

from novakit.device import DeviceChoice, choose_device
from novakit.editing.base_parts import find_prompts, load_vae, places_of
from novakit.editing.folder_checks import check_folder
from novakit.editing.hub import (
    DENSE_FILE,
    WAN_ID,
    WAN_LICENCE,
    WAN_PARTS,
    WAN_SIZES,
    cached_file,
    cached_folder,
    fetch,
    is_hub_id,
)
from novakit.editing.inputs import notice
from novakit.editing.running import Running
from novakit.errors import NovaError
from novakit.models.build import build_scheduler
from novakit.models.weights import fetch_command, load_base, load_dense
from novakit.paths import shipped_weights
from novakit.presets import Preset, get_preset


def load_preset(
    cls: type,
    preset: str | Preset,
    *,
    base: Any = None,
    dense: Any = None,
    device: str = "auto",
    running: Running | None = None,
    download: bool = False,
) -> Any:
    """`NovaEditPipeline.from_preset`: see there."""
    preset, running = get_preset(preset), running or Running()
    if preset.weights != "shipped":
        return _load_wan(cls, preset, base, dense, device, running, download)
    check_base_and_dense(preset, base, dense)
    choice = choose_device(device)
    running.check(choice)
    pipe = load_folder(cls, shipped_weights() / preset.name, device)
    return running.apply(pipe, torch.device(choice.device))


def check_base_and_dense(preset: Preset, base: Any, dense: Any) -> None:
    """Refuse a base or a dense file where the weights ship with the package.

    Raises:
        NovaError: a base or a dense file for such a preset.
    """
    if preset.weights == "shipped" and (base is not None or dense is not None):
        raise NovaError(
            f"{preset.name} has its weights in the package; base= and dense= (--base, --dense) belong to wan-1.3b. "
            "Leave them out, or choose that preset."
        )


def load_folder(cls: type, folder: Path, device: str = "auto") -> Any:
    """A pipeline from a folder of `save_pretrained`, checked first: every file, every key, every number.

    Args:
        cls: NovaEditPipeline.
        folder: vae/, transformer/, scheduler/, model_index.json.
        device: "auto", "cpu" or "cuda". Weights may be bfloat16 on disk; they are float32 in memory on a CPU.

    Raises:
        NovaError: a file is missing or corrupt, or its keys or shapes are not those of its config.
    """
    choice = choose_device(device)
    with _quiet_loading():
        dtypes = {"transformer": choice.dtype, "default": torch.float32}  # the VAE stays float32
        pipe = cls.from_pretrained(Path(folder), dtype=dtypes, local_files_only=True)  # checks the folder
    pipe.vae.eval(), pipe.transformer.eval()
    return pipe.to(choice.device)


def check_place(place: str | PathLike, given: Collection[str] = ()) -> None:
    """Check what `from_pretrained` is to read: a folder thoroughly, a hub id ("owner/name") not at all.

    Args:
        place: folder or hub id; a Path, or anything that has no such form, is a folder.
        given: see `check_folder`.

    Raises:
        NovaError: the folder is missing or damaged.
    """
    if not is_hub_id(place):
        check_folder(Path(place), given)


def _load_wan(cls: type, preset: Preset, base: Any, dense: Any, device: str, running: Running, download: bool) -> Any:
    """Wan 2.1 VACE 1.3B with a trained dense file, or as plain VACE; see `novakit.models.weights_base` for the base."""
    choice = _wan_device(preset, device)
    running.check(choice)
    dense_file = None if dense is None else find_dense(dense, download)
    place = find_base(preset, base, download)
    with _quiet_loading():
        transformer = load_base(place, choice.dtype, preset.transformer, **preset.dense)
        if dense_file is not None:
            load_dense(transformer, dense_file)
        places = places_of(place, preset)
        vae = load_vae(places, preset, choice.dtype)
    if not transformer.is_nova:
        why = "no dense file was given and none is published" if dense is None else f"{dense} was never trained"
        notice(f"{why}: this is plain VACE, not NOVA. Pass dense=FILE (--dense FILE).")
    pipe = cls(vae, transformer, build_scheduler(preset), preset=preset.name)
    pipe.prompts = find_prompts(places, preset, choice.dtype)
    return running.apply(pipe, torch.device(choice.device))


def _wan_device(preset: Preset, device: str) -> DeviceChoice:
    if device == "auto" and not torch.cuda.is_available():
        raise NovaError(
            f"{preset.name} needs a CUDA device and none was found: an edit of {preset.num_frames} frames at "
            f"{preset.width}x{preset.height} would take days on a CPU. Use preset nano here, "
            f"or run on a GPU machine after `{fetch_command(preset)}` ({WAN_SIZES})."
        )
    return choose_device(device)


def find_base(preset: Preset, base: Any = None, download: bool = False) -> Path:
    """The folder or file of the base: given, or in the hub's cache.

    Args:
        preset: whose `weights` is the published hub id.
        base: folder (diffusers' or Wan's own), one safetensors file, or hub id; None = the published one.
        download: True = fetch what is missing of a hub id, after a notice with licence and size. Never without it.

    Raises:
        NovaError: not there; names size, licence and command.
    """
    wanted = preset.weights if base is None else base
    if not is_hub_id(wanted) and Path(wanted).exists():
        return Path(wanted)
    found = cached_folder(wanted) if is_hub_id(wanted) else None
    if download and is_hub_id(wanted):
        found = fetch(wanted, WAN_PARTS, WAN_LICENCE if wanted == WAN_ID else None)
    if found is None:
        raise NovaError(
            f"the base of {preset.name} is missing: {wanted} is neither a folder or file nor in the hub's cache "
            f"({WAN_SIZES}. {WAN_LICENCE}). Fetch it with `{fetch_command(preset)}` or download=True (--download), or "
            "pass base=FOLDER (--base FOLDER) if you have it elsewhere."
        )
    return found


def find_dense(dense: str | PathLike, download: bool = False) -> Path:
    """The file of a dense branch: given, or `dense.safetensors` of a hub repository.

    Raises:
        NovaError: a hub id whose file is not in the hub's cache, and download is False.
    """
    if not is_hub_id(dense):
        return Path(dense)
    found = fetch(dense, (DENSE_FILE,)) / DENSE_FILE if download else cached_file(dense, DENSE_FILE)
    if found is None or not found.is_file():
        raise NovaError(
            f"the dense branch of {dense} is not here: no such file, and no {DENSE_FILE} of it in the hub's cache. "
            f"Fetch it with `hf download {dense} {DENSE_FILE}` or download=True (--download), or pass a file."
        )
    return found


@contextmanager
def _quiet_loading():
    """No progress bar while files are read: they take a second."""
    from diffusers.utils import logging

    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.enable_progress_bar()
