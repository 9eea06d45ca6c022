"""Editing: keyframes, the pipeline, and the commands `novakit keyframes` and `novakit edit`.

The names below load their module, and with it diffusers, when they are first used: editing keyframes needs neither.
"""

from importlib import import_module
from typing import Any

__all__ = ["NovaEditOutput", "NovaEditPipeline"]


def __getattr__(name: str) -> Any:
    """Load a public name when it is first used (PEP 562)."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("novakit.editing.pipeline"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
