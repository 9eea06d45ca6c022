"""How one object moves: an affine motion that most of its pixels agree on, and a smooth bend on top.

Flow is wrong at an object's outline, where it mixes two motions, and an outline moved by it frays within a few
frames. So the outline follows what the object's inside says. Source: ours (layered motion, robust regression).
"""

from __future__ import annotations

import numpy as np

from novakit.editing.masks.flow import blur

_MOST_POINTS = 3000  # of the fit; more change nothing but the time
_ROUNDS = 6  # of reweighting
_STIFF = 2e-3  # pull of the affine part towards a plain shift, as a share of the object's weight
_LOOSE = 0.05  # weight at which the bend gives way to the affine motion


def affine_motion(places: np.ndarray, moves: np.ndarray, weight: np.ndarray, tolerance: float = 1.0) -> np.ndarray:
    """The affine motion that the weighted pixels agree on; pixels that disagree lose their say.

    Args:
        places: (h, w, 2) in px.
        moves: (h, w, 2) in px, the measured motion.
        weight: (h, w) in [0, 1], how far each measurement is trusted.
        tolerance: px of disagreement at which a pixel's say falls to a quarter.

    Returns:
        (h, w, 2) in px: the fitted motion everywhere, also where nothing was measured; 0 when nothing was.
    """
    trusted = np.flatnonzero(weight.ravel() > 1e-3)
    if len(trusted) < 3:
        return np.zeros_like(moves)
    trusted = trusted[:: len(trusted) // _MOST_POINTS + 1]
    flat = places.reshape(-1, 2).astype(np.float64)
    middle = flat[trusted].mean(0)
    spread = max(1.0, flat[trusted].std())
    design = np.c_[(flat - middle) / spread, np.ones(len(flat))]  # (h w, 3): x, y, 1
    matrix = _reweighted(
        design[trusted], moves.reshape(-1, 2)[trusted].astype(np.float64), weight.ravel()[trusted], tolerance
    )
    return (design @ matrix).reshape(moves.shape).astype(np.float32)


def _reweighted(design: np.ndarray, moves: np.ndarray, weight: np.ndarray, tolerance: float) -> np.ndarray:
    """Least squares (3, 2), repeated with weights 1 / (1 + (error / tolerance)²)²."""
    say = weight.astype(np.float64)
    stiffness = np.diag([1.0, 1.0, 1e-6]) * _STIFF * say.sum() + 1e-9 * np.eye(3)
    for turn in range(_ROUNDS):
        weighted = design * say[:, None]
        matrix = np.linalg.solve(weighted.T @ design + stiffness, weighted.T @ moves)
        error = np.linalg.norm(moves - design @ matrix, axis=1)
        # wide at first, so that a poor start does not choose the wrong half
        wide = max(tolerance, 1.5 * np.sqrt(np.average(error**2, weights=say + 1e-12))) if turn == 0 else tolerance
        say = weight / (1.0 + (error / wide) ** 2) ** 2
    return matrix


def bent_motion(
    affine: np.ndarray, moves: np.ndarray, weight: np.ndarray, reach: float, tolerance: float = 1.0
) -> np.ndarray:
    """The affine motion plus what is left of the measured one, smoothed.

    Args:
        affine: (h, w, 2) of `affine_motion`.
        moves: (h, w, 2) in px.
        weight: (h, w) in [0, 1].
        reach: px, sigma of the smoothing.
        tolerance: px; what is left and far above this counts little.

    Returns:
        (h, w, 2) in px; the affine motion far from any trusted pixel.
    """
    left = moves - affine
    say = weight / (1.0 + (left**2).sum(-1) / (2.0 * tolerance) ** 2)
    return affine + blur(left * say[..., None], reach) / (blur(say, reach) + _LOOSE)[..., None]
