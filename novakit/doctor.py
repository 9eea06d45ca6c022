"""``novakit doctor``: what is installed, what it will run on, and which presets can run here.

Nothing is downloaded and no model is loaded. Source: ours.
"""

from __future__ import annotations

import platform
import shutil
import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from novakit.device import DeviceChoice, choose_device, installed_version
from novakit.paths import shipped_weights

_GB = 1e9
_NANO_MEMORY_GB = 1.5  # peak of a nano edit that the benchmark allows
_WAN_MEMORY_GB = 18  # reported for VACE-1.3B with offload at 81 frames 480x832 (Wan2.1 issue 399)

# package, versions, what happens; each was met, not imagined
_KNOWN_BAD = (
    ("torchcodec", ">=0.14", "a CUDA 13 build: importing it fails on a machine without CUDA"),
    ("pytest-notebook", "<1", "slows pytest and warns; give pytest `-p no:nb_regression`"),
    ("diffusers", "<0.36", "older than the Wan VACE classes that novakit builds on"),
    ("transformers", "<4.57", "older than what the tested diffusers expects"),
)


@dataclass(frozen=True)
class PresetReport:
    """Whether a preset runs here.

    Attributes:
        name: the preset's name.
        ready: it can run now.
        notes: what it will use, or what is missing and how to get it; one sentence each.
    """

    name: str
    ready: bool
    notes: tuple[str, ...]


def unmet_requirements() -> list[str]:
    """Compare what is installed with what novakit asks for; one line per disagreement."""
    from packaging.requirements import Requirement

    lines = []
    for text in metadata.requires("novakit") or ():
        wanted = Requirement(text)
        if wanted.marker and not wanted.marker.evaluate({"extra": ""}):
            continue
        found = installed_version(wanted.name)
        if found is None:
            lines.append(f"{wanted.name} is missing; novakit needs {wanted.specifier}. Run `pip install -e .`.")
        elif not wanted.specifier.contains(found, prereleases=True):
            lines.append(f"{wanted.name} {found} is installed; novakit needs {wanted.specifier}.")
    return lines


def known_bad_versions() -> list[str]:
    """Name installed packages that are known to break or disturb; one line each."""
    from packaging.specifiers import SpecifierSet

    lines = []
    for name, versions, trouble in _KNOWN_BAD:
        found = installed_version(name)
        if found and SpecifierSet(versions).contains(found, prereleases=True):
            lines.append(f"{name} {found}: {trouble}.")
    if installed_version("decord") is None and platform.machine() in ("x86_64", "AMD64"):
        lines.append("decord is missing: PyAV decodes, with the same frames.")
    return lines


def check_nano() -> PresetReport:
    """Report on the preset nano: weights in the package, memory for one edit."""
    import psutil

    weights = sorted((shipped_weights() / "nano").rglob("*.safetensors"))
    absent = {"vae", "transformer"} - {file.parent.name for file in weights}
    size = sum(file.stat().st_size for file in weights) / 1e6
    free = psutil.virtual_memory().available / _GB
    notes = [f"weights in the package: {len(weights)} files, {size:.1f} MB"]
    if absent:
        names = ", ".join(sorted(absent))
        notes = [f"missing: the shipped weights of {names}. Install novakit from a complete clone"]
    if free < _NANO_MEMORY_GB:
        notes.append(f"missing: memory, {free:.1f} GB free of {_NANO_MEMORY_GB} GB wanted. Close other programs")
    return PresetReport("nano", not absent and free >= _NANO_MEMORY_GB, tuple(notes))


def check_wan(device: DeviceChoice) -> PresetReport:
    """Report on the preset wan-1.3b: CUDA, the base weights, the dense file.

    Args:
        device: the decision of `choose_device`.
    """
    from novakit.editing.loading import WAN_SIZES
    from novakit.models.weights import fetch_command
    from novakit.presets import get_preset

    missing, notes = [], []
    if not device.device.startswith("cuda"):
        missing.append("missing: a CUDA device. On a CPU use the preset nano")
    elif _cuda_memory_gb() < _WAN_MEMORY_GB:
        notes.append(f"GPU memory {_cuda_memory_gb():.0f} GB; about {_WAN_MEMORY_GB} GB were reported for this size")
    preset = get_preset("wan-1.3b")
    if _hub_folder(preset.weights) is None:
        missing.append(
            f"missing: the base weights {preset.weights} ({WAN_SIZES}; "
            f"{_free_disk_gb():.0f} GB free here). Run `{fetch_command(preset)}`"
        )
    notes.append(
        "the dense file (cross-attention, one safetensors file) is published by nobody; "
        "without one of your own training the pipeline is plain VACE and says so"
    )
    return PresetReport("wan-1.3b", not missing, (*missing, *notes))


def optional_parts() -> list[str]:
    """What only some users need, there or how to get it: one line each."""
    from novakit.editing.masks.sam_weights import SAM_ABOUT, SAM_MODEL, fetch_command

    opencv = installed_version("opencv-python-headless") or installed_version("opencv-python")
    flow = f"OpenCV {opencv}" if opencv else "missing: OpenCV. Run `pip install 'novakit[flow]'`"
    sam = f"{SAM_MODEL} is in the hub's cache"
    if _hub_folder(SAM_MODEL, "config.json") is None:
        sam = f"missing: {SAM_MODEL} ({SAM_ABOUT}). Run `{fetch_command()}`"
    return [f"a drawn mask carried along by optical flow: {flow}", f"the same by SAM 2: {sam}"]


def _torch_without_cuda() -> str:
    """Tell a machine without a GPU from a torch that could not use one."""
    import torch

    return "" if torch.version.cuda else " (this torch is built without CUDA)"


def _cuda_memory_gb() -> float:
    import torch

    return torch.cuda.get_device_properties(0).total_memory / _GB


def _free_disk_gb() -> float:
    return shutil.disk_usage(Path.home()).free / _GB


def _hub_folder(hub_id: str, file: str = "transformer/config.json") -> Path | None:
    """Find a downloaded model (or a local folder of that name) by one of its files, without asking the network."""
    if Path(hub_id).is_dir():
        return Path(hub_id)
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(hub_id, file)
    return Path(found.removesuffix(file)) if isinstance(found, str) else None


def print_report() -> None:
    """Print the whole report."""
    device = choose_device()
    print(f"Python {platform.python_version()} ({sys.prefix}), {platform.platform()}")
    for name in (
        "novakit",
        "torch",
        "diffusers",
        "transformers",
        "kornia",
        "av",
        "decord",
        "papermill",
        "nbval",
    ):
        print(f"  {name:<13}{installed_version(name) or 'not installed'}")
    print(f"device: {device}{_torch_without_cuda()}")
    for report in (check_nano(), check_wan(device)):
        print(f"preset {report.name}: {'can run here' if report.ready else 'cannot run here'}")
        print("\n".join(f"  - {note}" for note in report.notes))
    print("optional:")
    print("\n".join(f"  - {line}" for line in optional_parts()))
    troubles = [*unmet_requirements(), *known_bad_versions()]
    print("versions: " + ("no known trouble" if not troubles else ""))
    print("\n".join(f"  - {line}" for line in troubles), end="\n" if troubles else "")
