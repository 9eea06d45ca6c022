"""MS: its recipe as a loop, interpolators that follow motion or not, and the road for AMT."""

import pytest
import torch
import torch.nn.functional as F

from novakit.errors import NovaError
from novakit.evaluation.metrics import amt_interpolator, matched_midpoint, mean_midpoint, motion_smoothness
from novakit.evaluation.metrics.breaking import flickering, frozen, shuffled_in_time
from novakit.evaluation.metrics.smoothness import interpolator_name
from novakit.scenes import render_scenes


@pytest.fixture(scope="module")
def clip():
    return render_scenes([2, 5], split="val", num_frames=9).truth


def picture(size=(64, 96), seed=0):
    """A picture with structure at every scale that still survives a shift by half a pixel."""
    rough = torch.rand(1, 3, size[0] // 4, size[1] // 4, generator=torch.Generator().manual_seed(seed)) * 2 - 1
    return F.interpolate(rough, size, mode="bicubic").clamp(-1, 1)


def panned(frame, x, y, t):
    """The picture moved by (x, y) px per frame; whole pixels only."""
    return torch.roll(frame, (y * t, x * t), dims=(-2, -1))


@pytest.mark.parametrize("interpolator", [mean_midpoint, matched_midpoint])
@pytest.mark.parametrize("frames", [9, 8])
def test_ms_compares_every_odd_frame_with_the_middle_of_its_neighbours(clip, interpolator, frames):
    clip = clip[:, :, :frames]
    apart = [
        (clip[:, :, t] - interpolator(clip[:, :, t - 1], clip[:, :, t + 1])).abs().flatten(1).mean(1) * 127.5 / 255
        for t in range(1, frames - 1, 2)
    ]
    expected = 1 - torch.stack(apart).mean(0)
    assert motion_smoothness(clip, interpolator).tolist() == pytest.approx(expected.tolist(), abs=1e-5)


def test_a_linear_fade_is_smooth_for_the_mean():
    fade = picture()[:, :, None] * torch.linspace(0, 1, 7).view(1, 1, 7, 1, 1)
    assert motion_smoothness(fade, mean_midpoint)[0] == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize("motion", [(1, 0), (2, 1), (-3, 2)])
def test_block_matching_follows_motion_that_the_mean_blurs(motion):
    before, middle, after = (panned(picture(), *motion, t) for t in (-1, 0, 1))
    inside = (..., slice(8, -8), slice(8, -8))  # a rolled picture is no motion at its rim
    matched = (matched_midpoint(before, after) - middle)[inside].abs().mean()
    assert matched < 0.1 * (mean_midpoint(before, after) - middle)[inside].abs().mean()


def test_block_matching_of_a_large_frame_works_at_its_own_scale():
    big = picture((256, 384))
    before, middle, after = (panned(big, 8, 4, t) for t in (-1, 0, 1))
    inside = (..., slice(32, -32), slice(32, -32))
    matched = (matched_midpoint(before, after) - middle)[inside].abs().mean()
    assert matched < 0.25 * (mean_midpoint(before, after) - middle)[inside].abs().mean()


def test_smooth_motion_is_above_flicker_and_shuffled_frames(clip):
    truth, flicker, mixed = (
        motion_smoothness(c) for c in (clip, flickering(clip, strength=0.05), shuffled_in_time(clip))
    )
    assert (truth > flicker).all() and (truth > mixed).all() and truth.min() > 0.98


def test_clips_that_do_not_move_are_perfect(clip):
    assert motion_smoothness(frozen(clip)).tolist() == pytest.approx([1.0, 1.0], abs=1e-5)
    assert motion_smoothness(torch.zeros_like(clip)).tolist() == pytest.approx([1.0, 1.0], abs=1e-6)


def test_amt_is_called_as_its_authors_call_it():
    calls = []

    class StandIn:
        """The signature of AMT's Model: pictures in [0, 1], sides multiples of 16, the time between them."""

        def __call__(self, a, b, time, scale_factor, eval):
            calls.append((a.shape, time.flatten().tolist(), scale_factor, eval))
            assert a.min() >= 0 and a.max() <= 1
            return {"imgt_pred": (a + b) / 2}

    interpolator = amt_interpolator(StandIn())
    clip = torch.rand(1, 3, 5, 40, 50) * 2 - 1
    expected = motion_smoothness(clip, mean_midpoint)
    assert motion_smoothness(clip, interpolator)[0] == pytest.approx(expected[0].item(), abs=1e-5)
    assert calls == [(torch.Size([2, 3, 48, 64]), [0.5, 0.5], 1.0, True)]
    assert interpolator_name(interpolator) == "AMT"


def test_too_short_clips_and_frames_that_do_not_fit_are_refused(clip):
    with pytest.raises(NovaError, match="needs 3"):
        motion_smoothness(clip[:, :, :2])
    with pytest.raises(NovaError, match="alike"):
        matched_midpoint(clip[:, :, 0], clip[:, :, 1, :32])
