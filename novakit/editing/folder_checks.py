"""A folder of `save_pretrained`, checked before diffusers reads it: every file, every key, every number.

diffusers itself goes on when keys are unknown or tensors are left over; here that is an error. Source: ours.
"""

import inspect
import json
from collections.abc import Collection
from pathlib import Path

from novakit.errors import NovaError
from novakit.presets import PRESETS

PARTS = ("model_index.json", "scheduler/scheduler_config.json", "vae/config.json", "transformer/config.json")
WEIGHTS = "diffusion_pytorch_model.safetensors"
CLASSES = {  # part -> (module, class) that model_index.json may name
    "vae": [["diffusers", "AutoencoderKLWan"]],
    "transformer": [["novakit.models.nova_transformer", "NovaTransformer3DModel"]],
    "scheduler": [["diffusers", "FlowMatchEulerDiscreteScheduler"], ["diffusers", "UniPCMultistepScheduler"]],
}
REINSTALL = (
    "Reinstall novakit if these are the shipped weights; write your own again with save_pretrained "
    "or `novakit pretrain --stage export`."
)


def check_folder(folder: Path, given: Collection[str] = ()) -> None:
    """Refuse a pipeline folder that would load wrongly.

    Args:
        folder: vae/, transformer/, scheduler/, model_index.json, as NovaEditPipeline.save_pretrained writes them.
        given: parts that are handed to from_pretrained instead and are not read from the folder.

    Raises:
        NovaError: a file is missing or corrupt; model_index.json lists other parts, classes or an unknown preset;
            a config has unknown keys; the weights are not those of their config, or hold NaN.
    """
    if not folder.is_dir():
        raise NovaError(f"weights are missing: the folder {folder} does not exist. {REINSTALL}")
    parts = [part for part in CLASSES if part not in given]
    _check_index(folder / PARTS[0], parts)
    if "scheduler" in parts:
        _check_scheduler(folder)
    for part in parts:
        if part != "scheduler":
            _check_weights(folder / part)


def _read_json(path: Path) -> dict:
    if not path.is_file():
        raise NovaError(f"weights are missing: {path} does not exist. {REINSTALL}")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise NovaError(f"{path} is corrupt ({error}). {REINSTALL}") from error
    if not isinstance(content, dict):
        raise NovaError(f"{path} is corrupt: it holds a {type(content).__name__}, wanted an object. {REINSTALL}")
    return content


def _check_index(path: Path, parts: list[str]) -> None:
    """model_index.json must list every part with a class that this pipeline can work with, and a known preset."""
    index = _read_json(path)
    for part in parts:
        if index.get(part) not in CLASSES[part]:
            wanted = " or ".join(name for _, name in CLASSES[part])
            raise NovaError(
                f"{path} lists {part} as {index.get(part, 'nothing')}; wanted {wanted}. A published base without "
                f"the dense branch goes through from_preset('wan-1.3b', base=FOLDER). {REINSTALL}"
            )
    preset = index.get("preset")
    if preset is not None and preset not in list(PRESETS):
        raise NovaError(f"{path} names the preset {preset!r}; known are {', '.join(PRESETS)}. Correct it there.")


def _check_scheduler(folder: Path) -> None:
    """The scheduler's config must be of the class that the index names, and of the flow-matching kind."""
    path = folder / PARTS[1]
    config, wanted = _read_json(path), _read_json(folder / PARTS[0])["scheduler"][1]
    if config.get("_class_name") != wanted:
        raise NovaError(f"{path} is for {config.get('_class_name')}; {PARTS[0]} names {wanted}. {REINSTALL}")
    if wanted.startswith("UniPC") and not config.get("use_flow_sigmas"):
        raise NovaError(f"{path} has no flow sigmas; NOVA is a flow model. Set use_flow_sigmas to true there.")


def _expected_shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    """Name and shape of every parameter that the folder's config asks for; nothing is allocated."""
    from accelerate import init_empty_weights
    from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan

    from novakit.models.nova_transformer import NovaTransformer3DModel

    path = folder / "config.json"
    config = _read_json(path)
    kind = AutoencoderKLWan if folder.name == "vae" else NovaTransformer3DModel
    known = inspect.signature(kind.__init__).parameters
    unknown = sorted(key for key in config if not key.startswith("_") and key not in known)
    if unknown:
        raise NovaError(f"{path} does not describe a {kind.__name__}: unknown keys {unknown}. {REINSTALL}")
    try:
        with init_empty_weights():
            model = kind.from_config(config)
    except Exception as error:  # whatever a wrong value does inside diffusers
        raise NovaError(f"{path} does not describe a {kind.__name__} ({error}). {REINSTALL}") from error
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}


def _check_weights(folder: Path) -> None:
    """Refuse weights that are missing, cut off, of another config, or hold NaN."""
    files = _weight_files(folder)
    expected, found, broken = _expected_shapes(folder), {}, []
    for path in files:
        shapes, bad = _read_shapes(path)
        found |= shapes
        broken += bad
    wrong = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
    if wrong:
        name = wrong[0]
        raise NovaError(
            f"{files[0]} belongs to another config: {len(wrong)} of {len(expected)} tensors differ, "
            f"e.g. {name} is {found.get(name, 'missing')}, wanted "
            f"{expected.get(name, 'nothing of that name')}. {REINSTALL}"
        )
    if broken:
        raise NovaError(f"{files[0]} is corrupt: NaN or infinite values in {broken[0]}. {REINSTALL}")


def _weight_files(folder: Path) -> list[Path]:
    """The weights file, or the shards that its index lists; all exist."""
    files, index = [folder / WEIGHTS], folder / f"{WEIGHTS}.index.json"
    if index.is_file():
        shards = _read_json(index).get("weight_map")
        if not isinstance(shards, dict) or not shards:
            raise NovaError(f"{index} is corrupt: it lists no weights. {REINSTALL}")
        files = [folder / str(name) for name in sorted(set(map(str, shards.values())))]
    for path in files:
        if not path.is_file():
            raise NovaError(f"weights are missing: {path} does not exist. {REINSTALL}")
    return files


def _read_shapes(path: Path) -> tuple[dict[str, tuple[int, ...]], list[str]]:
    """Shape of every tensor in a file, and the names of those with NaN or infinity; one tensor in memory at a time."""
    from safetensors import safe_open

    shapes, broken = {}, []
    try:
        with safe_open(str(path), framework="pt") as file:
            for name in file.keys():  # noqa: SIM118
                tensor = file.get_tensor(name)
                shapes[name] = tuple(tensor.shape)
                if not tensor.isfinite().all():
                    broken.append(name)
    except Exception as error:  # SafetensorError is not importable in all versions
        raise NovaError(f"{path} is corrupt ({error}). {REINSTALL}") from error
    return shapes, broken
