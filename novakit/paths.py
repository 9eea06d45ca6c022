"""Where things lie: the same answers from any working directory, so that notebooks never hold a path.

papermill runs a notebook in the caller's folder, JupyterLab and nbval in the notebook's own; these
functions give the same folder in all of them. Source: ours.
"""

from __future__ import annotations

import os
from pathlib import Path

from novakit.errors import NovaError

_PACKAGE = Path(__file__).resolve().parent


def _repository() -> Path | None:
    """Return the folder above the package if it is novakit's repository."""
    project = _PACKAGE.parent / "pyproject.toml"
    try:
        is_ours = 'name = "novakit"' in project.read_text(encoding="utf-8")
    except OSError:
        return None
    return project.parent if is_ours else None


ROOT: Path | None = _repository()
"""The repository's root, or None when novakit is installed without it."""


def _in_repository(name: str) -> Path:
    if ROOT is None:
        raise NovaError(
            f"{name} was asked for, but this novakit is installed without its repository. "
            "Clone the repository and install it with `pip install -e .`."
        )
    return ROOT / name


def notebooks() -> Path:
    """Return the folder of the numbered notebooks.

    Raises:
        NovaError: novakit is installed without its repository.
    """
    return _in_repository("notebooks")


def data_samples() -> Path:
    """Return the folder of the ten small scenes, each with source, mask, keyframes and truth.

    Raises:
        NovaError: novakit is installed without its repository.
    """
    return _in_repository("data_samples")


def recorded() -> Path:
    """Return ``notebooks/recorded``, where all recorded results live (tables, curves, benchmarks).

    Raises:
        NovaError: novakit is installed without its repository.
    """
    return notebooks() / "recorded"


def shipped_weights() -> Path:
    """Return the weights inside the package; an installed novakit has them too."""
    return _PACKAGE / "weights"


def build() -> Path:
    """Return the folder for everything that a run produces.

    The environment variable NOVAKIT_BUILD names it; without that it is ``build/`` in the
    repository, or ``~/.cache/novakit`` where there is no repository.
    """
    chosen = os.environ.get("NOVAKIT_BUILD")
    if chosen:
        return Path(chosen).expanduser().resolve()
    return ROOT / "build" if ROOT else Path.home() / ".cache" / "novakit"


def artefact(name: str) -> Path:
    """Return the path of a file that one notebook hands on to the next; its folder is created.

    Args:
        name: a relative name such as ``"02_control.safetensors"``.

    Returns:
        ``build()/artefacts/name``. The file itself may or may not be there.

    Raises:
        NovaError: the name would leave the folder.
    """
    folder = (build() / "artefacts").resolve()
    path = (folder / name).resolve()
    if folder not in path.parents:
        raise NovaError(f"artefact name {name!r} leaves {folder}. Use a plain relative name.")
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def handed_on(name: str, otherwise: str | Path) -> Path:
    """Return what an earlier notebook produced, or the shipped file when it has not run.

    Args:
        name: the artefact's name, as given to `artefact`.
        otherwise: the file or folder to use instead.
    """
    produced = artefact(name)
    return produced if produced.exists() else Path(otherwise)
