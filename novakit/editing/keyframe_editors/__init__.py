"""Keyframe editors: edit one frame, with or without the first edited keyframe as reference (eq. 5). Source: ours.

    nano     paints offline, with the faults of real editors as parameters
    poster   the same in flat steps and ink, for swapping the editor
    hand     frames that a person edited, from a folder
    flux     FLUX.1 Kontext through diffusers
    qwen     Qwen-Image-Edit through diffusers

The names below load their module when they are first used.
"""

from __future__ import annotations

import inspect
from importlib import import_module
from typing import Any

from novakit.errors import NovaError

_HERE = "novakit.editing.keyframe_editors"
# public name -> the module that owns it
_EXPORTS = {
    "EditedKeyframe": "protocol",
    "KeyframeEditor": "protocol",
    "NanoEditor": "nano",
    "Faults": "nano_faults",
    "HandEditor": "hand",
    "FluxKontextEditor": "flux",
    "QwenImageEditEditor": "qwen",
}
# name on the command line -> class, options that come with the name
_EDITORS: dict[str, tuple[str, dict[str, Any]]] = {
    "nano": ("NanoEditor", {}),
    "poster": ("NanoEditor", {"style": "poster"}),
    "hand": ("HandEditor", {}),
    "flux": ("FluxKontextEditor", {}),
    "qwen": ("QwenImageEditEditor", {}),
}
EDITOR_NAMES = tuple(_EDITORS)

__all__ = ["EDITOR_NAMES", "make_editor", *_EXPORTS]


def make_editor(name: str, **options: Any) -> Any:
    """A keyframe editor by name.

    Args:
        name: one of EDITOR_NAMES.
        **options: as the editor's class takes them, e.g. edit="remove" for nano, folder=... for hand.

    Raises:
        NovaError: unknown name, an option that this editor does not have, or one that it lacks.
    """
    if name not in _EDITORS:
        raise NovaError(f"editor {name!r} is unknown; choose from {', '.join(EDITOR_NAMES)}.")
    kind, fixed = _EDITORS[name]
    build = __getattr__(kind)
    known = [option for option in inspect.signature(build).parameters if option not in fixed]
    unknown = [option for option in options if option not in known]
    if unknown:
        raise NovaError(f"editor {name} has no option {unknown[0]!r}; it takes {', '.join(known)}.")
    try:
        inspect.signature(build).bind(**options, **fixed)
    except TypeError as error:
        raise NovaError(f"editor {name}: {error}. It takes {', '.join(known)}.") from None
    return build(**options, **fixed)


def __getattr__(name: str) -> Any:
    """Load a public name when it is first used (PEP 562)."""
    if name not in _EXPORTS:
        raise AttributeError(f"module {_HERE!r} has no attribute {name!r}")
    value = getattr(import_module(f"{_HERE}.{_EXPORTS[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_EXPORTS})
