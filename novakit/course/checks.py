"""Exercise checks: what was expected beside what was obtained, and a message that helps.

An exercise that nobody has solved yet prints ``not solved yet`` and never raises, so that a batch
runs through. Source: ours (expected beside obtained as in udlbook, messages as in d2l's check_shape).
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from typing import Any

import numpy

UNSOLVED = "not solved yet"
CORRECT = "correct"
WRONG = "not right yet"


class NotSolved(Exception):
    """Raised by an exercise's stub in place of a result."""


@dataclass(frozen=True)
class Band:
    """A range to fall into, for numbers that differ a little from machine to machine.

    Attributes:
        low: smallest accepted value.
        high: largest accepted value.
    """

    low: float = -math.inf
    high: float = math.inf

    def __str__(self) -> str:
        if math.isinf(self.high):
            return f"at least {self.low:g}"
        return f"at most {self.high:g}" if math.isinf(self.low) else f"between {self.low:g} and {self.high:g}"


@dataclass(frozen=True)
class CheckResult:
    """What a check found.

    Attributes:
        name: the exercise.
        status: "correct", "not right yet" or "not solved yet".
        message: the printed text.
    """

    name: str
    status: str
    message: str

    @property
    def solved(self) -> bool:
        """True when the check is passed."""
        return self.status == CORRECT

    def _ipython_display_(self) -> None:
        """Show nothing as a cell's last value: the check has printed its text."""


def check(name: str, obtained: Any, expected: Any, *, tolerance: float | None = None, hint: str = "") -> CheckResult:
    """Compare a student's result with the expected one and print both.

    Args:
        name: the exercise, e.g. "exercise 2: blend".
        obtained: the result; or a function without arguments that computes it, e.g.
            ``lambda: blend(x, y, mask)``. None, ``...``, `NotSolved` and NotImplementedError mean
            unsolved; another exception of that function is shown, not raised.
        expected: a value, tensor, text or `Band`. Text is compared without case and outer blanks.
        tolerance: largest accepted absolute difference of numbers; 1e-5 of the expected size when None.
        hint: printed when the result is wrong.

    Returns:
        The result; its ``solved`` says whether the check is passed.
    """
    trouble = None
    try:
        value = obtained() if callable(obtained) else obtained
    except (NotSolved, NotImplementedError):
        value = None
    except Exception as error:
        value, trouble = ..., f"your code raised {type(error).__name__}: {error}"
    if trouble is None and (value is None or value is ...):
        return _say(name, UNSOLVED, "")
    difference = trouble or compare(value, expected, tolerance)
    shown = [] if trouble else [f"expected {describe(expected)}", f"obtained {describe(value)}"]
    if difference is None:
        return _say(name, CORRECT, ", ".join(shown))
    return _say(name, WRONG, ", ".join([*shown, difference]) + (f". Hint: {hint}" if hint else ""))


def _say(name: str, status: str, rest: str) -> CheckResult:
    message = f"{name}: {status}" + (f" ({rest})" if rest else "")
    print(message)
    return CheckResult(name, status, message)


def compare(obtained: Any, expected: Any, tolerance: float | None = None) -> str | None:
    """Say how a result differs from the expected one; None when it does not.

    Args:
        obtained: the result.
        expected: what it should be, or a `Band`.
        tolerance: largest accepted absolute difference of numbers.
    """
    if isinstance(expected, Band):
        return _outside(obtained, expected)
    if isinstance(expected, str) and isinstance(obtained, str):
        return None if obtained.strip().lower() == expected.strip().lower() else "another answer was wanted"
    if isinstance(expected, bool):
        return _other_answer(obtained, expected)
    if _is_numeric(expected):
        return _numeric_difference(obtained, expected, tolerance)
    if isinstance(obtained, (list, tuple)) and isinstance(expected, (list, tuple)):
        return None if list(obtained) == list(expected) else "they differ"
    if type(obtained) is not type(expected):
        return f"{type(expected).__name__} was wanted, {type(obtained).__name__} came"
    return None if obtained == expected else "they differ"


def _other_answer(obtained: Any, expected: bool) -> str | None:
    """Compare yes or no; also numpy's and torch's single booleans."""
    answer = obtained.item() if getattr(obtained, "shape", None) == () else obtained
    if not isinstance(answer, bool):
        return f"True or False was wanted, {type(obtained).__name__} came"
    return None if answer == expected else "the other answer was wanted"


def _outside(obtained: Any, band: Band) -> str | None:
    try:
        value = float(obtained)
    except (TypeError, ValueError):
        return f"a number was wanted, {type(obtained).__name__} came"
    return None if band.low <= value <= band.high else f"wanted {band}"


def _numeric_difference(obtained: Any, expected: Any, tolerance: float | None) -> str | None:
    if not _is_numeric(obtained):
        return f"numbers were wanted, {type(obtained).__name__} came"
    came, wanted = _array(obtained), _array(expected)
    if came.shape != wanted.shape:
        return f"the shapes differ: {tuple(came.shape)} came, {tuple(wanted.shape)} was wanted"
    if came.size == 0:
        return None
    limit = tolerance if tolerance is not None else 1e-5 * max(1.0, _largest_finite(wanted))
    with numpy.errstate(invalid="ignore"):  # equal infinities
        largest = float(numpy.where(came == wanted, 0.0, numpy.abs(came - wanted)).max())
    return None if largest <= limit else f"largest difference {largest:.3g}, accepted {limit:.3g}"


def _largest_finite(array: numpy.ndarray) -> float:
    return float(numpy.abs(array[numpy.isfinite(array)]).max(initial=0.0))


def _is_numeric(value: Any) -> bool:
    try:
        return _array(value).dtype.kind in "biufc"
    except (TypeError, ValueError, RuntimeError):
        return False


def _array(value: Any) -> numpy.ndarray:
    """Read numbers, nested lists, arrays and tensors (any device, any precision) as float64."""
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(value, torch.Tensor):
        value = value.detach().cpu().double().numpy()
    array = numpy.asarray(value)
    return array.astype(numpy.float64) if array.dtype.kind in "biuf" else array


def describe(value: Any) -> str:
    """Describe a value in a few words; an array by its shape, mean and range."""
    if isinstance(value, (str, bool)):
        return repr(value)
    if not isinstance(value, (int, float, tuple, Band)) and _is_numeric(value) and _array(value).ndim:
        array = _array(value)
        if array.size > 8:
            low, high = array.min(), array.max()
            return f"shape {tuple(array.shape)}, mean {array.mean():.4g}, range {low:.4g} to {high:.4g}"
        return str(numpy.round(array, 4).tolist())
    if _is_numeric(value) and _array(value).ndim == 0:
        return f"{_array(value).item():.4g}" if not isinstance(value, int) else str(value)
    return str(value)


def between(low: float, high: float) -> Band:
    """Accept what lies in [low, high]."""
    return Band(low=low, high=high)


def at_least(low: float) -> Band:
    """Accept low and what lies above."""
    return Band(low=low)


def at_most(high: float) -> Band:
    """Accept high and what lies below."""
    return Band(high=high)
