"""What a training run must remember to continue exactly, taken from and put back into live objects."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from novakit.errors import NovaError
from novakit.training.distributed.sharding import cut_like, whole
from novakit.training.ema import trainable_parameters


@dataclass
class TrainingState:
    """Everything in a checkpoint: tensors by name, and plain JSON values in `scalars`."""

    step: int  # updates done
    weights: dict[str, Tensor]  # the weights that learn, and the buffers that move with them
    ema: dict[str, Tensor]  # their average; empty when EMA is off
    optimizer: dict[str, Tensor]  # "<parameter>/exp_avg", "<parameter>/exp_avg_sq", "<parameter>/step"
    rng: dict[str, Tensor]  # torch's random states
    scalars: dict[str, Any] = field(default_factory=dict)  # config, best, python's and numpy's random states


def capture_state(
    step: int,
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    shadow: dict[str, Tensor],
    scalars: dict[str, Any],
    keep: bool = True,
) -> TrainingState:
    """A snapshot of a run, on the CPU: training may go on while it is written.

    Args:
        step: updates done.
        module, optimizer: what is trained, and how.
        shadow: averaged weights; empty when EMA is off.
        scalars: JSON values to remember; the plain random states are added.
        keep: see `capture_weights`.
    """
    tensors, plain = capture_rng()
    return TrainingState(
        step=step,
        weights=capture_weights(module, keep),
        ema=cpu_copies(shadow, keep),
        optimizer=capture_optimizer(module, optimizer, keep),
        rng=tensors,
        scalars={**scalars, "rng": plain},
    )


def restore_state(
    state: TrainingState, module: nn.Module, optimizer: torch.optim.Optimizer, shadow: dict[str, Tensor]
) -> None:
    """Put a snapshot back into live objects; see the functions below for what is refused."""
    restore_weights(module, state.weights)
    restore_ema(shadow, state.ema)
    restore_optimizer(module, optimizer, state.optimizer)
    restore_rng(state.rng, state.scalars["rng"])


def capture_weights(module: nn.Module, keep: bool = True) -> dict[str, Tensor]:
    """Copies (on the CPU) of the parameters that learn and of the buffers beside them (batch norm).

    Args:
        module: what is trained.
        keep: False = take part in gathering sharded weights, but return nothing (all processes but the main one).
    """
    tensors: dict[str, Tensor] = dict(trainable_parameters(module))
    for prefix, part in module.named_modules():
        if any(weight.requires_grad for weight in part.parameters(recurse=False)):
            for name, buffer in part.named_buffers(recurse=False):
                if name not in part._non_persistent_buffers_set:
                    tensors[f"{prefix}.{name}".lstrip(".")] = buffer
    return cpu_copies(tensors, keep)


def cpu_copies(tensors: dict[str, Tensor], keep: bool = True) -> dict[str, Tensor]:
    """Detached, whole, contiguous copies on the CPU, safe to write while training goes on; `keep` as above."""
    copies = {}
    for name, value in tensors.items():
        value = whole(value.detach())
        if keep:
            copies[name] = value.cpu().clone().contiguous()
    return copies


def restore_weights(module: nn.Module, weights: dict[str, Tensor]) -> None:
    """Copy stored weights into the module; every weight that learns must be there.

    Raises:
        NovaError: a weight is missing, unknown or of another shape; the first such name is given.
    """
    for name in capture_weights(module):
        if name not in weights:
            raise NovaError(f"the checkpoint has no weight {name!r}; resume with the model that made it.")
    copy_into(module, weights, "the checkpoint")


@torch.no_grad()
def copy_into(module: nn.Module, weights: dict[str, Tensor], origin: str) -> None:
    """Copy weights by name into a module; all are checked before the first is copied."""
    own = dict(module.named_parameters()) | dict(module.named_buffers())
    for name, value in weights.items():
        if name not in own or own[name].shape != value.shape:
            found = list(own[name].shape) if name in own else "no such weight"
            raise NovaError(
                f"{origin} has {name!r} with shape {list(value.shape)}, the model has {found}; "
                "use the model configuration that the weights were trained in."
            )
    for name, value in weights.items():
        own[name].copy_(cut_like(value, own[name]))


def load_trained(module: nn.Module, path: str | Path) -> nn.Module:
    """Copy a run's `best.safetensors` or `last.safetensors` into a module; its other weights stay.

    Args:
        module: the model the weights were trained in.
        path: the file.

    Returns:
        The module.

    Raises:
        NovaError: the file is missing or damaged, or a weight is unknown or of another shape.
    """
    try:
        weights = load_file(path)
    except Exception as error:
        raise NovaError(f"cannot read weights from {path} ({error}); check the path.") from error
    copy_into(module, weights, str(path))
    return module


def frozen_fingerprint(module: nn.Module) -> str:
    """Short hash of names, shapes and 16 values of every frozen parameter: tells one base from another."""
    digest = sha256()
    for name, weight in module.named_parameters():
        if not weight.requires_grad:
            places = torch.linspace(0, weight.numel() - 1, 16, dtype=torch.float64).long().to(weight.device)
            values = weight.detach().flatten()[places].float().cpu()
            digest.update(f"{name}{list(weight.shape)}".encode() + values.numpy().tobytes())
    return digest.hexdigest()[:16]


def capture_optimizer(module: nn.Module, optimizer: torch.optim.Optimizer, keep: bool = True) -> dict[str, Tensor]:
    """The optimiser's tensors under "<parameter name>/<slot>"; `keep` as in `capture_weights`."""
    slots = {}
    for name, weight in trainable_parameters(module).items():
        for slot, value in optimizer.state.get(weight, {}).items():
            slots[f"{name}/{slot}"] = torch.as_tensor(value)
    return cpu_copies(slots, keep)


def restore_optimizer(module: nn.Module, optimizer: torch.optim.Optimizer, slots: dict[str, Tensor]) -> None:
    """Put the tensors of `capture_optimizer` back, on each weight's device."""
    weights = trainable_parameters(module)
    optimizer.state.clear()
    for key, value in slots.items():
        name, slot = key.rsplit("/", 1)
        if name not in weights:
            raise NovaError(f"the checkpoint's optimiser knows {name!r}, which this model does not learn.")
        optimizer.state[weights[name]][slot] = cut_like(value.clone(), weights[name])


def restore_ema(shadow: dict[str, Tensor], saved: dict[str, Tensor]) -> None:
    """Copy the stored average into the live one (both empty when EMA is off)."""
    for name in shadow:
        if name not in saved:
            raise NovaError(f"the checkpoint has no average of {name!r}; resume with the same ema setting.")
        shadow[name].copy_(cut_like(saved[name], shadow[name]))


def capture_rng() -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The global random states: (torch CPU and CUDA as tensors, python and numpy as JSON values)."""
    tensors = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        tensors |= {f"cuda{i}": state for i, state in enumerate(torch.cuda.get_rng_state_all())}
    name, keys, position, has_gauss, gauss = np.random.get_state()
    return tensors, {
        "python": random.getstate(),
        "numpy": [name, keys.tolist(), position, has_gauss, gauss],
    }


def restore_rng(tensors: dict[str, Tensor], plain: dict[str, Any]) -> None:
    """Set the global random states of torch, python and numpy to what `capture_rng` returned."""
    torch.set_rng_state(tensors["cpu"])
    for index in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        if f"cuda{index}" in tensors:
            torch.cuda.set_rng_state(tensors[f"cuda{index}"], index)
    version, numbers, gauss = plain["python"]
    random.setstate((version, tuple(numbers), gauss))
    name, keys, position, has_gauss, cached = plain["numpy"]
    np.random.set_state((name, np.array(keys, dtype=np.uint32), position, has_gauss, cached))


def seed_everything(seed: int) -> None:
    """Seed torch, python and numpy alike."""
    torch.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed % 2**32)


@contextmanager
def preserved_rng() -> Iterator[None]:
    """Whatever is drawn inside the context leaves the global random states as they were."""
    states = capture_rng()
    try:
        yield
    finally:
        restore_rng(*states)
