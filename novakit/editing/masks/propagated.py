"""What carrying a mask over a clip gives, and the checks of what it starts from. Source: ours."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import Tensor

from novakit.editing.inputs import notice
from novakit.editing.masks.store import PackedMasks
from novakit.errors import NovaError


@dataclass(frozen=True)
class PropagatedMask:
    """A mask for many frames, and how far to trust each."""

    index: int  # the frame it was drawn on
    masks: Mapping[int, Tensor]  # frame index -> (1, H, W) float32 in {0, 1}; kept packed, a few KB a frame
    confidence: Mapping[int, float]  # frame index -> 0..1; 1 for the drawn frame
    cuts: tuple[int, ...] = ()  # frames behind (before `index`: ahead of) a cut to another scene


@dataclass
class MaskCollector:
    """Gathers masks frame by frame, keeps the wanted ones and says what went wrong on the way.

    Attributes:
        index: frame that the mask was drawn on.
        drawn: uint8 (H, W) in {0, 1}.
        wanted: frame indices to keep; None = all.
    """

    index: int
    drawn: np.ndarray
    wanted: frozenset[int] | None
    confidence: dict[int, float] = field(default_factory=dict)
    cuts: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.masks = PackedMasks(self.drawn.shape)
        self.put(self.index, self.drawn, 1.0)

    @property
    def first(self) -> int:
        """The first frame that has to be looked at."""
        return 0 if self.wanted is None else min(self.wanted | {self.index})

    @property
    def last(self) -> int | None:
        """The last frame that has to be looked at; None = to the end of the clip."""
        return None if self.wanted is None else max(self.wanted | {self.index})

    def put(self, t: int, mask: np.ndarray, confidence: float, cut: bool = False) -> None:
        """Take in the mask (H, W) of frame t."""
        if cut:
            self.cuts.append(t)
        if self.wanted is None or t in self.wanted:
            self.masks.put(t, mask)
            self.confidence[t] = confidence

    def check_length(self, num_frames: int) -> None:
        """Refuse a clip that ended before the drawn or the last wanted frame."""
        if num_frames == 0:
            raise NovaError("there are no frames to carry the mask over. Pass a clip, or a fresh generator of frames.")
        if num_frames <= self.index:
            raise NovaError(
                f"the mask was drawn on frame {self.index}, the clip has {num_frames} frames (0..{num_frames - 1}). "
                "Pass the index of the frame it was drawn on."
            )
        if self.last is not None and num_frames <= self.last:
            raise NovaError(
                f"frame {self.last} was wanted, the clip has {num_frames} frames (0..{num_frames - 1}). Leave it out."
            )

    def finish(self) -> PropagatedMask:
        """All of it, with a notice for every cut."""
        for cut in sorted(self.cuts):
            pair = (cut - 1, cut) if cut > self.index else (cut, cut + 1)
            notice(
                f"frames {pair[0]} and {pair[1]} show two scenes: a mask drawn on frame {self.index} cannot be "
                "followed across the cut (its confidence says so). Draw one for each scene, or cut the clip there."
            )
        confidence = dict(sorted(self.confidence.items()))
        return PropagatedMask(self.index, self.masks, confidence, tuple(sorted(self.cuts)))


def check_drawn_mask(mask: Any) -> np.ndarray:
    """The drawn mask as uint8 (H, W) in {0, 1}.

    Raises:
        NovaError: no tensor (1, H, W), values outside [0, 1], or nothing in it.
    """
    if not isinstance(mask, Tensor) or mask.ndim != 3 or mask.shape[0] != 1 or 0 in mask.shape:
        came = f"has shape {tuple(mask.shape)}" if isinstance(mask, Tensor) else f"is {type(mask).__name__}"
        raise NovaError(f"drawn mask {came}; wanted a tensor (1, H, W), 1 where content changes. Add or drop axes.")
    mask = mask.detach().float()
    if not mask.isfinite().all() or mask.min() < 0 or mask.max() > 1:
        raise NovaError("drawn mask has values outside 0..1 (or NaN); wanted 1 where content changes, else 0.")
    drawn = (mask[0] > 0.5).cpu().numpy().astype(np.uint8)
    if not drawn.any():
        raise NovaError("drawn mask is empty; wanted 1 where content changes. Draw it on the frame, or is it inverted?")
    return drawn


def check_indices(index: Any, wanted: Iterable[int] | None) -> frozenset[int] | None:
    """The wanted frame indices as a set, None for all.

    Raises:
        NovaError: something that is no frame index, or nothing wanted.
    """
    asked = None if wanted is None else list(wanted)
    for number in [index, *(asked or [])]:
        if isinstance(number, bool) or not isinstance(number, int | np.integer) or number < 0:
            raise NovaError(f"frame index {number!r} makes no sense; wanted whole numbers from 0.")
    if asked == []:
        raise NovaError("no frame is wanted; pass some indices, or wanted=None for all.")
    return None if asked is None else frozenset(int(number) for number in asked)
