"""The six metrics together: labels, what a copy of the source scores, bad input, and speed."""

import time
from dataclasses import replace

import pytest
import torch

from novakit.degradation import interpolate_keyframes
from novakit.errors import NovaError
from novakit.evaluation.encoders import get_encoder
from novakit.evaluation.metrics import METRICS, mean_midpoint, measure_clips, metric_labels, motion_smoothness
from novakit.evaluation.metrics.breaking import flickering, frozen
from novakit.evaluation.scoring import held_out_scenes

ENCODER = get_encoder()


@pytest.fixture(scope="module")
def long():
    return held_out_scenes(list(range(5)))  # one of every kind of edit, 33 frames


@pytest.fixture(scope="module")
def scenes(long):
    parts = {name: getattr(long, name)[:, :, :13] for name in ("source", "truth", "mask")}
    return replace(long, **parts)


def measure(scenes, output, **options):
    return measure_clips(output, scenes.source, scenes.mask, ENCODER, scenes.truth, **options)


def means(scores):
    return {name: values.nanmean().item() for name, values in scores.items()}


@pytest.fixture(scope="module")
def of_truth(scenes):
    return means(measure(scenes, scenes.truth))


def test_every_metric_is_one_number_per_clip_and_has_a_label(scenes):
    scores = measure(scenes, scenes.truth)
    assert tuple(scores) == METRICS == tuple(metric_labels(ENCODER))
    assert all(values.shape == (5,) and values.isfinite().all() for values in scores.values())


def test_labels_name_encoder_pairing_and_interpolator():
    labels = metric_labels("dinov2-base", interpolator=mean_midpoint, dilation=7)
    assert labels["TC"] == "TC[dinov2-base, adjacent]"
    assert labels["FC"] == "FC[dinov2-base, all pairs]"
    assert labels["BC"] == "BC[dinov2-base, adjacent and first]"
    assert labels["MS"] == "MS[mean of neighbours]" and "7 px" in labels["BG-SSIM"] and "truth" in labels["SR"]


def test_an_unedited_copy_is_perfect_on_every_metric_but_one(scenes, of_truth):
    """BG-SSIM is exactly 1; TC, FC, MS and BC are those of real footage, which no edit can beat. Only SR sees it."""
    copy = means(measure(scenes, scenes.source))
    assert copy["BG-SSIM"] == pytest.approx(1.0, abs=1e-5)
    for name in ("TC", "FC", "MS", "BC"):
        assert copy[name] > of_truth[name] - 0.003, name
    assert copy["SR"] == 0.0 and of_truth["SR"] == 1.0


def test_a_frozen_clip_beats_the_truth_where_only_calm_counts(scenes, of_truth):
    still = means(measure(scenes, frozen(scenes.truth)))
    for name in ("TC", "FC", "MS", "BC"):
        assert still[name] == pytest.approx(1.0, abs=1e-5) and still[name] > of_truth[name], name
    assert still["BG-SSIM"] < of_truth["BG-SSIM"] - 0.2


def test_a_cross_fade_of_keyframes_is_smoother_than_the_truth(long):
    """Why every table has the row of interpolated keyframes: double images cost nothing in MS."""
    fade = interpolate_keyframes(long.truth[:, :, ::8], [0, 8, 16, 24, 32], 33)
    assert motion_smoothness(fade, mean_midpoint).tolist() == pytest.approx([1.0] * 5, abs=1e-5)
    assert motion_smoothness(fade).mean() > motion_smoothness(long.truth).mean()


def test_flicker_lowers_every_metric_of_time(scenes, of_truth):
    flicker = means(measure(scenes, flickering(scenes.truth)))
    for name in ("TC", "FC", "BG-SSIM", "MS", "BC"):
        assert flicker[name] < of_truth[name] - 0.02, name


def test_a_batch_scores_as_its_clips_do_alone(scenes):
    together = measure_clips(scenes.truth[:2], scenes.source[:2], scenes.mask[:2], ENCODER, scenes.truth[:2])
    one = slice(1, 2)
    alone = measure_clips(scenes.truth[one], scenes.source[one], scenes.mask[one], ENCODER, scenes.truth[one])
    for name in METRICS:
        assert together[name][1] == pytest.approx(alone[name][0].item(), abs=1e-5), name


def test_without_truth_only_the_success_rate_is_unknown(scenes):
    scores = measure_clips(scenes.truth, scenes.source, scenes.mask, ENCODER)
    assert [name for name, values in scores.items() if values.isnan().any()] == ["SR"]


def test_empty_and_full_masks_give_nan_only_where_there_is_nothing_to_measure(scenes):
    for mask, unknown in ((torch.zeros_like(scenes.mask), "SR"), (torch.ones_like(scenes.mask), "BG-SSIM")):
        scores = measure_clips(scenes.truth, scenes.source, mask, ENCODER, scenes.truth)
        assert [name for name, values in scores.items() if values.isnan().any()] == [unknown]


def test_constant_clips_are_measured(scenes):
    grey = torch.zeros_like(scenes.source)
    scores = means(measure_clips(grey, grey, scenes.mask, ENCODER, scenes.truth))
    assert [scores[name] for name in ("TC", "FC", "BG-SSIM", "MS", "BC")] == pytest.approx([1.0] * 5, abs=1e-5)
    assert scores["SR"] == 0.0


def with_nan(clip):
    clip = clip.clone()
    clip[1, 0, 3, 5, 5] = float("nan")
    return clip


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: (s.truth[:, :, :9], s.source, s.mask, s.truth), "differ in length"),
        (lambda s: (s.truth[..., :48], s.source, s.mask, s.truth), "differ in width"),
        (lambda s: (s.truth[:3], s.source, s.mask, s.truth), "differ in number of clips"),
        (lambda s: (s.truth, s.source, s.mask, s.truth[:, :, :9]), "output and truth differ in length"),
        (lambda s: (s.truth, s.source, s.mask.expand(-1, 3, -1, -1, -1), s.truth), "mask has shape"),
        (lambda s: (s.truth, s.source, s.mask * 255, s.truth), "other values than 0 and 1"),
        (lambda s: (with_nan(s.truth), s.source, s.mask, s.truth), "output holds NaN.*clip 1, frame 3"),
        (lambda s: (s.truth, with_nan(s.source), s.mask, s.truth), "source holds NaN"),
        (lambda s: (s.truth * 127.5 + 127.5, s.source, s.mask, s.truth), r"x / 127.5 - 1"),
        (lambda s: (s.truth.byte(), s.source, s.mask, s.truth), "wanted floats"),
        (lambda s: (s.truth[0], s.source, s.mask, s.truth), "Add or move the axes"),
        (lambda s: tuple(x[:, :, :2] for x in (s.truth, s.source, s.mask, s.truth)), "needs 3"),
        (lambda s: tuple(x[..., :8, :8] for x in (s.truth, s.source, s.mask, s.truth)), "11 px a side"),
    ],
)
def test_bad_input_is_named(scenes, change, message):
    output, source, mask, truth = change(scenes)
    with pytest.raises(NovaError, match=message):
        measure_clips(output, source, mask, ENCODER, truth)


def test_fifty_clips_a_minute_on_one_core(long):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        measure_clips(long.truth[:1], long.source[:1], long.mask[:1], ENCODER)  # the first call also warms up
        started = time.process_time()  # of this process: what else runs on the machine does not count
        measure_clips(long.truth, long.source, long.mask, ENCODER, long.truth)
        seconds = time.process_time() - started
    finally:
        torch.set_num_threads(threads)
    assert 5 / seconds * 60 >= 50
