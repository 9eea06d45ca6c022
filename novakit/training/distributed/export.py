"""A run's weights as the file that the pipeline reads (`novakit.models.weights.load_dense`).

Source: ours.
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

from torch import Tensor, nn

from novakit.errors import NovaError
from novakit.models.weights import save_dense

PREFIX = "dense_branch."


def write_dense(model: nn.Module, weights: dict[str, Tensor], path: Path) -> Path:
    """Write the dense branch's weights with the fingerprint of the model's base.

    The weights come from a checkpoint, not from the model: those may be newer, averaged, or sharded.

    Args:
        model: NovaTransformer3DModel, for its configuration.
        weights: "dense_branch.…" -> tensor.
        path: file to write, atomically.

    Raises:
        NovaError: the disk refuses the write.
    """
    tensors = {name.removeprefix(PREFIX): value for name, value in weights.items() if name.startswith(PREFIX)}
    branch = SimpleNamespace(state_dict=lambda: tensors)
    try:
        return save_dense(SimpleNamespace(dense_branch=branch, config=model.config, base=model.base), path)
    except NovaError:
        raise
    except Exception as error:  # OSError or SafetensorError
        raise NovaError(f"{path} could not be written ({error}); free disk space, then resume.") from error
