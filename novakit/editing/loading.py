"""Presets to pipelines with weights: shipped ones for nano, a fetched base and a dense file for wan-1.3b.

Nothing is downloaded here: what is missing is named with its size and the command that fetches it.
"""

import re
from collections.abc import Collection
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import Any

import torch

from novakit.device import choose_device
from novakit.editing.folder_checks import WEIGHTS, check_folder
from novakit.editing.inputs import notice
from novakit.errors import NovaError
from novakit.models.build import build_scheduler
from novakit.models.weights import fetch_command, load_base, load_dense
from novakit.paths import shipped_weights
from novakit.presets import Preset, get_preset

# Sizes of Wan-AI/Wan2.1-VACE-1.3B-diffusers in bfloat16, from parameter counts: 2.154 B, 5.68 B and 0.127 B.
WAN_SIZES = "transformer 4.3 GB, text encoder 11.4 GB, VAE 0.3 GB in bfloat16; twice that in float32"


def load_preset(cls: type, preset: str | Preset, *, base: Any, dense: Any, device: str) -> Any:
    """`NovaEditPipeline.from_preset`: see there."""
    preset = get_preset(preset)
    if preset.weights != "shipped":
        return _load_wan(cls, preset, base, dense, device)
    check_base_and_dense(preset, base, dense)
    return load_folder(cls, shipped_weights() / preset.name, device)


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
    folder = Path(place)
    is_hub_id = isinstance(place, str) and re.fullmatch(r"\w[\w.-]*/[\w.-]+", place) and not folder.exists()
    if not is_hub_id:
        check_folder(folder, given)


def _load_wan(cls: type, preset: Preset, base: Any, dense: Any, device: str) -> Any:
    """Wan 2.1 VACE 1.3B from a fetched folder, with a trained dense file or as plain VACE."""
    if device == "auto" and not torch.cuda.is_available():
        raise NovaError(
            f"{preset.name} needs a CUDA device and none was found: an edit of {preset.num_frames} frames at "
            f"{preset.width}x{preset.height} would take days on a CPU. Use preset nano here, "
            f"or run on a GPU machine after `{fetch_command(preset)}` ({WAN_SIZES})."
        )
    choice = choose_device(device)
    folder = find_base(preset, base)
    transformer = load_base(folder, choice.dtype, **preset.dense)
    if dense is not None:
        load_dense(transformer, dense)
    else:
        notice("no dense file was given and none is published: this is plain VACE, not NOVA. Pass dense=FILE.")
    tokenizer, text_encoder = _load_text(folder, choice)
    vae = _load_vae(folder)
    pipe = cls(vae, transformer, build_scheduler(preset), text_encoder, tokenizer, preset=preset.name)
    return pipe.to(choice.device)


def find_base(preset: Preset, base: Any) -> Path:
    """The folder of the base: given, or in the hub's cache. Never downloads."""
    if base is not None and Path(base).is_dir():
        return Path(base)
    from huggingface_hub import snapshot_download

    wanted = str(base or preset.weights)
    try:
        return Path(snapshot_download(wanted, local_files_only=True))
    except Exception as error:  # offline, not cached, or no such id: all mean that it has to be fetched
        raise NovaError(
            f"the base of {preset.name} is missing: {wanted} is neither a folder nor in the hub's cache "
            f"(transformer/{WEIGHTS} and more: {WAN_SIZES}). Fetch it with "
            f"`{fetch_command(preset)}`, or pass base=FOLDER (--base FOLDER) if you have it elsewhere."
        ) from error


def _load_vae(folder: Path) -> Any:
    from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan

    try:
        return AutoencoderKLWan.from_pretrained(str(folder), subfolder="vae", dtype=torch.float32).eval()
    except Exception as error:  # OSError, JSON and safetensors errors have no common class
        raise NovaError(f"the VAE in {folder / 'vae'} is missing or corrupt. Fetch it again.") from error


def _load_text(folder: Path, choice: Any) -> tuple[Any, Any]:
    """Tokenizer and UMT5 of the base folder; without them the null token stands in, with a notice."""
    if not (folder / "text_encoder").is_dir():
        notice(f"{folder} has no text_encoder/: no prompt is read, a null token stands in for the empty one.")
        return None, None
    from transformers import AutoTokenizer, UMT5EncoderModel

    try:
        tokenizer = AutoTokenizer.from_pretrained(str(folder / "tokenizer"))
        encoder = UMT5EncoderModel.from_pretrained(str(folder / "text_encoder"), dtype=choice.dtype)
    except Exception as error:  # whatever a damaged folder does inside transformers
        raise NovaError(f"the text encoder in {folder} cannot be read. Fetch the folder again.") from error
    return tokenizer, encoder.eval()


@contextmanager
def _quiet_loading():
    """No progress bar while files are read: they take a second."""
    from diffusers.utils import logging

    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.enable_progress_bar()
