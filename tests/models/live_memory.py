"""Peak of live tensor memory while code runs, by watching every operation: for tensors without memory (FakeTensor)."""

import weakref

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter


class LiveMemory(TorchDispatchMode):
    """Sums the storages that are alive; `peak` in bytes.

    Args:
        *present: tensors that are there before the code runs.
    """

    def __init__(self, *present: torch.Tensor) -> None:
        super().__init__()
        self.sizes: dict[int, int] = {}
        self.now = self.peak = 0
        for tensor in present:
            self._see(tensor)
        self.peak = self.now

    def _see(self, tensor: torch.Tensor) -> None:
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key not in self.sizes:
            self.sizes[key] = storage.nbytes()
            self.now += storage.nbytes()
            weakref.finalize(storage, self._gone, key)

    def _gone(self, key: int) -> None:
        self.now -= self.sizes.pop(key)

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        made = function(*args, **(kwargs or {}))
        for tensor in tree_iter(made):
            if isinstance(tensor, torch.Tensor):
                self._see(tensor)
        self.peak = max(self.peak, self.now)
        return made


def in_half_precision(model: torch.nn.Module) -> torch.nn.Module:
    """bfloat16 weights but for what diffusers keeps in float32; weights that learn in float32. In place."""
    kept = set(model._keep_in_fp32_modules)
    for name, weight in model.named_parameters():
        if not kept & set(name.split(".")) and not weight.requires_grad:
            weight.data = weight.data.to(torch.bfloat16)
    return model
