"""Intervals: seeds of one scene are no independent witnesses, the draws are seeded, and the coverage is about right."""

import math

import numpy as np
import pytest

from novakit.evaluation.suites.statistics import differences, estimate


def test_copies_of_a_scene_under_other_seeds_do_not_narrow_the_interval():
    once = {(scene, 0): float(scene) for scene in range(12)}
    thrice = {(scene, seed): float(scene) for scene in range(12) for seed in range(3)}
    one, three = estimate(once), estimate(thrice)
    assert (one.mean, one.low, one.high) == pytest.approx((three.mean, three.low, three.high))
    assert (three.scenes, three.seeds) == (12, 3)
    as_if_independent = estimate({(36 * scene + seed, 0): float(scene) for scene in range(12) for seed in range(3)})
    assert as_if_independent.high - as_if_independent.low < 0.7 * (three.high - three.low)


def test_the_mean_weighs_every_number_alike_and_leaves_out_what_is_none():
    found = estimate({(0, 0): 1.0, (0, 1): 3.0, (1, 0): 8.0, (2, 0): math.nan, (3, 0): None})
    assert found.mean == pytest.approx(4.0)
    assert found.scenes == 2
    assert estimate({(0, 0): math.nan}) is None
    assert estimate({}) is None


def test_the_same_draws_every_time_and_others_with_another_seed():
    values = {(scene, 0): float(scene**2) for scene in range(9)}
    assert estimate(values) == estimate(values)
    assert estimate(values, seed=1).low != estimate(values).low


def test_about_nineteen_of_twenty_intervals_hold_the_true_mean():
    random = np.random.default_rng(5)
    hits = 0
    for _ in range(150):
        scenes = random.normal(0.3, 1.0, 30)
        found = estimate({(i, seed): scenes[i] + random.normal(0, 0.5) for i in range(30) for seed in range(2)})
        hits += found.low <= 0.3 <= found.high
    assert 0.87 <= hits / 150 <= 0.99


def test_differences_pair_scenes_and_seeds():
    one = {(0, 0): 5.0, (0, 1): 6.0, (1, 0): 7.0}
    assert differences(one, {(0, 0): 1.0, (1, 0): 2.0, (2, 0): 9.0}) == {(0, 0): 4.0, (1, 0): 5.0}


@pytest.mark.parametrize("turned", [False, True])
def test_a_row_without_noise_stands_beside_every_seed(turned):
    seeded, fixed = {(0, 0): 5.0, (0, 1): 6.0, (1, 2): 9.0}, {(0, 0): 1.0}
    if turned:
        assert differences(fixed, seeded, False, True) == {(0, 0): -4.0, (0, 1): -5.0}
    else:
        assert differences(seeded, fixed, True, False) == {(0, 0): 4.0, (0, 1): 5.0}
