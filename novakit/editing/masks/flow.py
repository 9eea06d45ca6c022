"""Optical flow between two grey pictures by OpenCV's DIS, forwards and backwards, and how far the two agree.

    flow f: what is at x in the first picture is at x + f(x) in the second
    round trip: f(x) + g(x + f(x)), with g the flow back; 0 px where both are right

Source: ours; DIS is Kroeger et al., Fast Optical Flow using Dense Inverse Search (ECCV 2016), as OpenCV has it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from novakit.errors import NovaError


def load_cv2() -> Any:
    """OpenCV, an optional dependency.

    Raises:
        NovaError: it is not installed; names the extra and the command.
    """
    try:
        import cv2
    except (ImportError, OSError) as error:
        raise NovaError(
            f"OpenCV is missing ({error}); carrying a mask from frame to frame needs its optical flow. Install the "
            "extra: `pip install 'novakit[flow]'` (in a clone `pip install -c constraints.txt -e '.[flow]'`)."
        ) from error
    return cv2


class FlowPair:
    """DIS with the kit's settings.

    Args:
        finest: level of the image pyramid that is solved last; 0 is the full size, each level more takes a
            quarter of the time.
    """

    def __init__(self, finest: int) -> None:
        cv2 = load_cv2()
        self._dis = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
        self._dis.setFinestScale(finest)

    def __call__(self, first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Both flows.

        Args:
            first, second: uint8 (H, W), of one size.

        Returns:
            Flow of the first to the second, and of the second to the first: float32 (H, W, 2) in px, x then y.
        """
        first, second = np.ascontiguousarray(first), np.ascontiguousarray(second)
        return self._dis.calc(first, second, None), self._dis.calc(second, first, None)


def pixel_grid(height: int, width: int) -> np.ndarray:
    """Where every pixel is, float32 (H, W, 2) in px, x then y."""
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    return np.stack([x, y], axis=-1)


def look_up(picture: np.ndarray, places: np.ndarray) -> np.ndarray:
    """The picture (H, W) or (H, W, 2) at places (h, w, 2) in px, bilinear; outside, its nearest pixel."""
    cv2 = load_cv2()
    return cv2.remap(picture, places.astype(np.float32), None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def blur(picture: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian blur of (H, W) or (H, W, C), sigma in px."""
    return load_cv2().GaussianBlur(picture.astype(np.float32), (0, 0), sigma)


def length(arrows: np.ndarray) -> np.ndarray:
    """Length of every arrow, (H, W, 2) to (H, W)."""
    return np.hypot(arrows[..., 0], arrows[..., 1])
