"""Means with 95 % confidence intervals over scenes and seeds: a seeded bootstrap that draws whole scenes.

The seeds of one scene show the same pictures, so they are no independent witnesses: a scene is drawn with all of its
seeds or not at all. Two rows are compared on the same scenes and seeds, by the difference in each.

Source: ours (percentile bootstrap, clustered).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

DRAWS = 10_000
LEVEL = 95.0  # percent

Values = Mapping[tuple[int, int], float]  # (scene, seed) -> a number


@dataclass(frozen=True)
class Estimate:
    """A mean and how far it can be trusted."""

    mean: float
    low: float  # lower end of the 95 % interval; the mean itself where one scene is all there is
    high: float
    scenes: int
    seeds: int

    def as_dict(self) -> dict[str, float]:
        """Ready for JSON, rounded."""
        return {
            "mean": round(self.mean, 5),
            "low": round(self.low, 5),
            "high": round(self.high, 5),
            "scenes": self.scenes,
            "seeds": self.seeds,
        }


@lru_cache(maxsize=8)
def _draws(clusters: int, seed: int) -> np.ndarray:
    """Which scenes each of the DRAWS resamplings holds, (DRAWS, clusters)."""
    return np.random.default_rng(seed).integers(0, clusters, size=(DRAWS, clusters))


def estimate(values: Values, seed: int = 0) -> Estimate | None:
    """Mean over all scenes and seeds, with its interval.

    Args:
        values: one number per scene and seed; those that are no numbers (NaN, None) are left out.
        seed: of the bootstrap's draws.

    Returns:
        Estimate, or None where there is no number at all.
    """
    scenes: dict[int, list[float]] = defaultdict(list)
    seeds = set()
    for (scene, noise), value in sorted(values.items()):
        if value is not None and np.isfinite(value):
            scenes[scene].append(float(value))
            seeds.add(noise)
    if not scenes:
        return None
    sums = np.array([sum(group) for group in scenes.values()])
    counts = np.array([len(group) for group in scenes.values()])
    mean = float(sums.sum() / counts.sum())
    drawn = _draws(len(scenes), seed)
    means = sums[drawn].sum(1) / counts[drawn].sum(1)
    low, high = np.percentile(means, [(100 - LEVEL) / 2, (100 + LEVEL) / 2])
    return Estimate(mean, float(low), float(high), len(scenes), len(seeds))


def differences(one: Values, other: Values, one_seeded: bool = True, other_seeded: bool = True) -> dict:
    """one - other for every scene and seed that both have.

    Args:
        one, other: numbers per scene and seed.
        one_seeded, other_seeded: False for a row without a starting noise: its seed 0 stands for every seed.
    """
    keys = set(one if one_seeded else other) | (set() if one_seeded == other_seeded else set(other))
    result = {}
    for scene, seed in sorted(keys):
        pair = (one.get((scene, seed if one_seeded else 0)), other.get((scene, seed if other_seeded else 0)))
        if None not in pair:
            result[scene, seed] = pair[0] - pair[1]
    return result
