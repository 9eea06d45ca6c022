"""The mapping from source to preset and back: markers land where they should."""

import random

import numpy as np
import pytest
import torch

from novakit.errors import NovaError
from novakit.video import Geometry, choose_size, frame_to_tensor, resize
from novakit.video.geometry import same_aspect, stretch_factor

RNG = random.Random(7)
CASES = [
    ((RNG.randrange(120, 400), RNG.randrange(120, 400)), RNG.choice([(64, 96), (96, 64), (80, 80)]), fit)
    for fit in ("stretch", "crop")
    for _ in range(12)
]


def _centre_of_mass(frame: torch.Tensor) -> tuple[float, float]:
    """Of the brightness above the background, (y, x), for a plane (H, W)."""
    weight = (frame - frame.min()).double() ** 2
    y, x = torch.meshgrid(*(torch.arange(side).double() for side in frame.shape), indexing="ij")
    return float((weight * y).sum() / weight.sum()), float((weight * x).sum() / weight.sum())


def _with_marker(size, y: int, x: int, radius: int) -> np.ndarray:
    picture = np.zeros((*size, 3), np.uint8)
    picture[y - radius : y + radius + 1, x - radius : x + radius + 1] = 255
    return picture


@pytest.mark.parametrize(("source", "size", "fit"), CASES)
def test_markers_land_within_a_pixel_both_ways(source, size, fit):
    geometry = Geometry.between(source, size, fit)
    top, left, height, width = geometry.box
    radius = max(3, height // 16, width // 16)
    for y in (top + radius + 1, top + height - radius - 2):
        for x in (left + radius + 1, left + width - radius - 2):
            frame = frame_to_tensor(_with_marker(source, y, x, radius), geometry)
            found, wanted = _centre_of_mass(frame[0]), geometry.point_to_preset(y, x)
            assert max(abs(found[0] - wanted[0]), abs(found[1] - wanted[1])) < 1
            back = geometry.to_source(frame)
            assert tuple(back.shape) == (3, *source)
            home = _centre_of_mass(back[0])
            assert max(abs(home[0] - y), abs(home[1] - x)) < 1
            assert geometry.point_to_source(*wanted) == pytest.approx((y, x))


def test_a_shifted_mapping_is_caught():
    """The marker test can fail: a mapping that is three pixels off does not pass it."""
    geometry = Geometry.between((200, 300), (200, 300))
    frame = frame_to_tensor(_with_marker((200, 300), 50, 60, 5), geometry).roll(3, -1)
    assert abs(_centre_of_mass(frame[0])[1] - geometry.point_to_preset(50, 60)[1]) > 1


@pytest.mark.parametrize("source", [(1, 1), (1, 500), (500, 1), (3, 4000), (64, 96), (63, 97)])
@pytest.mark.parametrize("fit", ["stretch", "crop"])
def test_extreme_shapes(source, fit):
    geometry = Geometry.between(source, (64, 96), fit)
    clip = geometry.to_preset(torch.rand(1, 3, 2, *source))
    assert tuple(clip.shape) == (1, 3, 2, 64, 96)
    assert tuple(geometry.to_source(clip).shape) == (1, 3, 2, *source)


def test_crop_keeps_the_aspect_and_the_surroundings():
    geometry = Geometry.between((100, 300), (64, 96), "crop")
    assert geometry.box == (0, 75, 100, 150)
    clip, background = torch.ones(1, 3, 2, 64, 96), torch.full((1, 3, 2, 100, 300), 0.25)
    whole = geometry.to_source(clip, background)
    assert (whole[..., 75:225] == 1).all() and (whole[..., :75] == 0.25).all() and (background == 0.25).all()
    assert (geometry.to_source(clip)[..., 225:] == -1).all()


def test_resize_is_the_identity_at_the_same_size_and_averages_when_shrinking():
    frame = torch.rand(3, 8, 8)
    assert resize(frame, (8, 8)) is frame
    stripes = torch.zeros(1, 3, 64, 64)
    stripes[..., ::2] = 1.0
    inner = resize(stripes, (16, 16))[..., 2:-2]
    assert (inner - 0.5).abs().max() < 0.1, "thin stripes must become grey, not alias"


def test_bytes_and_floats_resize_alike():
    picture = torch.randint(0, 256, (1, 3, 90, 120), dtype=torch.uint8)
    assert (resize(picture, (32, 48)).float() - resize(picture.float(), (32, 48))).abs().max() <= 1.01


def test_wrong_sizes_are_refused():
    with pytest.raises(NovaError, match="starts from 96x64"):
        Geometry.between((100, 100), (64, 96)).to_source(torch.zeros(1, 3, 1, 96, 64))
    for size in ((0, 5), (5,), "big", (-1, 3)):
        with pytest.raises(NovaError, match="makes no sense"):
            Geometry.between((100, 100), size)
    with pytest.raises(NovaError, match="fit 'letterbox' is unknown"):
        Geometry.between((100, 100), (64, 96), "letterbox")


@pytest.mark.parametrize(
    ("source", "wanted"),
    [((720, 1280), (64, 96)), ((1920, 1080), (96, 64)), ((500, 500), (80, 80)), ((90, 100), (80, 80))],
)
def test_choose_size(source, wanted):
    assert choose_size(source, ((64, 96), (96, 64), (80, 80))) == wanted


def test_same_aspect():
    assert same_aspect((128, 192), (64, 96)) and same_aspect((720, 1280), (36, 64)) and same_aspect((33, 50), (66, 99))
    assert not same_aspect((480, 832), (64, 96)) and not same_aspect((96, 64), (64, 96))


@pytest.mark.parametrize(
    ("size", "factor"), [((64, 96), 1.0), ((720, 1280), 32 / 27), ((96, 64), 2.25), ((32, 96), 2.0)]
)
def test_stretch_factor_is_symmetric_and_1_for_the_same_aspect(size, factor):
    assert stretch_factor(size, (64, 96)) == pytest.approx(factor)
    assert stretch_factor((64, 96), size) == pytest.approx(factor)
