"""Finished windows of a long edit on disk, so that a run that broke off goes on where it stopped.

A window is kept as its latents, in a file named by a hash of all that it was made from: the source's frames, the
control, the noise, the steps and the weights. So a rerun with other inputs or settings takes what is still true
and computes the rest; nothing needs to be compared or believed. Source: ours.
"""

from __future__ import annotations

import hashlib
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from novakit import __version__
from novakit.editing.inputs import notice
from novakit.files import atomic_write_bytes

_NAME = re.compile(r"[0-9]{6}_[0-9a-f]{20}\.safetensors")
SAMPLED = 64  # values of each weight tensor that go into the hash of a model


class WindowStore:
    """The finished windows of one edit, in the folder `OUT.work`; it is made with the first one.

    Args:
        out: the file that is being made.
    """

    def __init__(self, out: Path) -> None:
        self.folder = out.with_name(f"{out.name}.work")
        self.used = 0  # windows that were taken from the folder
        self.written = 0

    def get(self, start: int, key: str) -> Tensor | None:
        """Latents of the window that starts at frame `start` and was made from `key`, or None."""
        try:
            latents = load_file(self._file(start, key))["latents"]
        except (OSError, SafetensorError, KeyError):
            return None
        if not self.used:
            notice(f"finished windows of an earlier run lie in {self.folder}; those that still fit are used again.")
        self.used += 1
        return latents

    def put(self, start: int, key: str, latents: Tensor) -> None:
        """Keep the latents of a window.

        Raises:
            NovaError: no room on the disk, or no right to write there.
        """
        atomic_write_bytes(self._file(start, key), save({"latents": latents.cpu().contiguous()}))
        self.written += 1

    def clear(self) -> None:
        """Remove all windows, and the folder if nothing else is in it."""
        with suppress(OSError):
            for file in self.folder.iterdir():
                if _NAME.fullmatch(file.name):
                    file.unlink()
            self.folder.rmdir()

    def __str__(self) -> str:
        """What a run that breaks off leaves behind."""
        count = self.used + self.written
        if not count:
            return ""
        return f" {count} finished windows are kept in {self.folder}: the same command goes on from there."

    def _file(self, start: int, key: str) -> Path:
        return self.folder / f"{start:06d}_{key[:20]}.safetensors"


def window_key(*parts: Any) -> str:
    """SHA-256 of tensors and plain values: equal exactly when they are."""
    digest = hashlib.sha256(__version__.encode())
    for part in parts:
        if isinstance(part, Tensor):
            digest.update(f"{tuple(part.shape)} {part.dtype}".encode())
            digest.update(part.detach().cpu().contiguous().view(torch.uint8).numpy())
        else:
            digest.update(repr(part).encode())
    return digest.hexdigest()


def weights_key(*models: nn.Module) -> str:
    """A hash of models by a sample of every weight tensor: quick at any size, another after any training."""
    samples = []
    for model in models:
        for name, weight in model.state_dict().items():
            flat = weight.flatten()
            samples += [name, flat[:: max(1, flat.numel() // SAMPLED)].float()]
    return window_key(*samples)
