"""Gradient checkpointing: a block keeps its inputs, and the backward pass runs it again.

`all_but_attention` runs all of it again but attention: at full size an attention to 32,760 keys is
two thirds of a block's arithmetic, and its result is one tensor of its 20 or so. Six GB more, a seventh less to
compute; the same numbers.

Source: torch's selective activation checkpointing; that attention is what pays is common knowledge (torchtitan).
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import CheckpointPolicy, checkpoint, create_selective_checkpoint_contexts

from novakit.errors import NovaError
from novakit.models.cost_products import KEPT_KEYS

_ATEN = torch.ops.aten
#: torch's fused attention kernels; another library's kernel is not known here and runs again.
KERNELS = {
    _ATEN._scaled_dot_product_flash_attention.default,
    _ATEN._scaled_dot_product_cudnn_attention.default,
    _ATEN._scaled_dot_product_efficient_attention.default,
    _ATEN._scaled_dot_product_flash_attention_for_cpu.default,
}


def all_but_attention(function: Callable, *inputs: Any, least: int = KEPT_KEYS) -> Any:
    """`function(*inputs)`, run again in the backward pass except for what attention gave.

    Args:
        function: a block, or a part of one.
        *inputs: its inputs.
        least: keys from which on a result is kept.
    """
    contexts = partial(create_selective_checkpoint_contexts, partial(_policy, least))
    return checkpoint(function, *inputs, use_reentrant=False, context_fn=contexts)


def _policy(least: int, _context: Any, operation: Any, *inputs: Any, **_options: Any) -> CheckpointPolicy:
    """Keep what a fused attention to many keys gave (inputs: query, key, value, each (B, heads, N, d))."""
    pays = operation in KERNELS and inputs[1].shape[-2] >= least
    return CheckpointPolicy.MUST_SAVE if pays else CheckpointPolicy.PREFER_RECOMPUTE


def checkpoint_gradients(module: nn.Module, keep_attention: bool = False) -> None:
    """Recompute activations in the backward pass.

    Args:
        module: a diffusers model, or one that checkpoints as they do.
        keep_attention: see `all_but_attention`.

    Raises:
        NovaError: this module cannot.
    """
    if not hasattr(module, "enable_gradient_checkpointing"):
        raise NovaError(f"{type(module).__name__} cannot checkpoint gradients; set it to False.")
    module.enable_gradient_checkpointing(all_but_attention if keep_attention else None)
