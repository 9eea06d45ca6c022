"""A fingerprint of weights in memory: two pipelines with the same one edit alike. Source: ours."""

from __future__ import annotations

import hashlib

import torch
from torch import nn


def fingerprint(*modules: nn.Module) -> str:
    """SHA-256 over all weights and buffers, names and numbers, as 16 hex digits.

    Weights are compared in float32, so that the same file has one fingerprint on every device.
    """
    digest = hashlib.sha256()
    for module in modules:
        for name, tensor in sorted(module.state_dict().items()):
            digest.update(name.encode())
            digest.update(tensor.detach().to("cpu", torch.float32).contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]
