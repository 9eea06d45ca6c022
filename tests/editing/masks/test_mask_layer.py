"""The motion of one object: what most pixels agree on, and a smooth bend on top."""

import numpy as np
import pytest

from novakit.editing.masks.flow import length, pixel_grid
from novakit.editing.masks.layer import affine_motion, bent_motion

PLACES = pixel_grid(40, 60)
TURN = np.array([[0.02, 0.05], [-0.05, 0.01]], np.float32)
MOVES = (PLACES - 20) @ TURN + np.array([3.0, -2.0], np.float32)
EVERYWHERE = np.ones((40, 60), np.float32)


def test_an_affine_motion_is_found_and_continued():
    inside = np.zeros_like(EVERYWHERE)
    inside[10:30, 20:40] = 1
    found = affine_motion(PLACES, np.where(inside[..., None] > 0, MOVES, 99.0).astype(np.float32), inside)
    assert length(found - MOVES).max() < 0.1  # also where nothing was trusted


def test_a_third_of_the_pixels_may_be_wrong():
    wrong = np.random.default_rng(0).random((40, 60)) < 0.33
    measured = np.where(wrong[..., None], MOVES + np.array([9.0, 4.0], np.float32), MOVES)
    assert length(affine_motion(PLACES, measured, EVERYWHERE) - MOVES).max() < 0.15
    assert length(affine_motion(PLACES, measured, EVERYWHERE, tolerance=np.inf) - MOVES).max() > 2  # plain mean


def test_few_pixels_give_a_shift_and_none_no_motion():
    assert not affine_motion(PLACES, MOVES, np.zeros_like(EVERYWHERE)).any()
    few = np.zeros_like(EVERYWHERE)
    few[5, 5:8] = 1  # on a line: across it nothing is known
    found = affine_motion(PLACES, MOVES, few)
    assert length(found - MOVES[5, 6]).max() < 5


@pytest.mark.parametrize("weighted", [True, False])
def test_a_bend_is_kept_where_it_is_trusted(weighted):
    bend = np.zeros_like(MOVES)
    bend[..., 0] = 2 * np.sin(PLACES[..., 0] / 60 * 2 * np.pi)
    weight = EVERYWHERE * weighted
    found = bent_motion(MOVES, MOVES + bend, weight, reach=3.0, tolerance=5.0)
    assert length(found - MOVES - bend * weighted)[5:-5, 5:-5].max() < 0.2
