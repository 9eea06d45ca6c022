"""One explicit decision for device and precision, always with its reason. Source: ours."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from functools import cached_property
from importlib import metadata
from typing import TYPE_CHECKING

from novakit.errors import NovaError

if TYPE_CHECKING:
    import torch

_SHOWN_VERSIONS = ("novakit", "torch", "diffusers", "numpy")


@dataclass(frozen=True)
class DeviceChoice:
    """Where a computation runs, how precisely, and why.

    Attributes:
        device: a torch device name, "cpu" or "cuda".
        precision: name of the torch dtype, "float32" or "bfloat16".
        reason: why this device, in words.
    """

    device: str
    precision: str
    reason: str

    @cached_property
    def dtype(self) -> torch.dtype:
        """The precision as a torch dtype."""
        import torch

        return getattr(torch, self.precision)

    def __str__(self) -> str:
        return f"{self.device.split(':')[0].upper()}: {self.reason}; {self.precision}"


def choose_device(wanted: str = "auto") -> DeviceChoice:
    """Choose device and precision.

    CUDA if there is one, else the CPU. bfloat16 where the hardware multiplies it, else float32:
    float16 overflows in Wan's text encoder, and CPUs emulate half precision slowly.

    Args:
        wanted: "auto", "cpu", "cuda" or "cuda:N".

    Returns:
        The decision with its reason.

    Raises:
        NovaError: an unknown device, or CUDA asked for where there is none.
    """
    kind = wanted.partition(":")[0]
    if kind not in ("auto", "cpu", "cuda"):
        raise NovaError(f"device {wanted!r} is unknown; wanted auto, cpu or cuda. Use auto to let novakit choose.")
    if kind == "cpu":
        return DeviceChoice("cpu", "float32", "asked for")
    import torch

    if torch.cuda.is_available():
        return _cuda_choice("cuda" if kind == "auto" else wanted)
    if kind == "cuda":
        raise NovaError(f"device {wanted!r} was asked for, but no CUDA device was found. Use device=cpu or auto.")
    return DeviceChoice("cpu", "float32", "no CUDA device found")


def _cuda_choice(device: str) -> DeviceChoice:
    import torch

    count = torch.cuda.device_count()
    index = device.partition(":")[2] or "0"
    if not index.isdigit() or int(index) >= count:
        raise NovaError(f"device {device!r} was asked for; this machine has cuda:0 to cuda:{count - 1}.")
    major, minor = torch.cuda.get_device_capability(int(index))
    name = f"{torch.cuda.get_device_name(int(index))}, compute capability {major}.{minor}"
    if major >= 8:
        return DeviceChoice(device, "bfloat16", f"{name}, bfloat16 in hardware")
    return DeviceChoice(device, "float32", f"{name}, no bfloat16 in hardware")


def installed_version(package: str) -> str | None:
    """Return the installed version of a package without importing it, or None."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def version_line(device: str = "auto") -> str:
    """Return the line that every notebook prints first: versions, device, precision and the reason.

    Args:
        device: as in `choose_device`.
    """
    versions = [f"{name} {installed_version(name) or 'missing'}" for name in _SHOWN_VERSIONS]
    return " · ".join([*versions, f"Python {platform.python_version()}", str(choose_device(device))])


def print_versions(device: str = "auto") -> DeviceChoice:
    """Print the version line and return the device decision.

    Args:
        device: as in `choose_device`.
    """
    print(version_line(device))
    return choose_device(device)
