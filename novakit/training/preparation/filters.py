"""Which candidates are worth training on: each filter gives a reason against one, or None.

Source: ours; the paper says only that 5,000 clips of 81 frames at 832x480 were used.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields

import numpy as np

from novakit.errors import NovaError
from novakit.training.preparation.cutting import Candidate
from novakit.video import Geometry

Size = tuple[int, int]


@dataclass(frozen=True)
class Limits:
    """Thresholds; a candidate beyond one of them is dropped."""

    num_frames: int  # T, frames that a clip must have
    size: Size  # (H, W) that it is cropped and scaled to
    enlarge: float = 1.0  # greatest scale up; 1 = a source smaller than the clip is dropped
    cut_away: float = 0.3  # greatest share of the picture that the crop may lose (4:3 loses 0.23, portrait 0.68)
    motion: float = 0.5  # least mean change of a pixel from frame to frame, grey levels (a slow pan has 1, a walk 5)
    contrast: float = 6.0  # least standard deviation within frames, grey levels; below: black, a fade, fog
    alike: int = 16  # of the 192 bits of two looks: as many or fewer that differ make near-duplicates


NAMES = tuple(field.name for field in fields(Limits) if field.name not in ("num_frames", "size"))  # what may be changed


def read_limits(words: Iterable[str]) -> dict[str, float]:
    """Changes of Limits from the command line's "name=value".

    Raises:
        NovaError: a word of another form, or a threshold that does not exist.
    """
    changes = {}
    for word in words:
        name, _, value = word.partition("=")
        try:
            changes[name.strip()] = float(value)
            if math.isnan(changes[name.strip()]):
                raise ValueError
        except ValueError:
            raise NovaError(f"limit {word!r} is not of the form name=number, e.g. motion=1.0.") from None
    if unknown := sorted(set(changes) - set(NAMES)):
        raise NovaError(f"there is no limit {', '.join(unknown)}; the limits are {', '.join(NAMES)}.")
    return changes


def too_short(candidate: Candidate, limits: Limits) -> str | None:
    """A scene with fewer frames than a clip is never padded."""
    if candidate.frames >= limits.num_frames:
        return None
    return f"too short: the scene has {candidate.frames} frames of {limits.num_frames}"


def too_small(candidate: Candidate, limits: Limits) -> str | None:
    """A small picture would be enlarged, and the model would learn blur."""
    box = Geometry.between(candidate.size, limits.size, "crop").box
    scale = limits.size[0] / box[2]
    if scale <= limits.enlarge * 1.01:  # a pixel of rounding
        return None
    height, width = candidate.size
    return f"too small: {width}x{height} would be enlarged {scale:.2f} times to {limits.size[1]}x{limits.size[0]}"


def wrong_shape(candidate: Candidate, limits: Limits) -> str | None:
    """A portrait in a landscape cache would lose most of its picture."""
    height, width = candidate.size
    box = Geometry.between(candidate.size, limits.size, "crop").box
    lost = 1 - box[2] * box[3] / (height * width)
    return None if lost <= limits.cut_away else f"wrong shape: the crop of {width}x{height} would lose {lost:.0%}"


def still(candidate: Candidate, limits: Limits) -> str | None:
    """Nothing moves: the control sequence alone would give the clip away."""
    if candidate.motion >= limits.motion:
        return None
    return f"static: pixels change by {candidate.motion:.2f} grey levels a frame, {limits.motion:g} wanted"


def flat(candidate: Candidate, limits: Limits) -> str | None:
    """Black or nearly uniform frames; their latents are constant."""
    if candidate.contrast >= limits.contrast:
        return None
    return f"flat: contrast {candidate.contrast:.1f} grey levels, {limits.contrast:g} wanted"


FILTERS: tuple[Callable[[Candidate, Limits], str | None], ...] = (too_short, wrong_shape, too_small, flat, still)


def reason_against(candidate: Candidate, limits: Limits) -> str | None:
    """The first filter's reason, or None."""
    return next((reason for check in FILTERS if (reason := check(candidate, limits))), None)


class Looks:
    """What was kept so far, to find near-duplicates: 192 bits each, compared with all at once."""

    def __init__(self) -> None:
        self._names: list[str] = []
        self._bits = np.zeros((16, 3), dtype=np.uint64)  # grown by doubling

    def twin(self, look: str, most: int) -> str | None:
        """The name of a kept clip whose look differs in at most `most` bits."""
        differing = np.bitwise_count(self._bits[: len(self._names)] ^ _words(look)).sum(1)
        near = np.flatnonzero(differing <= most)
        return self._names[near[0]] if len(near) else None

    def add(self, name: str, look: str) -> None:
        """Remember a clip."""
        if len(self._names) == len(self._bits):
            self._bits = np.concatenate([self._bits, np.zeros_like(self._bits)])
        self._bits[len(self._names)] = _words(look)
        self._names.append(name)


def _words(look: str) -> np.ndarray:
    return np.frombuffer(bytes.fromhex(look), dtype=np.uint64)
