"""Random draws from one generator, and the input checks that all degradations share."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from novakit.errors import NovaError


def check_generator(generator: torch.Generator) -> torch.Generator:
    """Return the generator, or say that one is needed.

    Raises:
        NovaError: anything else came; degradations never use torch's global random state.
    """
    if not isinstance(generator, torch.Generator):
        raise NovaError(
            f"generator is {type(generator).__name__}; degradations need a torch.Generator, so that a run "
            "can be repeated. Pass generator=torch.Generator().manual_seed(0)."
        )
    return generator


def uniform(generator: torch.Generator, shape: Sequence[int], low: float = 0.0, high: float = 1.0) -> Tensor:
    """Draw float32 numbers uniformly from [low, high) on the generator's own device.

    Parameters are drawn there and moved afterwards, so a CPU generator gives the same choices
    for CPU and CUDA clips.

    Args:
        generator: where the randomness comes from.
        shape: shape of the result.
        low, high: range of the numbers.

    Returns:
        Tensor of ``shape``.

    Source: ours.
    """
    drawn = torch.rand(tuple(shape), generator=generator, device=generator.device)
    return low + (high - low) * drawn


def integers(generator: torch.Generator, shape: Sequence[int], low: int, high: int) -> Tensor:
    """Draw whole numbers uniformly from low to high, both included, on the generator's device."""
    return torch.randint(low, high + 1, tuple(shape), generator=generator, device=generator.device)


def chance(generator: torch.Generator, shape: Sequence[int], probability: float) -> Tensor:
    """Draw booleans that are True with the given probability, on the generator's device."""
    return uniform(generator, shape) < probability


def check_clip(name: str, clip: Tensor) -> Tensor:
    """Return the clip if it is (B, 3, T, H, W) floating point.

    Raises:
        NovaError: not a tensor, not 5-D, not 3 channels, or whole numbers.
    """
    shape = tuple(clip.shape) if isinstance(clip, Tensor) else type(clip).__name__
    if not isinstance(clip, Tensor) or clip.ndim != 5 or clip.shape[1] != 3:
        raise NovaError(
            f"{name} is {shape}; a clip is a tensor (B, 3, T, H, W) in RGB. "
            "Add a batch dimension with clip[None], or bring the channels to place 1 with movedim."
        )
    if not clip.is_floating_point():
        raise NovaError(f"{name} holds {clip.dtype}; a clip is float in [-1, 1]. Use clip / 127.5 - 1.")
    if 0 in clip.shape:
        raise NovaError(f"{name} is {shape}, which has no pixels; every size must be at least 1.")
    return clip


def check_names(what: str, names: Sequence[str], known: Sequence[str]) -> None:
    """Raise NovaError, listing the known names, if a name is unknown or there is none at all."""
    if isinstance(names, str):
        raise NovaError(f"{what} is the text {names!r}; a tuple of names was wanted: ({names!r},).")
    unknown = [name for name in names if name not in known]
    if unknown or not names:
        raise NovaError(f"{what} holds {unknown or 'nothing'}; choose from: {', '.join(known)}.")


def check_range(what: str, pair: Sequence[float], low: float, high: float) -> None:
    """Raise NovaError unless ``pair`` is (a, b) with low <= a <= b <= high."""
    if len(tuple(pair)) != 2 or not low <= pair[0] <= pair[1] <= high:
        raise NovaError(f"{what} is {tuple(pair)}; wanted two numbers (a, b) with {low} <= a <= b <= {high}.")


def check_probabilities(config: object, names: Sequence[str]) -> None:
    """Raise NovaError unless each named field of a config lies in [0, 1]."""
    for name in names:
        value = getattr(config, name)
        if not 0.0 <= value <= 1.0:
            raise NovaError(f"{type(config).__name__}.{name} is {value}; a probability lies between 0 and 1.")
