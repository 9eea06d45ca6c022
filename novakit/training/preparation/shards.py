"""Shards: several clips in one safetensors file, whole or absent, with the records of its clips beside it.

A record names each tensor's SHA-256, so a reader can check exactly what it reads. A clip is done when a record of it
lies beside a shard of the right size: a killed run loses at most the clips of one shard per process, and no manifest
has to be locked while many processes write. Names come from the clips' keys, never from file names.

Source: ours.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from novakit.errors import NovaError
from novakit.files import atomic_path, atomic_write_json, size_text
from novakit.training.preparation.manifest import hash_of, read_json

SHARD_BYTES = 2**28  # a shard is closed above this size: 7 clips at 832x480x81
DEEP_BYTES = 2**32  # up to this size all contents of a cache are checked when it is opened (seconds)
SPARE = 1.2  # free disk space wanted before encoding, in units of what will be written


class DiskError(NovaError):
    """A shard could not be written."""


@dataclass(frozen=True)
class Shard:
    """A shard that was written."""

    name: str  # without suffix
    bytes: int
    items: list[dict[str, Any]]  # records: key, sha256 {tensor: digest}, variants


class ShardWriter:
    """Collects clips and writes them as shards.

    Args:
        folder: the cache's shards/.
        limit: bytes after which a shard is written.
    """

    def __init__(self, folder: Path, limit: int = SHARD_BYTES) -> None:
        self.folder, self.limit = folder, limit
        self._tensors: dict[str, Tensor] = {}
        self._items: list[dict[str, Any]] = []

    def add(self, key: str, tensors: dict[str, Tensor], about: dict[str, Any]) -> None:
        """Take a clip in.

        Raises:
            DiskError: the shard that it completes cannot be written.
        """
        self._tensors |= {f"{key}/{name}": tensor for name, tensor in tensors.items()}
        self._items.append({"key": key, **about, "sha256": {name: hash_of(part) for name, part in tensors.items()}})
        if sum(tensor.nbytes for tensor in self._tensors.values()) >= self.limit:
            self.flush()

    def flush(self) -> None:
        """Write what is there, the shard first and its records after it."""
        if not self._items:
            return
        name = sha256("".join(item["key"] for item in self._items).encode()).hexdigest()[:16]
        path = self.folder / f"{name}.safetensors"
        try:
            with atomic_path(path) as partial:
                save_file(self._tensors, partial)
            atomic_write_json(path.with_suffix(".json"), {"bytes": path.stat().st_size, "items": self._items})
        except (OSError, SafetensorError, NovaError) as error:
            size = sum(tensor.nbytes for tensor in self._tensors.values())
            raise DiskError(
                f"{path} ({size_text(size)}) could not be written: {error}. What was finished is safe: free disk "
                "space, then run the same command again."
            ) from error
        self._tensors, self._items = {}, []


def records(folder: Path) -> dict[str, dict[str, Any]]:
    """The records of all clips that are done, by key, each with its `shard` and that file's `bytes`."""
    found = [(shard, item) for shard in find_shards(folder) for item in shard.items]
    return {item["key"]: {**item, "shard": shard.name, "bytes": shard.bytes} for shard, item in found}


def find_shards(folder: Path) -> Iterator[Shard]:
    """All shards that are there with their records and have the size that these promise."""
    for path in sorted(folder.glob("*.json")):
        with suppress(NovaError, KeyError, FileNotFoundError):
            data = read_json(path)
            if path.with_suffix(".safetensors").stat().st_size == data["bytes"]:
                yield Shard(path.stem, data["bytes"], data["items"])


def tidy(folder: Path) -> list[str]:
    """Delete what a killed run or a damaged disk left: shards without records, records without (whole) shards.

    Contents are checked too while the cache is small.

    Returns:
        Names of deleted shards.
    """
    good = {shard.name: shard for shard in find_shards(folder)}
    if sum(shard.bytes for shard in good.values()) <= DEEP_BYTES:
        good = {name: shard for name, shard in good.items() if not any(faults(folder, name, shard.items))}
    doomed = [path for path in folder.iterdir() if path.name.startswith(".") or path.stem not in good]
    for path in doomed:
        path.unlink(missing_ok=True)
    return sorted({path.stem for path in doomed if not path.name.startswith(".")})


def faults(folder: Path, shard: str, items: list[dict[str, Any]]) -> Iterator[tuple[str, str]]:
    """(key, fault) of every clip of a shard whose tensors are not those that its record promises."""
    try:
        opened = safe_open(folder / f"{shard}.safetensors", framework="pt")
    except (OSError, SafetensorError) as error:
        yield from ((item["key"], f"shard {shard} cannot be read ({first_line(error)})") for item in items)
        return
    with opened as file:
        for item in items:
            if fault := _fault(file, item):
                yield item["key"], f"{fault} in shard {shard}"


def _fault(file: Any, item: dict[str, Any]) -> str | None:
    for name, digest in item["sha256"].items():
        try:
            if hash_of(file.get_tensor(f"{item['key']}/{name}")) != digest:
                return f"{name} is not what was written"
        except (SafetensorError, ValueError):
            return f"{name} is missing"
    return None


def check_space(folder: Path, wanted: int) -> None:
    """Refuse to begin what the disk cannot hold.

    Raises:
        NovaError: names both sizes.
    """
    free = shutil.disk_usage(folder).free
    if free < SPARE * wanted:
        raise NovaError(
            f"{folder} has {size_text(free)} free; the clips still to encode take {size_text(wanted)} "
            f"(x {SPARE} to be safe). Free space, choose another folder, or use fewer --variants."
        )


def first_line(error: Exception) -> str:
    """The first line of an error, short."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:120]
