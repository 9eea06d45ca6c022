"""The published base: from a diffusers folder, from Wan's own release, or from one single file; strict in all of them.

The same weights give the same model and the same fingerprints by every road. Source: ours, around diffusers' loaders.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from novakit.errors import NovaError
from novakit.models.dense_branch import DenseBranch
from novakit.models.nova_transformer import NovaTransformer3DModel
from novakit.models.weights_files import (
    WEIGHTS,
    check_finite,
    compare_shapes,
    expected_shapes,
    first_line,
    read_json,
    read_shapes,
    refuse_pickle,
    weight_files,
)
from novakit.models.weights_original import check_original, load_original, what_is
from novakit.presets import Preset, get_preset

KIND = "WanVACETransformer3DModel"
ORIGINAL_KINDS = ("WanModel", "VaceWanModel")  # what config.json of Wan's own releases says
REMEMBERED = "_weights_fingerprint"  # attribute of a loaded base
TASTE = 64  # numbers of every tensor that the fingerprint of the weights reads


def fetch_command(preset: str | Preset = "wan-1.3b") -> str:
    """The command that fetches a preset's published base into the hub's cache, where novakit looks for it."""
    return f"hf download {get_preset(preset).weights}"


@dataclass(frozen=True)
class BaseFiles:
    """Where the transformer of a base lies."""

    home: Path  # the file, or the folder that holds the files
    files: list[Path]  # safetensors
    config: dict[str, Any] | None  # what diffusers' config.json says; None = a release without one

    @property
    def original(self) -> bool:
        """A single file or Wan's own release: no config of diffusers beside it."""
        return self.config is None


def advice() -> str:
    """What to do about damaged or wrong base weights."""
    return f"Fetch the base again with `{fetch_command()}`, or pass another one as base (--base)."


def find_transformer(place: str | Path) -> BaseFiles:
    """The transformer's files in a folder (diffusers' or Wan's own), or the one file given.

    Raises:
        NovaError: nothing there, a pickle, a part is missing, or another kind of model.
    """
    place = Path(place)
    if place.is_file():
        refuse_pickle(place, advice())
        return BaseFiles(place, [place], None)
    home = place / "transformer" if (place / "transformer").is_dir() else place
    about = read_json(home / "config.json", advice()) if (home / "config.json").is_file() else {}
    if about.get("_class_name") == KIND:
        config = {key: value for key, value in about.items() if not key.startswith("_")}
        return BaseFiles(home, weight_files(home, advice()), config)
    if about and about.get("_class_name") not in ORIGINAL_KINDS:
        raise NovaError(f"{home} holds a {about.get('_class_name')}; wanted a {KIND} (with VACE blocks). {advice()}")
    if not any(home.glob(f"{Path(WEIGHTS).stem}*")):
        raise NovaError(
            f"{place} holds no Wan VACE transformer: neither transformer/config.json and its weights (diffusers), nor "
            f"{WEIGHTS} (Wan's own release). Pass the folder that `{fetch_command()}` names when it is done."
        )
    return BaseFiles(home, weight_files(home, advice()), None)


def check_config(own: dict[str, Any], wanted: dict[str, Any], where: Path) -> None:
    """Refuse a model of another size than the preset's.

    Raises:
        NovaError: names the first value that differs.
    """
    for key, value in wanted.items():
        other = own.get(key, value)
        if (list(other) if isinstance(other, tuple) else other) != value:
            raise NovaError(f"{where} has {key}={other}, the preset {value}: another model. {advice()}")


def load_base(
    place: str | Path, torch_dtype: torch.dtype = torch.float32, config: dict[str, Any] | None = None, **dense
) -> NovaTransformer3DModel:
    """A fresh NOVA around a published base.

    Args:
        place: a diffusers folder of a Wan VACE transformer, or of a whole pipeline with `transformer/` in it; Wan's
            own release; or one safetensors file, under Wan's or diffusers' names.
        torch_dtype: precision of the weights in memory; the parts that diffusers keeps in float32 stay so.
        config: the base's config as the preset has it, which it must have; None = whatever a diffusers folder says,
            and Wan 2.1 VACE 1.3B's for files without a config.
        **dense: options of the dense branch, as in NovaTransformer3DModel.

    Returns:
        NovaTransformer3DModel whose dense output projections are zero: it equals its base.

    Raises:
        NovaError: missing, damaged or partial weights, or those of another model.
    """
    base = load_transformer(find_transformer(place), torch_dtype, config)
    base.__dict__[REMEMBERED] = weights_fingerprint(base)
    return _around(base, dense)


def load_transformer(found: BaseFiles, dtype: torch.dtype, config: dict[str, Any] | None = None) -> nn.Module:
    """diffusers' WanVACETransformer3DModel from its files, checked before and after reading."""
    from diffusers.models.transformers.transformer_wan_vace import WanVACETransformer3DModel as Kind

    shapes = read_shapes(found.files, advice())
    if found.original:
        what = what_is(shapes)
        if what:
            raise NovaError(f"{found.files[0]} is {what}; wanted a Wan transformer with VACE blocks. {advice()}")
        config = dict(config or get_preset("wan-1.3b").transformer)
        check_original(Kind, found.files, shapes, config, advice())
        base = _halve(load_original(Kind, found.files, config, advice()), dtype)
    else:
        check_config(found.config, config or {}, found.home)
        expected = expected_shapes(Kind, found.config, found.home / "config.json", advice())
        compare_shapes(expected, shapes, found.files[0], advice(), Kind._keys_to_ignore_on_load_unexpected)
        base = _from_folder(Kind, found.home, dtype)
    check_finite(base.named_parameters(), found.files[0], advice())
    return base


def _from_folder(kind: type, home: Path, dtype: torch.dtype) -> nn.Module:
    try:
        return kind.from_pretrained(str(home), dtype=dtype, use_safetensors=True, local_files_only=True)
    except Exception as error:  # safetensors, JSON and OS errors have no common class
        raise NovaError(f"the weights in {home} cannot be read: {first_line(error)}. {advice()}") from error


def _halve(model: nn.Module, dtype: torch.dtype) -> nn.Module:
    """Cast as diffusers' from_pretrained does: `_keep_in_fp32_modules` stay (from_single_file would cast them too)."""
    kept = set(model._keep_in_fp32_modules or ())
    for name, weight in model.named_parameters():
        if not kept & set(name.split(".")):
            weight.data = weight.data.to(dtype)
    return model


def _around(base: nn.Module, dense: dict[str, Any]) -> NovaTransformer3DModel:
    """NOVA around a loaded base; the dense branch in the base's precision, its norms in float32."""
    from accelerate import init_empty_weights

    config = {key: value for key, value in dict(base.config).items() if not key.startswith("_")}
    with init_empty_weights():
        model = NovaTransformer3DModel(base_config=config, **dense)
    model.base = base
    layers = [int(layer) for layer in model.dense_branch]
    model.dense_branch = DenseBranch(base.config, layers, model.config.dense_injection).to(base.dtype)
    for name, parameter in model.dense_branch.named_parameters():
        if "norm_query" in name or "norm_dense" in name:  # as from_pretrained keeps them
            parameter.data = parameter.data.float()
    return model.eval()


def weights_fingerprint(base: nn.Module) -> str:
    """SHA-256 (16 hex digits) over the first 64 numbers of every tensor, as bfloat16: which weights a base has.

    The same for weights in bfloat16 and in float32, and by every road.

    Args:
        base: WanVACETransformer3DModel.
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(base.state_dict().items()):
        taste = tensor.detach().flatten()[:TASTE].to("cpu", torch.bfloat16)
        digest.update(name.encode() + taste.contiguous().view(torch.int16).numpy().tobytes())
    return digest.hexdigest()[:16]


def remembered_fingerprint(base: nn.Module) -> str | None:
    """The fingerprint that `load_base` took; later the weights may be sharded. None = this base came another way."""
    return base.__dict__.get(REMEMBERED)
