"""One followed object: its outline round trip, and bends that do not add up to folds."""

import numpy as np
import pytest
import torch

from novakit.editing.masks.flow import length, look_up, pixel_grid
from novakit.editing.masks.tracker import MaskTracker

NOISE = torch.rand(1, 1, 24, 40, generator=torch.Generator().manual_seed(0))


def grey(size):
    """A smooth random picture, uint8."""
    wide = torch.nn.functional.interpolate(NOISE, size, mode="bicubic").clamp(0, 1)[0, 0]
    return (wide * 255).to(torch.uint8).numpy()


STILL = grey((192, 320))


def tracker(size=(96, 160), picture=(192, 320)):
    """An ellipse with a hole, drawn at half the size that flow is computed at."""
    y, x = np.mgrid[: size[0], : size[1]]
    radius = ((y - 50) / 30) ** 2 + ((x - 70) / 50) ** 2
    mask = ((radius < 1) & (radius > 0.1)).astype(np.uint8)
    return MaskTracker(grey(picture), mask), mask


@pytest.mark.parametrize("picture", [(96, 160), (192, 320), (48, 80), (72, 160)])
def test_the_outline_comes_back_exactly_where_it_was_drawn(picture):
    found, mask = tracker(picture=picture)
    assert np.array_equal(found.draw(), mask)


def test_the_outline_goes_where_the_places_go():
    found, mask = tracker()
    found.places = found.places + np.array([20.0, -8.0], np.float32)  # of the picture: 10 and -4 px of the mask
    assert np.array_equal(found.draw(), np.roll(mask, (-4, 10), axis=(0, 1)))
    found.places = found.places + 1000
    assert not found.draw().any() and not found.inside().any()


def test_bends_do_not_add_up_to_folds():
    found, _ = tracker()
    folded = found.places.copy()
    folded[..., 0] += 120 * np.sin(found.own[..., 0] / 8)  # runs back and forth
    found.places = folded
    assert (np.diff(found.places[..., 0], axis=1) < 0).any()
    found._settle()
    assert (np.diff(found.places[..., 0], axis=1) > 0).all()


def test_a_gentle_bend_survives():
    found, _ = tracker()
    bend = 6 * np.sin(found.own[..., 0] / found.own[..., 0].max() * np.pi)
    found.places[..., 1] += bend
    before = found.places.copy()
    found._settle()
    assert length(found.places - before)[found.weight > 0].max() < 1.5


def test_a_bend_is_taken_only_where_it_explains_the_picture(monkeypatch):
    found, _ = tracker()
    settled = []
    monkeypatch.setattr(found, "_settle", lambda: settled.append(True))
    grid = pixel_grid(192, 320)
    still = look_up(STILL, grid)
    found.advance(still, None, still)
    assert not settled and length(found.places - found.origin - found.own * found.step).max() < 0.5
    swung = grid + np.stack([0 * grid[..., 0], 5 * np.sin(grid[..., 0] / 20)], axis=-1)
    found.advance(look_up(STILL, swung), None, still)
    assert settled
