"""Where a recorded number comes from: hardware, versions, commit, date. Source: ours."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from novakit.device import choose_device, installed_version
from novakit.paths import ROOT

_PACKAGES = ("novakit", "torch", "diffusers", "numpy", "av", "decord", "papermill", "nbval")


def provenance(seed: int | None = None, device: str = "auto") -> dict[str, Any]:
    """Describe the machine and the software that produce a result.

    Args:
        seed: the result's seed, if it has one.
        device: where it was computed, as in `novakit.device.choose_device`.

    Returns:
        JSON-ready: ``date`` (UTC), ``commit``, ``seed``, ``hardware``, ``versions``.
    """
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _commit(),
        "seed": seed,
        "hardware": _hardware(device),
        "versions": {"python": platform.python_version()} | {name: installed_version(name) for name in _PACKAGES},
    }


def _hardware(device: str) -> dict[str, Any]:
    import psutil

    return {
        "cpu": _processor(),
        "cores": os.cpu_count(),
        "threads": os.environ.get("OMP_NUM_THREADS", "default"),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "device": str(choose_device(device)),
        "system": f"{platform.system()} {platform.machine()}",
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _commit() -> str | None:
    """Return the commit of the repository, with "+changes" if the tree differs from it."""
    commit = _git("rev-parse", "--short=12", "HEAD")
    return commit and commit + ("+changes" if _git("status", "--porcelain", "-uno") else "")


def _git(*words: str) -> str | None:
    if ROOT is None:
        return None
    try:
        done = subprocess.run(["git", "-C", str(ROOT), *words], capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() if done.returncode == 0 and done.stdout.strip() else None
