"""FSDP2: every process keeps a slice of each weight and gathers a block only while that block runs.

A sharded weight is a DTensor. Checkpoints never hold slices: they are gathered to whole tensors and cut again
on the way back, so a run may go on with another number of processes, or without sharding at all.

Source: torch's `fully_shard`; the settings are accelerate's FSDP plugin's. accelerate itself shards on
accelerators only, so the call is made here: the same code then runs on CPU processes, where it is tested.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn


def shard_model(model: nn.Module, accelerator: Any) -> nn.Module:
    """Shard a model in place, one unit per block (`_no_split_modules`); its parameters become DTensors.

    Args:
        model: a diffusers model; what learns must have one dtype within a block.
        accelerator: accelerate's Accelerator; the settings of its FSDP plugin are used when it has one.

    Returns:
        The same model.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method

    # torch warns of in-place changes of a block's output; there are none here
    warnings.filterwarnings("ignore", message="FSDP2-wrapped module .* returned a view tensor")
    mesh = init_device_mesh(accelerator.device.type, (accelerator.num_processes,))
    options = {"mesh": mesh, **_plugin_options(accelerator)}
    names = set(model._no_split_modules)
    for module in [module for module in model.modules() if type(module).__name__ in names]:
        fully_shard(module, **options)
        if hasattr(module, "project"):  # the dense branch projects keys and values outside `forward`
            register_fsdp_forward_method(module, "project")
    return fully_shard(model, **{key: value for key, value in options.items() if key != "reshard_after_forward"})


def _plugin_options(accelerator: Any) -> dict[str, Any]:
    """What accelerate's FSDP plugin says about resharding and offload."""
    from torch.distributed.fsdp import OffloadPolicy

    plugin = getattr(accelerator.state, "fsdp_plugin", None) if accelerator.distributed_type == "FSDP" else None
    if plugin is None:
        return {"reshard_after_forward": True}
    return {
        "reshard_after_forward": plugin.reshard_after_forward,
        "offload_policy": plugin.cpu_offload or OffloadPolicy(),
    }


@contextmanager
def without_exchange(model: nn.Module) -> Iterator[None]:
    """Gradients of the backward passes inside stay in each process (accumulation)."""
    model.set_requires_gradient_sync(False)
    try:
        yield
    finally:
        model.set_requires_gradient_sync(True)


def whole(tensor: Tensor) -> Tensor:
    """The full tensor behind a sharded one (every process must call it); any other tensor as it is."""
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor


def cut_like(value: Tensor, target: Tensor) -> Tensor:
    """`value` on the device of `target`, sharded as `target` is; 0-dimensional values are never sharded."""
    value = value.to(target.device)
    if not hasattr(target, "full_tensor") or value.shape != target.shape:
        return value
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(value, target.device_mesh, target.placements, src_data_rank=None)
