"""`LatentCache`: the clips that `novakit prepare` made, as the batches that training reads.

Every epoch shows each clip once, in an order drawn from (seed, epoch). Each time a clip comes by it takes another pair
of its sources and controls; a pair comes back only after all V x V were used.

When what is checked. At opening, before the first step: version, preset, size, encoder, that every shard is there with
the right size; and of a cache up to 4 GB every byte. A larger cache is not read twice: SHA-256 of each tensor is
checked whenever it is read (10 ms for the 12 MB of a clip), and `check_all` reads everything once, on demand. NaN and
constant latents were refused when they were made; the digest guards them from then on, and a row looks again.

Source: ours.
"""

from __future__ import annotations

import warnings
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from novakit.errors import NovaError, NovaNotice
from novakit.presets import get_preset
from novakit.training.nova_task import NovaBatch
from novakit.training.objective import step_generator
from novakit.training.preparation.encoding import context_of, load_encoder, unhealthy
from novakit.training.preparation.manifest import Settings, hash_of, read_manifest
from novakit.training.preparation.shards import DEEP_BYTES, faults, first_line

AGAIN = "run the same `novakit prepare` again: it makes what is missing"


class LatentCache:
    """A BatchSource over a prepared folder.

    Args:
        folder: what `novakit prepare --out` named.
        preset: what will be trained; a cache of another preset or encoder is refused. None = the cache's own preset.
        base: folder or hub id of the base whose VAE must have made the cache; None = the shipped VAE (nano), or no
            check of the encoder.
        allow_missing: so many damaged or missing clips are left out with a notice; one more is refused.

    Raises:
        NovaError: no finished cache, another version, preset or encoder, or damaged clips.
    """

    def __init__(
        self, folder: str | Path, *, preset: str | None = None, base: Any = None, allow_missing: int = 0
    ) -> None:
        self.folder = Path(folder)
        manifest = read_manifest(self.folder)
        self.settings = Settings(**manifest["settings"])
        _check_encoder(self.folder, self.settings, preset, base)
        self.items: list[dict[str, Any]] = manifest["items"]
        self._shards: dict[str, int] = manifest["shards"]
        self._constants = self._read_constants(manifest["constants"])
        self._leave_out(self._damage(), allow_missing)
        content = [self.settings, *((item["key"], sorted(item["sha256"].values())) for item in self.items)]
        self.fingerprint = sha256(repr(content).encode()).hexdigest()[:16]

    def __len__(self) -> int:
        return len(self.items)

    @property
    def text(self) -> Tensor | None:
        """The encoded empty prompt, (1, L, text_dim), or None where the preset reads no text."""
        return self._constants.get("text")

    def batch(self, step: int, size: int, seed: int) -> NovaBatch:
        """Batch `step` of `size` clips."""
        return self.rows(step, size, seed, range(size))

    def rows(self, step: int, size: int, seed: int, rows: range) -> NovaBatch:
        """Only the clips `rows` of batch `step`: no other is read.

        Raises:
            NovaError: a clip is not what was written, NaN or constant; its index is named.
        """
        parts = [self._read(*self._draw(step * size + row, seed)) for row in rows]
        target, source, control = (torch.stack(part).float() for part in zip(*parts))  # (B, Z, t, h, w)
        height = self.settings.height // target.shape[-2]  # pixels per latent
        return NovaBatch(target, source, context_of(self._constants["grey"].float(), control, height))

    def name(self, step: int, size: int, seed: int, row: int) -> str:
        """Which clip that is, for messages."""
        index, source, control = self._draw(step * size + row, seed)
        return f"{self.items[index]['name']} (clip {index}, source {source}, control {control})"

    def check_all(self) -> dict[int, str]:
        """Read everything; index -> what is wrong with that clip."""
        place = {item["key"]: index for index, item in enumerate(self.items)}
        groups: dict[str, list[dict[str, Any]]] = {}
        for item in self.items:
            groups.setdefault(item["shard"], []).append(item)
        found = [pair for shard, items in groups.items() for pair in faults(self.folder / "shards", shard, items)]
        return {place[key]: fault for key, fault in found}

    def _draw(self, number: int, seed: int) -> tuple[int, int, int]:
        """(index, source, control) of the clip that is shown as number `number` of the whole run."""
        epoch, place = divmod(number, len(self.items))
        index = _order(len(self.items), seed, epoch)[place]
        made = self.items[index]["sha256"]
        sources, controls = (sum(name.startswith(part) for name in made) for part in ("source.", "control."))
        pairs = _order(sources * controls, seed, epoch // (sources * controls), self.items[index]["key"])
        return index, *divmod(pairs[epoch % len(pairs)], controls)

    def _read(self, index: int, source: int, control: int) -> list[Tensor]:
        """Target, source and control latents of a clip, each (Z, t, h, w) float16, checked."""
        item = self.items[index]
        names = ("target", f"source.{source}", f"control.{control}")
        try:
            with safe_open(self.folder / "shards" / f"{item['shard']}.safetensors", framework="pt") as file:
                parts = [file.get_tensor(f"{item['key']}/{name}") for name in names]
        except (OSError, SafetensorError) as error:
            raise NovaError(self._sick(index, f"cannot be read ({first_line(error)})")) from None
        for name, part in zip(names, parts):
            fault = unhealthy(part) or ("not what was written" if hash_of(part) != item["sha256"][name] else None)
            if part.shape != self._constants["grey"].shape:
                fault = f"of shape {tuple(part.shape)}, not {tuple(self._constants['grey'].shape)}"
            if fault:
                raise NovaError(self._sick(index, f"has {name} latents that are {fault}"))
        return parts

    def _sick(self, index: int, fault: str) -> str:
        item = self.items[index]
        path = self.folder / "shards" / f"{item['shard']}.safetensors"
        return f"clip {index} of the cache {self.folder} ({item['name']}) {fault}. Delete {path}, {AGAIN}."

    def _read_constants(self, record: dict[str, Any]) -> dict[str, Tensor]:
        """What all clips share, checked."""
        path = self.folder / "shards" / f"{record['shard']}.safetensors"
        for _, fault in faults(path.parent, record["shard"], [record]):
            raise NovaError(f"what all clips of {self.folder} share is damaged: {fault}. Delete {path}, {AGAIN}.")
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(f"{record['key']}/{name}") for name in record["sha256"]}

    def _damage(self) -> dict[int, str]:
        """Index -> what is wrong with that clip, as far as opening looks."""
        bad = {}
        for name, size in self._shards.items():
            path = self.folder / "shards" / f"{name}.safetensors"
            if not path.is_file():
                bad[name] = f"shard {name} is missing"
            elif path.stat().st_size != size:
                bad[name] = f"shard {name} has {path.stat().st_size} bytes of {size}"
        found = self.check_all() if sum(self._shards.values()) <= DEEP_BYTES else {}
        return found | {i: bad[item["shard"]] for i, item in enumerate(self.items) if item["shard"] in bad}

    def _leave_out(self, damage: dict[int, str], allowed: int) -> None:
        """Drop damaged clips, or refuse them.

        Raises:
            NovaError: more than allowed, or none is left.
        """
        if damage:
            first = [f"clip {i} ({self.items[i]['name']}): {damage[i]}" for i in sorted(damage)[:3]]
            said = (
                f"{len(damage)} of {len(self.items)} clips of {self.folder} are damaged or missing: {'; '.join(first)}"
            )
            if len(damage) > allowed:
                way_out = f"or do without them: allow_missing={len(damage)} (--allow-missing)"
                raise NovaError(f"{said}. {AGAIN.capitalize()}; {way_out}.")
            warnings.warn(f"{said}. They are left out.", NovaNotice, stacklevel=3)
            self.items = [item for i, item in enumerate(self.items) if i not in damage]
        if not self.items:
            raise NovaError(
                f"the cache {self.folder} has no clips that are whole; at least one is wanted. {AGAIN.capitalize()}."
            )


def _check_encoder(folder: Path, settings: Settings, preset: str | None, base: Any) -> None:
    """Refuse a cache for another preset, or of another VAE than the preset's or the base's."""
    wanted = get_preset(preset or settings.preset)
    if wanted.name != settings.preset:
        raise NovaError(f"the cache {folder} is for {settings.preset}, not {wanted.name}. Prepare one for it.")
    shape = (settings.num_frames, settings.height, settings.width)
    known = [(wanted.num_frames, *size) for size in wanted.sizes]
    if shape not in known:
        raise NovaError(
            f"the cache {folder} has clips of (T, H, W) = {shape}; {wanted.name} wants "
            f"{' or '.join(map(str, known))}. Prepare the videos for it in another folder."
        )
    if base is None and wanted.weights != "shipped":
        return
    found = load_encoder(wanted, base, torch.device("cpu")).fingerprint
    if found != settings.encoder:
        raise NovaError(
            f"the cache {folder} was made by another VAE (fingerprint {settings.encoder}) than that of the base "
            f"({found}): its latents mean something else. Prepare it again with this base."
        )


@lru_cache(maxsize=64)
def _order(count: int, seed: int, turn: int, what: str = "") -> list[int]:
    """A permutation of 0 .. count-1 that depends on the arguments only."""
    return torch.randperm(count, generator=step_generator(seed, turn, f"cache/{what}")).tolist()
