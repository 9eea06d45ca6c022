"""Files of weights, checked before they are loaded: safetensors and JSON only, every key, every shape, every number.

Nothing is ever unpickled: a pickle runs code when it is read, so .pth, .bin, .pt and .ckpt are refused with the advice
which safetensors to use (ours; also under TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD, since torch.load is called nowhere).
"""

import inspect
import json
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

from torch import nn

from novakit.errors import NovaError

WEIGHTS = "diffusion_pytorch_model.safetensors"
PICKLES = (".pth", ".pt", ".bin", ".ckpt", ".pkl")
Shapes = dict[str, tuple[int, ...]]


def first_line(error: Exception) -> str:
    """The first line of an error's text, short enough for a message."""
    lines = str(error).strip().splitlines()
    return lines[0][:160] if lines else type(error).__name__


def refuse_pickle(path: Path, advice: str) -> None:
    """Refuse a file that could run code when it is read.

    Raises:
        NovaError: the name ends as those of pickles do.
    """
    if path.suffix.lower() in PICKLES:
        raise NovaError(f"{path} is a pickle, which may run code when read; novakit reads safetensors only. {advice}")


def read_json(path: Path, advice: str) -> dict[str, Any]:
    """The object in a JSON file.

    Raises:
        NovaError: missing, damaged, or something else than an object.
    """
    if not path.is_file():
        raise NovaError(f"weights are missing: {path} does not exist. {advice}")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise NovaError(f"{path} is corrupt ({error}). {advice}") from error
    if not isinstance(content, dict):
        raise NovaError(f"{path} is corrupt: it holds a {type(content).__name__}, wanted an object. {advice}")
    return content


def weight_files(folder: Path, advice: str, name: str = WEIGHTS) -> list[Path]:
    """The weights file of a folder, or the shards that its index lists; all exist and lie inside the folder.

    Raises:
        NovaError: a file is missing, only pickles are there, or the index is damaged.
    """
    files, index = [folder / name], folder / f"{name}.index.json"
    if index.is_file():
        shards = read_json(index, advice).get("weight_map")
        names = sorted(set(map(str, shards.values()))) if isinstance(shards, dict) else []
        if not names or any(Path(shard).name != shard for shard in names):
            raise NovaError(f"{index} is corrupt: it lists no weights of its own folder. {advice}")
        files = [folder / shard for shard in names]
    for path in files:
        if not path.is_file():
            for other in sorted(folder.glob(f"{Path(name).stem}*")):
                refuse_pickle(other, advice)
            raise NovaError(f"weights are missing: {path} does not exist. {advice}")
    return files


def read_shapes(files: Iterable[Path], advice: str) -> Shapes:
    """Name and shape of every tensor, from the files' headers alone.

    Raises:
        NovaError: a file is cut off or no safetensors.
    """
    from safetensors import safe_open

    shapes: Shapes = {}
    for path in files:
        try:
            with safe_open(str(path), framework="pt") as file:
                shapes |= {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
        except Exception as error:  # SafetensorError is not importable in all versions
            raise NovaError(f"{path} is corrupt ({first_line(error)}). {advice}") from error
    return shapes


def expected_shapes(kind: type[nn.Module], config: dict[str, Any], where: Path, advice: str) -> Shapes:
    """Name and shape of every tensor that a model of this config has; nothing is allocated.

    Raises:
        NovaError: unknown keys or impossible values.
    """
    from accelerate import init_empty_weights

    known = inspect.signature(kind.__init__).parameters
    unknown = sorted(key for key in config if not key.startswith("_") and key not in known)
    if unknown:
        raise NovaError(f"{where} does not describe a {kind.__name__}: unknown keys {unknown}. {advice}")
    try:
        with init_empty_weights():
            model = kind.from_config(config)
    except Exception as error:  # whatever a wrong value does inside diffusers
        raise NovaError(f"{where} does not describe a {kind.__name__} ({error}). {advice}") from error
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}


def compare_shapes(expected: Shapes, found: Shapes, where: Path, advice: str, ignored: Collection[str] = ()) -> None:
    """Refuse weights with a tensor too few, too many, or of another shape.

    Args:
        ignored: parts of names that may be left over, as the model's class says.

    Raises:
        NovaError: names the first tensor that differs.
    """
    names = expected.keys() | {name for name in found if not any(part in name for part in ignored)}
    wrong = sorted(name for name in names if expected.get(name) != found.get(name))
    if wrong:
        name = wrong[0]
        wanted = expected.get(name, "nothing of that name")
        raise NovaError(
            f"{where} belongs to another config: {len(wrong)} of {len(expected)} tensors differ, "
            f"e.g. {name} is {found.get(name, 'missing')}, wanted {wanted}. {advice}"
        )


def check_finite(tensors: Iterable[tuple[str, Any]], where: Path, advice: str) -> None:
    """Refuse weights that hold NaN or infinity.

    Args:
        tensors: (name, tensor), one in memory at a time if the caller reads them so.

    Raises:
        NovaError: names the first such tensor.
    """
    for name, tensor in tensors:
        if not tensor.isfinite().all():
            raise NovaError(f"{where} is corrupt: NaN or infinite values in {name}. {advice}")


def read_tensors(files: Iterable[Path]):
    """(name, tensor) of every tensor, one in memory at a time; the files have been checked."""
    from safetensors import safe_open

    for path in files:
        with safe_open(str(path), framework="pt") as file:
            for name in file.keys():  # noqa: SIM118
                yield name, file.get_tensor(name)
