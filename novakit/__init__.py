"""novakit: the paper NOVA (Sparse Control, Dense Synthesis) to read, run, train and measure.

Nothing heavy is imported here: ``import novakit`` costs milliseconds, and the names below load
their module, and with it torch, when they are first used.

Source: ours.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

# public name -> the module that owns it
_EXPORTS = {
    "NovaError": "novakit.errors",
    "artefact": "novakit.paths",
    "choose_device": "novakit.device",
    "print_versions": "novakit.device",
    "read_clip": "novakit.video",
    "write_clip": "novakit.video",
    "show_clips": "novakit.show",
    "fingerprint": "novakit.show",
    "get_preset": "novakit.presets",
    "render_scenes": "novakit.scenes",
    "anchored_control": "novakit.degradation",
    "cut_and_paste": "novakit.degradation",
    "NovaTransformer3DModel": "novakit.models",
    "NovaEditPipeline": "novakit.editing",
    "check": "novakit.course.checks",
}

__all__ = ["__version__", *_EXPORTS]


def __getattr__(name: str) -> Any:
    """Load a public name when it is first used (PEP 562)."""
    if name not in _EXPORTS:
        raise AttributeError(f"module 'novakit' has no attribute {name!r}")
    value = getattr(import_module(_EXPORTS[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_EXPORTS})
