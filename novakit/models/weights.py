"""The dense branch as one safetensors file, with the fingerprints of the base that it was trained on."""

import hashlib
import json
from pathlib import Path

import torch
from torch import nn

from novakit.errors import NovaError
from novakit.files import atomic_path
from novakit.models.nova_transformer import NovaTransformer3DModel
from novakit.models.weights_base import fetch_command, load_base, remembered_fingerprint, weights_fingerprint
from novakit.models.weights_files import check_finite, first_line, refuse_pickle

__all__ = ["fetch_command", "fingerprint_of", "load_base", "load_dense", "save_dense"]

FORMAT = "novakit-dense-1"
DENSE_OPTIONS = ("dense_layers", "dense_window", "dense_timestep", "dense_injection")


def fingerprint_of(base: nn.Module) -> str:
    """SHA-256 (16 hex digits) of the base's config: which base a dense file belongs to."""
    config = {key: value for key, value in dict(base.config).items() if not key.startswith("_")}
    return hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()[:16]


def save_dense(model: NovaTransformer3DModel, path: str | Path, dtype: torch.dtype | None = None) -> Path:
    """Write the dense branch as one safetensors file, atomically, with the fingerprint of its base.

    Args:
        model: the NOVA.
        path: file to write.
        dtype: precision on disk; None = as in memory.
    """
    from safetensors.torch import save_file

    tensors = {
        name: tensor.detach().to("cpu", dtype or tensor.dtype).contiguous()
        for name, tensor in model.dense_branch.state_dict().items()
    }
    options = {key: model.config[key] for key in DENSE_OPTIONS}
    about = {"format": FORMAT, "base": fingerprint_of(model.base), **options}
    if remembered_fingerprint(model.base):
        about["base_weights"] = remembered_fingerprint(model.base)
    metadata = {"novakit": json.dumps(about, sort_keys=True)}  # one entry: safetensors shuffles several
    with atomic_path(path) as temporary:
        save_file(tensors, str(temporary), metadata=metadata)
    return Path(path)


def load_dense(model: NovaTransformer3DModel, path: str | Path) -> NovaTransformer3DModel:
    """Read a file of `save_dense` into the model's dense branch; every key must be there.

    The model reads the source as the file was trained to: `dense_window` and `dense_timestep` become the file's. They
    shape no weight, so `register_to_config` may change them afterwards.

    Raises:
        NovaError: missing, corrupt, not a dense file, made for another base or with other dense options.
    """
    tensors, about = _read_dense(Path(path))
    if about.get("format") != FORMAT or not about.keys() >= set(DENSE_OPTIONS):
        raise NovaError(f"{path} is no dense branch of novakit (format {about.get('format')!r}). Pass one.")
    if about.get("base") != fingerprint_of(model.base):
        raise NovaError(
            f"{path} was trained on a base with the fingerprint {about.get('base')}; this base has "
            f"{fingerprint_of(model.base)}. Load the base of the same preset, or another dense file."
        )
    if "base_weights" in about and about["base_weights"] != weights_fingerprint(model.base):
        raise NovaError(
            f"{path} was trained on a base of this config with other weights than these. Load the base that "
            "it was trained on, or another dense file."
        )
    for key in ("dense_layers", "dense_injection"):  # without these the weights are others
        if _canonical(model, key, about.get(key)) != _canonical(model, key, model.config[key]):
            raise NovaError(
                f"{path} has {key}={about.get(key)}, the model {model.config[key]}. Build it with the former."
            )
    own = model.dense_branch.state_dict()
    wrong = sorted(
        set(own) ^ set(tensors) | {key for key in own.keys() & tensors.keys() if own[key].shape != tensors[key].shape}
    )
    if wrong:
        raise NovaError(f"{path} does not fit this dense branch; first keys that differ: {wrong[:3]}. Save it again.")
    check_finite(tensors.items(), Path(path), "Fetch or train it again.")
    model.dense_branch.load_state_dict(tensors)
    model.register_to_config(**{key: about[key] for key in ("dense_window", "dense_timestep")})
    return model


def _read_dense(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, object]]:
    """Tensors, and what `save_dense` noted about them."""
    from safetensors import safe_open

    if not path.is_file():
        raise NovaError(
            f"{path} does not exist; a dense file is what `save_dense` wrote after a training, and none is published. "
            "Check the path, or leave dense (--dense) out for plain VACE."
        )
    refuse_pickle(path, "A dense file is what `save_dense` wrote.")
    try:
        with safe_open(str(path), framework="pt") as file:
            about = json.loads((file.metadata() or {}).get("novakit", "{}"))
            return {key: file.get_tensor(key) for key in file.keys()}, about  # noqa: SIM118
    except Exception as error:  # SafetensorError is not importable in all versions
        raise NovaError(f"{path} is corrupt ({first_line(error)}). Fetch or train it again.") from error


def _canonical(model: NovaTransformer3DModel, key: str, value):
    """`dense_layers=None` and the list of all layers are the same thing."""
    if key == "dense_layers":
        return sorted(range(model.base.config.num_layers) if value is None else value)
    return value
