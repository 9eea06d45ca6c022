"""A folder of `save_pretrained`, checked before diffusers reads it: every file, every key, every number.

diffusers itself goes on when keys are unknown or tensors are left over; here that is an error. Source: ours.
"""

from collections.abc import Collection
from pathlib import Path

from novakit.errors import NovaError
from novakit.models.weights_files import (
    check_finite,
    compare_shapes,
    expected_shapes,
    read_json,
    read_shapes,
    read_tensors,
    weight_files,
)
from novakit.presets import PRESETS

PARTS = ("model_index.json", "scheduler/scheduler_config.json", "vae/config.json", "transformer/config.json")
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


def _check_index(path: Path, parts: list[str]) -> None:
    """model_index.json must list every part with a class that this pipeline can work with, and a known preset."""
    index = read_json(path, REINSTALL)
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
    config, wanted = read_json(path, REINSTALL), read_json(folder / PARTS[0], REINSTALL)["scheduler"][1]
    if config.get("_class_name") != wanted:
        raise NovaError(f"{path} is for {config.get('_class_name')}; {PARTS[0]} names {wanted}. {REINSTALL}")
    if wanted.startswith("UniPC") and not config.get("use_flow_sigmas"):
        raise NovaError(f"{path} has no flow sigmas; NOVA is a flow model. Set use_flow_sigmas to true there.")


def _check_weights(folder: Path) -> None:
    """Refuse weights that are missing, cut off, of another config, or hold NaN."""
    from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan

    from novakit.models.nova_transformer import NovaTransformer3DModel

    files = weight_files(folder, REINSTALL)
    kind = AutoencoderKLWan if folder.name == "vae" else NovaTransformer3DModel
    config = folder / "config.json"
    expected = expected_shapes(kind, read_json(config, REINSTALL), config, REINSTALL)
    compare_shapes(expected, read_shapes(files, REINSTALL), files[0], REINSTALL)
    check_finite(read_tensors(files), files[0], REINSTALL)
