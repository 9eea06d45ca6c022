"""The suite "gpu": full size on one CUDA card, with random weights of the real shape. Source: ours.

Every measurement is short (minutes), its numbers are on disk before the next one starts, and a later call with the
same file skips what is there for this card, this commit and this code: so the suite can be run in pieces.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from novakit.errors import NovaError
from novakit.evaluation.benchmark import gpu_edit, gpu_measure
from novakit.evaluation.benchmark.gpu_offload import measure_offload
from novakit.evaluation.benchmark.gpu_setup import SCHEMES, Setup
from novakit.evaluation.benchmark.measuring import Target
from novakit.presets import get_preset

Numbers = dict[str, float]
TRAINED = ("official", "cached", "local", "vace")
"""In training "naive" and "cached" are one: every step has another source, so there is nothing to keep."""
KEPT = ("cached", "official", "local")
"""Trained once more without running attention again."""
COMPILED = ("official", "cached", "local", "vace")

TARGETS = {
    "ratio.forward.cached": Target("denoising forward, cached, against the official scheme", "x faster", 2.0, True),
    "ratio.forward.local": Target("the same, frame-local", "x faster", 2.7, True),
    "ratio.train.cached": Target("training step, full attention, against it", "x faster", 2.2, True),
    "ratio.train.local": Target("the same, frame-local", "x faster", 3.0, True),
    "forward.cached.mfu": Target("MFU of the forward, cached", "of matmul", 0.55, True),
    "train.cached.mfu": Target("MFU of the training step, full attention", "of matmul", 0.45, True),
    "kept.cached.mfu": Target("MFU of the training step, attention's results kept", "of matmul", 0.45, True),
    "kept.cached.memory_gb": Target("peak memory of that step, batch 1", "GB", 40.0),
    "edit.cached.memory_gb": Target("peak memory of an edit, cached", "GB", 24.0),
    "offload.group.memory_gb": Target("peak memory of an edit, offload=group, tiles, features kept", "GB", 12.0),
    "train.cached.memory_gb": Target("peak memory of a training step, batch 1", "GB", 40.0),
}


@dataclass
class Measurement:
    """One measurement of the suite: named, skipped when its numbers are known."""

    name: str  # prefix of its numbers
    suite: GpuSuite
    take: Callable[[Setup, Numbers], Numbers]
    fresh: bool = False  # measured every time: costs nothing

    def __call__(self) -> Numbers:
        """Its numbers with prefix; empty when they are known already."""
        known = self.suite.known
        if not self.fresh and any(key.startswith(f"{self.name}.") for key in known):
            print(f"  {self.name}: known for this card and code", flush=True)
            return {}
        found = {f"{self.name}.{key}": value for key, value in self._take().items()}
        known |= found
        if not self.fresh:
            print(f"  {self.name}: " + ", ".join(f"{key} {value:.4g}" for key, value in found.items()), flush=True)
        return found

    def _take(self) -> Numbers:
        """Measure, unless the card is too small by the count; running out of memory is a result too."""
        import torch

        kind, _, scheme = self.name.partition(".")
        needed = gpu_measure.counted_bytes(self.suite.setup, kind, scheme.partition(".")[0])
        if needed > self.suite.device_bytes():
            return {"too_large_gb": needed / 1e9}
        started = time.monotonic()
        try:
            found = self.take(self.suite.setup, self.suite.known)
        except torch.OutOfMemoryError:
            return {"out_of_memory": 1.0}
        return found | ({} if self.fresh else {"took_seconds": time.monotonic() - started})


class GpuSuite:
    """What `bench` needs of a suite, and the numbers known so far.

    Args:
        setup: preset and device; the defaults are the real suite.
    """

    targets = TARGETS

    def __init__(self, setup: Setup | None = None) -> None:
        self.setup = setup or Setup()
        self.known: Numbers = {}
        take = [("matmul", gpu_measure.measure_matmul), ("attention", gpu_measure.measure_attention)]
        forward, training = gpu_measure.measure_forward, gpu_measure.measure_training
        take += [(f"forward.{name}", partial(forward, name=name)) for name in SCHEMES]
        take += [(f"train.{name}", partial(training, name=name)) for name in TRAINED]
        kept = partial(training, keep_attention=True)
        take += [(f"kept.{name}", partial(kept, name=name)) for name in KEPT]
        take += [("edit.cached", partial(gpu_edit.measure_edit, name="cached"))]
        take += [("offload.group", partial(measure_offload, offload="group"))]
        take += [(f"compiled.{name}", partial(forward, name=name, compiled=True)) for name in COMPILED]
        take += [("source", gpu_measure.measure_source)]
        take += [(f"edit.{name}", partial(gpu_edit.measure_edit, name=name)) for name in SCHEMES if name != "cached"]
        take += [("offload.model", partial(measure_offload, offload="model"))]
        self.measurements = [Measurement(name, self, function) for name, function in take]
        self.measurements.append(Measurement("ratio", self, ratios, fresh=True))

    @property
    def device(self) -> str:
        """For `provenance`."""
        return self.setup.device

    def start(self, earlier: dict[str, Any]) -> Numbers:
        """Check the device and take over the numbers of an earlier report of the same card, commit and code.

        Args:
            earlier: the JSON that is there, or {}.

        Returns:
            The numbers taken over.

        Raises:
            NovaError: no CUDA device.
        """
        import torch

        if self.setup.device.startswith("cuda") and not torch.cuda.is_available():
            raise NovaError(
                "the suite gpu measures on a CUDA card, and no CUDA device was found. On a CPU run "
                "`novakit bench --suite scaling`; counted cost needs no card: novakit.training.full_size.plan, "
                "novakit.models.cost."
            )
        same = earlier.get("measured") == self.describe()["measured"]
        self.known = dict(earlier["numbers"]) if same else {}
        return self.known.copy()

    def describe(self) -> dict[str, Any]:
        """What the numbers belong to; they are kept as long as all of it is the same."""
        from novakit.provenance import provenance

        found = provenance(device=self.device)
        preset = get_preset(self.setup.preset)
        size = f"{preset.width}x{preset.height}x{preset.num_frames}"
        measured = {"card": found["hardware"]["device"], "commit": found["commit"], "code": code_digest()}
        return {"measured": measured | {"preset": preset.name, "size": size, "steps": self.setup.steps}}

    def device_bytes(self) -> float:
        """Memory of the device."""
        if not self.setup.device.startswith("cuda"):
            return float("inf")
        import torch

        return torch.cuda.get_device_properties(self.setup.device).total_memory


def ratios(_setup: Setup, known: Numbers) -> Numbers:
    """How many times faster than the official scheme each scheme is, in one run on one card."""
    found = {}
    for kind in ("forward", "train", "kept", "edit", "compiled"):
        official = known.get(f"{kind}.official.seconds")
        for name in SCHEMES:
            seconds = known.get(f"{kind}.{name}.seconds")
            if official and seconds and name != "official":
                found[f"{kind}.{name}"] = official / seconds
    return found


def code_digest() -> str:
    """A digest of the code that is measured, so that a changed file is measured anew whatever git says."""
    root = Path(__file__).parents[2]
    parts = [root / "models", root / "editing", root / "training", Path(__file__).parent]
    digest = hashlib.sha256()
    for path in sorted(path for part in parts for path in part.rglob("*.py")):
        digest.update(path.relative_to(root).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()[:12]


SUITE = GpuSuite()
