"""Keyframes of the rows: faults where they belong, and two ways of editing that differ in consistency only."""

from dataclasses import replace

import pytest
import torch
from toy_bench import render

from novakit.editing.keyframe_editors.nano_faults import Faults
from novakit.evaluation.metrics import region_psnr
from novakit.evaluation.suites.faulty_truth import FaultyTruth
from novakit.evaluation.suites.given import degraded, faulty, from_truth, painted, whole_frame_style
from novakit.scenes import EDITS, render_scenes

INDICES = [0, 4, 8]


@pytest.fixture(scope="module")
def scenes():
    return render(list(range(5)))  # one of every kind of edit


def steadiness(given, scenes):
    """PSNR of the keyframes inside the mask against the truth as the first keyframe shows it."""
    return region_psnr(given.keyframes, given.like_first[:, :, INDICES], scenes.mask[:, :, INDICES])


def test_truth_is_truth(scenes):
    given = from_truth(scenes, INDICES, 0)
    assert torch.equal(given.keyframes, scenes.truth[:, :, INDICES]) and torch.equal(given.target, scenes.truth)


@pytest.mark.parametrize("consistent", [True, False])
def test_faults_stay_inside_the_mask_and_the_target_has_none(scenes, consistent):
    given = faulty(consistent=consistent)(scenes, INDICES, 0)
    outside = (1 - scenes.mask[:, :, INDICES]).bool().expand_as(given.keyframes)
    assert torch.equal(given.keyframes[outside], scenes.source[:, :, INDICES][outside])
    assert torch.equal(given.target, scenes.truth)
    quality = region_psnr(given.keyframes, scenes.truth[:, :, INDICES], scenes.mask[:, :, INDICES])
    assert ((quality > 8) & (quality < 40)).all()


def test_the_two_ways_of_editing_differ_in_consistency_only():
    scenes = render_scenes(range(8), split="val", size=(48, 64), num_frames=9)
    together, alone = (faulty(consistent=way)(scenes, INDICES, 0) for way in (True, False))
    for i in range(8):  # the first keyframe with content to change is the same, pixel by pixel
        first = next((n for n, k in enumerate(INDICES) if scenes.mask[i, 0, k].any()), 0)
        assert torch.equal(together.keyframes[i, :, first], alone.keyframes[i, :, first])
    assert torch.equal(together.like_first, alone.like_first)
    gains = steadiness(together, scenes) - steadiness(alone, scenes)
    assert (gains[gains.isfinite()] > 0).float().mean() >= 0.8 and gains.nanmean() > 2


def test_the_first_keyframe_shows_its_own_look(scenes):
    given = faulty(consistent=False)(scenes, INDICES, 3)
    for i in range(len(scenes.edits)):
        k = next(k for k in INDICES if scenes.mask[i, 0, k].any())
        shown = given.keyframes[i, :, INDICES.index(k)]
        assert torch.allclose(shown, given.like_first[i, :, k], atol=1e-5)


def test_more_strength_more_fault_and_the_seed_decides(scenes):
    there = scenes.mask[:, :, INDICES]
    weak, strong = (faulty(s, consistent=False)(scenes, INDICES, 0).keyframes for s in (0.5, 2.0))
    wanted = scenes.truth[:, :, INDICES]
    assert region_psnr(weak, wanted, there).mean() > region_psnr(strong, wanted, there).mean() + 3
    again, other = (faulty(2.0, consistent=False)(scenes, INDICES, seed).keyframes for seed in (0, 1))
    assert torch.equal(strong, again) and not torch.equal(strong, other)


def test_without_faults_the_editor_hands_over_the_truth(scenes):
    editor = FaultyTruth(scenes.truth[0], Faults.none())
    edited = editor.edit(scenes.source[0, :, 4], mask=scenes.mask[0, :, 4], index=4)
    assert torch.allclose(edited, scenes.truth[0, :, 4], atol=1e-5)


def test_a_scene_has_the_same_keyframes_in_any_batch(scenes):
    alone = render([3])
    for make in (faulty(consistent=True), degraded(0.5), painted("plain")):
        assert torch.equal(make(scenes, INDICES, 0).keyframes[3], make(alone, INDICES, 0).keyframes[0])


def test_degraded_keyframes_are_spoilt_in_a_part_and_more_so_when_stronger(scenes):
    wanted = scenes.truth[:, :, INDICES]
    weak, strong = (degraded(s)(scenes, INDICES, 0).keyframes - wanted for s in (0.25, 1.0))
    assert weak.abs().mean() < strong.abs().mean()
    share = (strong.abs().amax(1) > 0.02).float().mean((1, 2, 3))
    assert ((share > 0.005) & (share < 0.5)).all()


@pytest.mark.parametrize("style", ["plain", "poster"])
def test_an_editors_own_work_is_the_truth_of_its_row(scenes, style):
    given = painted(style, Faults.none())(scenes, INDICES, 0)
    assert torch.allclose(given.keyframes, given.target[:, :, INDICES], atol=2e-2)
    outside = (1 - scenes.mask).bool().expand_as(given.target)
    assert torch.equal(given.target[outside], scenes.source[outside])
    assert not torch.equal(given.target, scenes.truth)
    assert scenes.edits == list(EDITS)


def test_the_two_styles_ask_for_other_pictures(scenes):
    plain, poster = (painted(style, Faults.none())(scenes, INDICES, 0) for style in ("plain", "poster"))
    assert region_psnr(plain.target, poster.target, scenes.mask).nanmean() < 30


def test_a_scene_with_an_empty_mask_keeps_the_sources_keyframes(scenes):
    empty = replace(scenes, mask=torch.zeros_like(scenes.mask))
    given = faulty(consistent=True)(empty, INDICES, 0)
    assert torch.equal(given.keyframes, empty.source[:, :, INDICES])


def test_another_style_for_the_whole_frame(scenes):
    given = whole_frame_style(scenes, INDICES, 0)
    assert bool(given.mask.all()) and torch.equal(given.keyframes, given.target[:, :, INDICES])
    assert (given.target - scenes.source).abs().mean() > 0.1
