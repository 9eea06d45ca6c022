"""Shift and zoom of an edited frame: recovered, undone, and not invented where nothing can be measured."""

import math
import warnings

import pytest
import torch
from tiny_editors import box_mask, photograph

from novakit.editing.keyframe_editors.registration import Registration, measure, register, undo
from novakit.editing.keyframe_editors.registration_search import sample
from novakit.errors import NovaError, NovaNotice
from novakit.video.geometry import resize

SMALL, MIDDLE, LARGE = (64, 96), (240, 416), (480, 832)


def moved(source, down, right, zoom):
    """What an editor makes that shows c + zoom (p - c) + shift for every point p of the source."""
    numbers = torch.tensor([-down / zoom, -right / zoom, 1 / zoom])
    return sample(source, numbers, padding="reflection")[0].clamp(-1, 1)


def edited(source, slip, mask):
    """A moved frame with another object in the mask, another tone, less contrast and some noise."""
    colour = torch.tensor([0.9, -0.7, -0.2])[:, None, None]
    painted = torch.where(mask > 0, colour, source)
    noise = torch.randn(source.shape, generator=torch.Generator().manual_seed(0))
    return (0.85 * moved(painted, *slip) + 0.08 + 0.02 * noise).clamp(-1, 1)


def rim_error(found, slip, size):
    """How far the measurement is off at the rim of the frame, in pixels."""
    shift = max(abs(found.shift[0] - slip[0]), abs(found.shift[1] - slip[1]))
    return shift + abs(found.zoom - slip[2]) * max(size) / 2


@pytest.mark.parametrize("use_mask", [True, False])
@pytest.mark.parametrize(
    "name, size, slip",
    [
        ("astronaut", SMALL, (0.4, -0.7, 1.0)),
        ("chelsea", SMALL, (-2.6, 3.4, 0.96)),
        ("coffee", SMALL, (1.5, -3.2, 1.04)),
        ("coffee", MIDDLE, (9.3, -20.6, 1.03)),
        ("astronaut", MIDDLE, (-7.0, 5.5, 0.95)),
        ("chelsea", LARGE, (0.3, -0.2, 1.0)),
        ("chelsea", LARGE, (-21.7, 38.4, 0.97)),
        ("coffee", (416, 240), (-8.2, 6.1, 1.05)),
    ],
)
def test_shift_and_zoom_are_recovered_and_undone(name, size, slip, use_mask):
    source, mask = photograph(name, size), box_mask(size)
    straight, found = register(edited(source, slip, mask), source, mask if use_mask else None)
    assert rim_error(found, slip, size) < (0.25 if size == SMALL else 0.15)
    assert found.measured and found.residual_after < found.residual_before
    again = measure(straight, source, mask if use_mask else None)
    assert again.corner(size) < 0.25  # nothing is left to undo
    rest = (undo(moved(source, *slip), found, source) - source).abs()
    assert rest.mean() < 0.06  # a few hundredths of sharpness; out of place it is 0.2 and more


def test_one_megapixel():
    size, slip = (768, 1360), (17.3, -41.8, 1.025)
    source, mask = photograph("astronaut", size), box_mask((768, 1360))
    assert rim_error(measure(edited(source, slip, mask), source, mask), slip, size) < 0.15


def test_an_edit_in_place_comes_back_bit_for_bit():
    source, mask = photograph("chelsea", SMALL), box_mask(SMALL)
    edit = torch.where(mask > 0, -source, source)
    straight, found = register(edit, source, mask)
    assert torch.equal(straight, edit) and found.measured and found.corner(SMALL) < 0.05
    assert found.residual_before < 1e-6


def test_the_rim_that_a_zoomed_edit_lost_comes_from_the_source_in_its_tones():
    source, gain = photograph("astronaut", MIDDLE), torch.tensor([0.8, 0.6, 0.9])[:, None, None]
    wanted = torch.where(box_mask(MIDDLE) > 0, source.flip(2), gain * source - 0.1)
    straight, found = register(moved(wanted, 3.0, -5.0, 1.08), source)
    assert abs(found.zoom - 1.08) < 0.001
    rim = torch.ones(MIDDLE, dtype=torch.bool)
    rim[12:-12, 18:-18] = False
    assert (straight - wanted).abs()[:, rim].mean() < 0.02


def test_the_mask_is_left_out():
    """What moves inside the mask only is the edit's own business."""
    source, mask = photograph("coffee", MIDDLE), box_mask(MIDDLE)
    inside = torch.where(mask > 0, moved(source, 6.0, 9.0, 1.0), source)
    assert measure(inside, source, mask).corner(MIDDLE) < 0.05


def waves(period):
    """A texture that repeats itself every `period` pixels."""
    x, y = torch.arange(MIDDLE[1]), torch.arange(MIDDLE[0])
    return (torch.sin(x * math.tau / period) * torch.sin(y[:, None] * math.tau / period)).expand(3, -1, -1).contiguous()


def test_in_a_periodic_texture_the_smallest_shift_is_meant():
    source, slip = waves(24), (4.0, -5.0, 1.0)
    assert rim_error(measure(moved(source, *slip), source), slip, MIDDLE) < 0.1


def test_in_a_periodic_texture_hills_come_to_lie_on_hills():
    """With a zoom no shift is the right one, but far ones and those that lay hills on valleys are wrong."""
    source = waves(20)
    found = measure(moved(source, 4.2, -7.3, 1.02), source)
    assert found.measured and abs(found.zoom - 1.02) < 1e-3 and found.residual_after < 0.05 * found.residual_before


FLAT = torch.full((3, *SMALL), 0.3)
STRIPES = torch.sin(torch.arange(96) * math.tau / 12).expand(3, *SMALL).contiguous()
NOISE = resize(torch.rand(3, 24, 36, generator=torch.Generator().manual_seed(1)) * 2 - 1, SMALL)
PHOTO = photograph("coffee", SMALL)
NEARLY_ALL = torch.nn.functional.pad(torch.ones(1, 60, 92), (2, 2, 2, 2))


@pytest.mark.parametrize(
    "edit, source, mask, words",
    [
        (FLAT, FLAT, None, "no texture"),
        (FLAT, PHOTO, None, "no texture"),
        (STRIPES, STRIPES, None, "too poor"),
        (NOISE, PHOTO, None, "not the source"),
        (photograph("astronaut", SMALL), PHOTO, None, "not the source"),
        (-PHOTO, PHOTO, None, "not the source"),
        (PHOTO, PHOTO, NEARLY_ALL, "too few pixels"),
        (PHOTO[:, :8], PHOTO[:, :8], None, "too few pixels"),
        (torch.full_like(PHOTO, math.nan), PHOTO, None, "NaN"),
    ],
)
def test_what_cannot_be_measured_is_left_alone_and_said(edit, source, mask, words):
    with pytest.warns(NovaNotice, match=f"not registered.*{words}"):
        straight, found = register(edit, source, mask)
    assert straight is edit and not found.measured
    assert found.shift == (0.0, 0.0) and found.zoom == 1.0


@pytest.mark.parametrize("name, other", [("coffee", "chelsea"), ("astronaut", "coffee")])
def test_two_fifths_of_the_frame_may_be_edited_without_a_mask(name, other):
    slip, source = (3.7, -6.2, 1.02), photograph(name, MIDDLE)
    edit = moved(source, *slip)
    edit[..., : MIDDLE[1] * 2 // 5] = photograph(other, MIDDLE)[..., : MIDDLE[1] * 2 // 5]
    found = measure(edit, source)
    assert found.measured and rim_error(found, slip, MIDDLE) < 0.6


def test_random_pictures_are_never_believed():
    generator = torch.Generator().manual_seed(2)
    for grain in (1, 2, 4, 8):
        small = (MIDDLE[0] // grain, MIDDLE[1] // grain)
        picture = resize(torch.rand(3, *small, generator=generator) * 2 - 1, MIDDLE)
        with pytest.warns(NovaNotice, match="not registered"):
            assert not measure(picture, photograph("astronaut", MIDDLE)).measured


def test_a_real_slip_needs_no_notice():
    source = photograph("astronaut", SMALL)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert measure(moved(source, 1.0, 2.0, 1.01), source).measured


def test_pixels_of_another_size():
    found = Registration((2.0, -4.0), 1.02)
    assert found.at((64, 96), (640, 480)) == Registration((20.0, -20.0), 1.02)
    assert found.corner((100, 200)) == pytest.approx(math.hypot(3.0, 6.0))


def test_sizes_must_agree():
    with pytest.raises(NovaError, match=r"\(64, 96\).*\(64, 97\).*wanted one"):
        register(PHOTO, PHOTO, torch.ones(1, 64, 97))
