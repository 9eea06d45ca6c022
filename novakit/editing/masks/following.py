"""From one frame to the next: the flow of the whole picture, a cut or not, and every part of the mask moved along.

Source: ours.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from novakit.editing.masks.flow import FlowPair, length, load_cv2, look_up, pixel_grid
from novakit.editing.masks.tracker import MaskTracker

MOST_PARTS = 6
"""A mask of more separate parts is followed as one piece."""
_NEAR = 0.02  # parts closer than this share of the picture's longer side belong together
_HOME = 1.5  # px: a round trip below this came home
_CUT = 0.2  # share of the picture that comes home, below which it is another scene


class FollowedMask(NamedTuple):
    """The mask in one frame."""

    mask: np.ndarray  # uint8 (h, w) in {0, 1}, of the drawn mask's size
    confidence: float  # 0..1
    cut: bool  # this frame shows another scene than the one before


class MaskFollower:
    """Follows a drawn mask through frames in order.

    Args:
        picture: uint8 (H, W), the drawn frame at working size.
        mask: uint8 (h, w) in {0, 1}, not empty.
    """

    def __init__(self, picture: np.ndarray, mask: np.ndarray) -> None:
        self._parts = [MaskTracker(picture, part) for part in split_parts(mask)]
        self._areas = np.array([float(part.weight.sum()) / part.step**-2 for part in self._parts])
        self._flow, self._grid, self._before = FlowPair(finest=1), pixel_grid(*picture.shape), picture

    def step(self, picture: np.ndarray) -> FollowedMask:
        """Go on to the next frame.

        Args:
            picture: uint8 (H, W), of the drawn frame's size.
        """
        flow, back = self._flow(self._before, picture)
        gap = length(flow + look_up(back, self._grid + flow))  # (H, W) px
        cut = bool((gap < _HOME).mean() < _CUT)
        self._before = picture
        for part in self._parts:
            part.advance(picture, None if cut else flow, 1.0 / (1.0 + gap**2))
        mask = np.maximum.reduce([part.draw() for part in self._parts])
        trust = np.average([part.confidence(picture) for part in self._parts], weights=self._areas)
        return FollowedMask(mask, float(trust), cut)


def split_parts(mask: np.ndarray) -> list[np.ndarray]:
    """The separate parts of a mask, each uint8 (h, w) in {0, 1}; neighbours and too many parts stay together.

    Two objects that are masked at once move on their own.
    """
    cv2 = load_cv2()
    reach = 2 * round(_NEAR * max(mask.shape) / 2) + 1
    count, labels = cv2.connectedComponents(cv2.dilate(mask, np.ones((reach, reach), np.uint8)))
    if not 2 <= count - 1 <= MOST_PARTS:
        return [mask]
    return [mask * (labels == label).astype(np.uint8) for label in range(1, count)]
