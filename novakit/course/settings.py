"""``--set name=value``: what an instructor changes in a batch, checked before anything runs.

papermill itself only warns of an unknown name and never looks at a type. Source: ours.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from novakit.errors import NovaError


@dataclass(frozen=True)
class Setting:
    """One ``--set``.

    Attributes:
        name: the parameter.
        value: int, float, bool, None, a literal, or text.
        number: the only notebook meant, e.g. "06"; None means every notebook of the run.
    """

    name: str
    value: Any
    number: str | None = None


def parse_settings(texts: Iterable[str]) -> list[Setting]:
    """Read ``name=value`` or, for one notebook, ``06.name=value``.

    Raises:
        NovaError: the text has no ``=`` or no proper name.
    """
    return [_parse(text) for text in texts]


def _parse(text: str) -> Setting:
    name, equals, value = text.partition("=")
    number, dot, rest = name.strip().partition(".")
    if dot:
        name = rest
    name = name.strip()
    if not equals or not name.isidentifier() or (dot and not number.isdigit()):
        raise NovaError(f"--set {text}: wanted name=value, or 06.name=value for one notebook.")
    return Setting(name, _value(value), number.zfill(2) if dot else None)


def _value(text: str) -> Any:
    """Take a Python literal as what it is (also true/false as in YAML), anything else as text."""
    words = {"true": True, "false": False, "null": None}
    if text.lower() in words:
        return words[text.lower()]
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def values_for(path: Path, defaults: Mapping[str, Any], settings: Iterable[Setting]) -> dict[str, Any]:
    """Return the parameters to inject into one notebook.

    Args:
        path: the notebook, for its number and for messages.
        defaults: its own parameters with their defaults.
        settings: what the user asked for.

    Raises:
        NovaError: a name that this notebook has not, or a value of another type than the default's.
    """
    chosen = {}
    for setting in settings:
        if setting.number not in (None, path.name[:2]):
            continue
        if setting.name not in defaults:
            raise NovaError(
                f"--set {setting.name}: {path.name} has no such parameter; it has "
                f"{', '.join(defaults) or 'none'}. For one notebook write 06.name=value, or use --only."
            )
        chosen[setting.name] = _same_type(path, setting, defaults[setting.name])
    return chosen


def _same_type(path: Path, setting: Setting, default: Any) -> Any:
    wanted, came = type(default), type(setting.value)
    if default is None or default is ... or setting.value is None or wanted is came:
        return setting.value
    if wanted is float and came is int:
        return float(setting.value)
    if wanted is str:
        return str(setting.value)
    raise NovaError(
        f"--set {setting.name}={setting.value}: {path.name} wants {wanted.__name__}, as in its default "
        f"{default!r}; {came.__name__} came."
    )
