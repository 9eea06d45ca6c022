"""The questions behind the claims: what copies faults scores 1, what repairs them 0; blur costs sharpness."""

import pytest
import torch
from toy_bench import render, toy_bench

from novakit.degradation import interpolate_keyframes
from novakit.evaluation.suites.given import Given, degraded, faulty, from_truth
from novakit.evaluation.suites.rows import blurred
from novakit.evaluation.suites.scores import questions, score_batch, sharpness

INDICES = [0, 4, 8]


@pytest.fixture(scope="module")
def scenes():
    return render([0, 1, 2])


def test_copied_faults_count_one_and_repaired_ones_zero(scenes):
    given = degraded(1.0)(scenes, INDICES, 0)
    copied = interpolate_keyframes(given.keyframes, INDICES, 9)
    assert questions(copied, scenes, given, INDICES)["artefact"] == pytest.approx(torch.ones(3), abs=1e-4)
    assert questions(scenes.truth, scenes, given, INDICES)["artefact"] == pytest.approx(torch.zeros(3), abs=1e-4)
    half = (copied + scenes.truth) / 2
    assert questions(half, scenes, given, INDICES)["artefact"] == pytest.approx(torch.full((3,), 0.5), abs=1e-4)


def test_without_faults_there_is_nothing_to_ask(scenes):
    asked = questions(scenes.truth, scenes, from_truth(scenes, INDICES, 0), INDICES)
    assert asked["artefact"].isnan().all() and asked["steady_psnr"].isnan().all()
    assert (asked["keyframe_psnr"] == 100).all()


def test_steady_is_the_edit_as_the_first_keyframe_shows_it(scenes):
    given = faulty(consistent=True)(scenes, INDICES, 0)
    asked = [questions(clip, scenes, given, INDICES)["steady_psnr"] for clip in (given.like_first, scenes.truth)]
    assert (asked[0] == 100).all() and (asked[1] < 40).all()


def test_sharpness_falls_with_blur_and_is_one_for_the_source(scenes):
    given = from_truth(scenes, INDICES, 0)
    same = questions(scenes.source, scenes, given, INDICES)["sharpness"]
    soft = questions(blurred(scenes.source), scenes, given, INDICES)["sharpness"]
    seen = same.isfinite()  # a mask may leave no background
    assert seen.any() and same[seen] == pytest.approx(torch.ones(int(seen.sum()))) and (soft[seen] < 1).all()
    assert soft[seen].mean() < 0.7  # a plain background has little to lose


def test_sharpness_of_known_steps():
    clip = torch.zeros(1, 3, 1, 4, 4)
    clip[..., 2:] = 1.0  # one step in every row, none downwards: 4 of 12 + 12 pairs
    assert sharpness(clip, torch.ones(1, 1, 1, 4, 4)).item() == pytest.approx((4 / 24) ** 0.5)
    left = torch.zeros(1, 1, 1, 4, 4)
    left[..., :2] = 1.0
    assert sharpness(clip, left).item() == 0
    assert sharpness(clip, torch.zeros(1, 1, 1, 4, 4)).isnan().all()


def test_records_hold_numbers_or_none_and_are_measured_against_the_target(scenes):
    shifted = scenes.truth.roll(3, dims=-1)
    given = Given(shifted[:, :, INDICES], shifted)
    records = score_batch(shifted, scenes, given, INDICES, toy_bench().judge)
    assert all(record["inside_psnr"] == 100 for record in records)
    assert all(value is None or isinstance(value, float) for record in records for value in record.values())
    assert records[0]["artefact"] is None
