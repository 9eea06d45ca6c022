"""One object followed from the frame it was drawn on: where each of its pixels is now.

    follow   p_t(x) = p_{t-1}(x) + M(flow from frame t-1 to frame t at p_{t-1}(x))   small steps; alone they drift
    correct  p_t(x) <- p_t(x + M(flow from the drawn frame to frame t as seen at p_t))   against the drawn frame

with x a pixel of the drawn object, p_t(x) its place in frame t, and M the affine motion of `layer`; in the second
line also the bend, where it explains the picture clearly better.

    confidence = share of the drawn pixels x, those on structure counting more than those on one colour, that
                 1. lie inside frame t,
                 2. look alike: structural similarity (SSIM without its brightness part) above 0.5, and
                 3. are in the right place: the flow from the drawn frame to frame t and back comes home and differs
                    from M by little, or, where flow says nothing, the grey values agree

Little is 5 % of the object's size; for 2 and 3 both pictures are blurred by as much, so that fur and folds may change.
Source: ours.
"""

from __future__ import annotations

import numpy as np

from novakit.editing.masks.flow import FlowPair, blur, length, load_cv2, look_up, pixel_grid
from novakit.editing.masks.layer import affine_motion, bent_motion

_TEMPLATE = (96, 192)  # px of the longer side of the drawn object's picture, at least and at most
_MARGIN = 0.3  # around the object; like two below as a share of the side of a square as large as it
_RIM = 12  # px that places are continued beyond the template
_BEND = 0.1  # sigma of the bend
_NEAR = 0.05  # how far from home, and how blurred, still counts as the same
_SLOPE = 0.5  # share of their distance by which a bend may move two places closer
_BEND_GAIN = 0.85  # the bend is taken only if it lowers the error to this share
_SAME = 8.0  # grey levels: a pixel that differs by less is right, whatever the flow of a flat colour says
_ALIKE = 0.5  # structural similarity above this looks alike
_WINDOW = 3.0  # px, sigma of the window of that similarity
_CLIPPED = 40.0  # grey levels (of 255): a difference above counts as this much


class MaskTracker:
    """Follows one mask through frames that come one after another.

    Args:
        picture: uint8 (H, W), the drawn frame.
        mask: uint8 (h, w) in {0, 1}, the drawn mask at the clip's own size; not empty.
    """

    def __init__(self, picture: np.ndarray, mask: np.ndarray) -> None:
        cv2 = load_cv2()
        self.size, self.mask_size = picture.shape, mask.shape
        self.ratio = np.array([picture.shape[1] / mask.shape[1], picture.shape[0] / mask.shape[0]], np.float32)
        self.outlines, _ = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
        soft = _resized(mask.astype(np.float32), self.size)
        grid = self._template_grid(soft)
        self.drawn = look_up(picture, grid)
        self.weight = look_up(soft, grid)  # (h, w): 1 on the object
        self.telling = self.weight * _telling(self.drawn)
        self.places = grid  # (h, w, 2): where each pixel of the template is in the current frame
        self.pace = np.zeros_like(grid)  # how far they went between the last two frames
        self.own = pixel_grid(*self.weight.shape)
        scale = float(np.sqrt(self.weight.sum()))  # px, the side of a square as large as the object
        self.reach, self.tolerance = max(2.0, _BEND * scale), max(1.5, _NEAR * scale)
        self.home = self.weight > 0  # pixels whose last round trip came home
        self._flow = FlowPair(finest=0)

    def _template_grid(self, soft: np.ndarray) -> np.ndarray:
        """Places (h, w, 2) of a grid over the object and its margin, at most `_TEMPLATE` px long."""
        rows, columns = np.nonzero(soft > 0.1) if (soft > 0.1).any() else np.nonzero(soft == soft.max())
        margin = max(8.0, _MARGIN * float(np.sqrt(soft.sum())))
        top, bottom = max(0.0, rows.min() - margin), min(self.size[0] - 1.0, rows.max() + margin)
        left, right = max(0.0, columns.min() - margin), min(self.size[1] - 1.0, columns.max() + margin)
        longer = max(bottom - top, right - left) + 1
        step = longer / np.clip(longer, *_TEMPLATE)
        self.origin, self.step = np.array([left, top], np.float32), np.float32(step)
        height, width = (max(16, round(float(side) / step) + 1) for side in (bottom - top, right - left))
        return self.origin + pixel_grid(height, width) * self.step

    def advance(self, picture: np.ndarray, flow: np.ndarray | None, trust: np.ndarray) -> None:
        """Go on to the next frame.

        Args:
            picture: uint8 (H, W), the next frame.
            flow: (H, W, 2) in px, from the previous frame to this one; None behind a cut.
            trust: (H, W) in [0, 1], 1 where the round trip comes home.
        """
        before = self.places
        if flow is not None:
            self._follow(picture, flow, trust)
        self._correct(picture)
        self.pace = affine_motion(before, self.places - before, self.weight)

    def _follow(self, picture: np.ndarray, flow: np.ndarray, trust: np.ndarray) -> None:
        """Along the flow; or as fast as before, where that finds the object and flow does not."""
        moves = look_up(flow, self.places)
        weight = self.weight * self.inside() * look_up(trust, self.places)
        along = self.places + affine_motion(self.places, moves, weight)
        onward = self.places + self.pace
        better = self.difference(picture, onward) < self.difference(picture, along)
        self.places = onward if better else along

    def _correct(self, picture: np.ndarray) -> None:
        """Compare the frame, seen at the current places, with the drawn one, and mend the places."""
        there, back = self._flow(self.drawn, look_up(picture, self.places))
        gap = length(there + look_up(back, self.own + there))
        weight = self.weight * self.inside() / (1.0 + 2.0 * gap**2)
        affine = affine_motion(self.own, there, weight)
        bent = bent_motion(affine, there, weight, self.reach)
        error, chosen = self.difference(picture, self.places), np.zeros_like(there)
        for motion, gain in ((affine, 1.0), (bent, _BEND_GAIN)):
            found = self.difference(picture, self._moved(motion))
            if found < gain * error:
                error, chosen = found, motion
        self.places = self._moved(chosen)
        if chosen is bent:
            self._settle()
        self.home = (gap < self.tolerance) & (length(there - chosen) < self.tolerance)

    def _moved(self, motion: np.ndarray) -> np.ndarray:
        """The places (h, w, 2) after a motion inside the template; beyond its border they go on as they were."""
        around = np.pad(self.places, ((_RIM, _RIM), (_RIM, _RIM), (0, 0)), mode="reflect", reflect_type="odd")
        return look_up(around, self.own + motion + _RIM)

    def _settle(self) -> None:
        """Keep the places near an affine picture of the template, so that bends do not add up to folds."""
        affine = self.own + affine_motion(self.own, self.places - self.own, self.weight, tolerance=np.inf)
        bend = blur(self.places - affine, 0.5 * self.reach)
        steepest = max(length(np.diff(bend, axis=axis)).max() for axis in (0, 1))  # px from one place to the next
        apart = min(length(np.diff(affine[:2, :2], axis=axis)).min() for axis in (0, 1))
        self.places = affine + bend * min(1.0, _SLOPE * apart / (steepest + 1e-6))

    def inside(self) -> np.ndarray:
        """Booleans (h, w): which places lie inside the frame."""
        x, y = self.places[..., 0], self.places[..., 1]
        return (x >= 0) & (x <= self.size[1] - 1) & (y >= 0) & (y <= self.size[0] - 1)

    def difference(self, picture: np.ndarray, places: np.ndarray) -> float:
        """Mean grey difference (0..255) of drawn and present object."""
        gap = self._without_brightness(self.drawn - look_up(picture, places).astype(np.float32))
        say = self.weight * self.inside()
        return float((np.minimum(np.abs(gap), _CLIPPED) * say).sum() / (say.sum() + 1e-6))

    def _without_brightness(self, gap: np.ndarray) -> np.ndarray:
        """Differences (h, w) with the object's mean difference, a change of light, taken out."""
        say = self.weight * self.inside()
        return gap - (gap * say).sum() / (say.sum() + 1e-6)

    def confidence(self, picture: np.ndarray) -> float:
        """Share of the drawn pixels that are in sight, look alike and are where they should be, 0..1."""
        then = blur(self.drawn, self.tolerance)
        now = blur(look_up(picture, self.places), self.tolerance)
        there = self.home | (np.abs(self._without_brightness(then - now)) < _SAME)
        seen = self.telling * self.inside() * there * (_similarity(then, now) > _ALIKE)
        return float(seen.sum() / self.telling.sum())

    def draw(self) -> np.ndarray:
        """The mask as it is now, uint8 (h, w) in {0, 1} at the clip's own size: the drawn outline, moved."""
        cv2 = load_cv2()
        canvas = np.zeros(self.mask_size, np.uint8)
        moved = []
        for outline in self.outlines:
            points = (outline[:, 0] + np.float32(0.5)) * self.ratio - np.float32(0.5)  # (N, 2) of the drawn frame
            found = look_up(self.places, ((points - self.origin) / self.step)[None])[0]
            own = (found + 0.5) / self.ratio - 0.5
            moved.append(np.rint(own.clip(-1e6, 1e6) * 16).astype(np.int32)[:, None])
        cv2.fillPoly(canvas, moved, 1, shift=4)
        return canvas


def _resized(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A mask (h, w) as soft (H, W)."""
    cv2 = load_cv2()
    how = cv2.INTER_AREA if size[0] < mask.shape[0] else cv2.INTER_LINEAR
    return cv2.resize(mask, size[::-1], interpolation=how)


def _similarity(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Contrast and structure part of SSIM (no brightness), (h, w) in [-1, 1]."""
    mean, other = blur(first, _WINDOW), blur(second, _WINDOW)
    spread = blur(first * first, _WINDOW) - mean**2 + blur(second * second, _WINDOW) - other**2
    common = blur(first * second, _WINDOW) - mean * other
    return (2.0 * common + 30.0) / (spread + 30.0)


def _telling(picture: np.ndarray) -> np.ndarray:
    """How much a pixel's surroundings tell about its motion, (h, w) in (0, 1]: little where all is of one colour."""
    grey = picture.astype(np.float32)
    contrast = blur(grey**2, 2.0) - blur(grey, 2.0) ** 2
    return np.maximum(0.05, contrast / (contrast + 50.0))
