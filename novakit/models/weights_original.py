"""Weights under Wan's own tensor names, as the original release and most single files on the hub have them.

diffusers knows the names (`from_single_file`); here the file is checked first, and no hub is asked: the config is ours.
Source: diffusers' converters; the checks are ours.
"""

import json
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import nn

from novakit.errors import NovaError
from novakit.models.weights_files import Shapes, compare_shapes, expected_shapes, first_line

PREFIX = "model.diffusion_model."  # in front of every name, in files for ComfyUI
SIGNS = {  # a name that only files of that kind have -> what they are
    "encoder.conv1.weight": "a Wan VAE under Wan's own names",
    "encoder.conv_in.weight": "a VAE",
    "shared.weight": "a text encoder",
    "token_embedding.weight": "a text encoder",
    "dense_branch.0.norm_dense.weight": "a whole NOVA: from_pretrained reads its folder",
    "0.norm_dense.weight": "a dense file: pass it as dense (--dense)",
}


def is_original(names: Shapes) -> bool:
    """Are these Wan's own names? (diffusers' have attn1 where Wan has self_attn, and mid_block where it has middle.)"""
    return any(".self_attn." in name or ".middle." in name for name in names)


def what_is(names: Shapes) -> str | None:
    """What a file seems to be that is no Wan transformer with VACE blocks; None when it may be one."""
    names = {name.removeprefix(PREFIX): shape for name, shape in names.items()}
    for sign, what in SIGNS.items():
        if sign in names:
            return what
    has_main, has_vace = (any(name.startswith(start) for name in names) for start in ("blocks.", "vace_blocks."))
    if has_main and not has_vace:
        return "a Wan transformer without VACE blocks (text or image to video)"
    if has_vace and not has_main:
        return "the VACE blocks alone, without the transformer they belong to"
    return None if has_main else "no Wan transformer"


def check_original(kind: type, files: list[Path], found: Shapes, config: dict[str, Any], advice: str) -> None:
    """Refuse files whose tensors, under diffusers' names, are not those of the config; reads no numbers.

    Raises:
        NovaError: names the first tensor that differs.
    """
    empty = {name: torch.empty(shape, device="meta") for name, shape in found.items()}
    if is_original(found):
        empty = _converter(kind)(empty)
    shapes = {name: tuple(tensor.shape) for name, tensor in empty.items()}
    compare_shapes(expected_shapes(kind, config, files[0], advice), shapes, files[0], advice)


def load_original(kind: type, files: list[Path], config: dict[str, Any], advice: str) -> nn.Module:
    """A model of diffusers from a checked single file (or its shards), in float32.

    Args:
        kind: WanVACETransformer3DModel or AutoencoderKLWan.
        files: safetensors.
        config: of the model.
        advice: end of the error message.

    Raises:
        NovaError: the file does not load after all.
    """
    from safetensors.torch import load_file

    try:
        tensors = {name: tensor for path in files for name, tensor in load_file(str(path)).items()}
        with tempfile.TemporaryDirectory() as folder:
            about = {"_class_name": kind.__name__, **config}
            (Path(folder) / "config.json").write_text(json.dumps(about), encoding="utf-8")
            return kind.from_single_file(tensors, config=folder, dtype=torch.float32, local_files_only=True).eval()
    except Exception as error:  # safetensors, diffusers and OS errors have no common class
        raise NovaError(f"{files[0]} cannot be read: {first_line(error)}. {advice}") from error


def _converter(kind: type):
    """diffusers' own map from Wan's names to its own, for a class."""
    from diffusers.loaders.single_file_model import SINGLE_FILE_LOADABLE_CLASSES

    return SINGLE_FILE_LOADABLE_CLASSES[kind.__name__]["checkpoint_mapping_fn"]
