"""The pipeline of a variant for a row of Table 1, loaded once. Source: ours."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from novakit.paths import build
from novakit.training.variants.train import FINISHED, load_variant


def trained_pipe(name: str, pipe: Any, kind: type) -> Any:
    """The pipeline with a variant's weights.

    Args:
        name: one of `novakit.training.variants.train.VARIANTS`.
        pipe: the shipped NovaEditPipeline; one that holds the variant already is returned as it is.
        kind: class of the variant's transformer.

    Raises:
        NovaError: the variant is not trained; names the command.
    """
    if isinstance(pipe.transformer, kind):
        return pipe
    marker = build() / "variants" / name / FINISHED
    return _loaded(name, pipe, str(marker), marker.stat().st_mtime_ns if marker.exists() else 0)


@lru_cache(maxsize=4)
def _loaded(name: str, pipe: Any, marker: str, written: int) -> Any:
    """Loaded anew when a training has ended since, or when the build folder is another one."""
    return load_variant(name, pipe=pipe)
