"""Records on disk: one small file for every row, seed and batch of scenes, so that a run can stop and go on.

    OUT/manifest.json                     what all records of this folder have in common
    OUT/records/ROW/seed0_scenes0-3.json  a list of records

The suites share the records of one folder: what Table 2 measured, the claims need not measure again. A folder of
another version, other weights, another encoder or other settings is refused, never mixed.

Source: ours.
"""

from __future__ import annotations

import json
from pathlib import Path

from novakit.errors import NovaError
from novakit.files import atomic_write_json, require_writable_folder

FORMAT = 1  # changes whenever records of before and after must not be mixed
MANIFEST = "manifest.json"


class Store:
    """The records of one results folder.

    Args:
        folder: made if it is missing.
        config: what must agree: version, weights, encoder, steps ...

    Raises:
        NovaError: the folder cannot be written, or its records were made otherwise; names what differs.
    """

    def __init__(self, folder: Path, config: dict) -> None:
        self.folder = require_writable_folder(folder)
        self.records = self.folder / "records"
        self.config = {"format": FORMAT, **config}
        self._variants = self._check_manifest()
        self._loaded = {(r["row"], r["scene"], r["seed"]): r for r in self._read_all()}

    def _check_manifest(self) -> dict[str, str]:
        path = self.folder / MANIFEST
        if not path.exists():
            if self.records.exists():
                raise NovaError(
                    f"{self.folder} holds records but no {MANIFEST}; nobody knows what made them. Use another."
                )
            atomic_write_json(path, {"config": self.config, "variants": {}})
            return {}
        known = _read_json(path)
        made = known.get("config", {}) if isinstance(known, dict) else {}
        differing = [key for key in {**made, **self.config} if made.get(key) != self.config.get(key)]
        if differing:
            told = "; ".join(f"{key}: {made.get(key)} there, {self.config.get(key)} here" for key in sorted(differing))
            raise NovaError(f"the results in {self.folder} were made otherwise ({told}). Choose another --out folder.")
        return dict(known.get("variants", {}))

    def _read_all(self) -> list[dict]:
        """All records; a later success stands above an earlier failure, whatever the files are called."""
        records = [record for path in sorted(self.records.glob("*/*.json")) for record in _read_json(path)]
        return sorted(records, key=lambda record: "error" not in record)

    def require_variant(self, name: str, fingerprint: str) -> None:
        """Remember the weights of a training variant, or refuse others than those that made the records.

        Raises:
            NovaError: the folder's records of this variant come from other weights.
        """
        if self._variants.setdefault(name, fingerprint) != fingerprint:
            raise NovaError(
                f"the records of variant {name!r} in {self.folder} were made with weights {self._variants[name]}; "
                f"those here are {fingerprint}. Choose another --out folder."
            )
        atomic_write_json(self.folder / MANIFEST, {"config": self.config, "variants": self._variants})

    def has(self, row: str, scene: int, seed: int) -> bool:
        """True when the record is there and no failure; failures are tried again."""
        record = self._loaded.get((row, scene, seed))
        return record is not None and "error" not in record

    def add(self, records: list[dict]) -> None:
        """Write the records of one row, seed and batch, all or none."""
        first, last = records[0], records[-1]
        name = f"seed{first['seed']}_scenes{first['scene']}-{last['scene']}_of{len(records)}.json"
        atomic_write_json(self.records / first["row"] / name, records)
        self._loaded |= {(r["row"], r["scene"], r["seed"]): r for r in records}

    def select(self, row: str, scenes: int, seeds: int) -> list[dict]:
        """The records of a row on the first scenes and seeds, failures included, in order."""
        chosen = [r for (name, *_), r in self._loaded.items() if name == row]
        chosen = [r for r in chosen if r["scene"] < scenes and r["seed"] < seeds]
        return sorted(chosen, key=lambda r: (r["seed"], r["scene"]))


def _read_json(path: Path):
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise NovaError(f"{path} cannot be read ({error}). Delete it; what it held is measured again.") from None
