"""TC, FC and BC: equal to their recipes written as loops, and what each of them cannot see."""

import pytest
import torch
import torch.nn.functional as F

from novakit.errors import NovaError
from novakit.evaluation.encoders import get_encoder
from novakit.evaluation.metrics import (
    background_consistency,
    clip_features,
    frame_consistency,
    temporal_consistency,
)
from novakit.evaluation.metrics.breaking import flickering, frozen, shuffled_in_time
from novakit.scenes import render_scenes

ALL = (temporal_consistency, frame_consistency, background_consistency)


@pytest.fixture(scope="module")
def clip():
    return render_scenes([0, 1], split="val", num_frames=9).truth


def features(seed=0):
    return F.normalize(torch.randn(2, 7, 5, generator=torch.Generator().manual_seed(seed)), dim=2)


def cosine(f, s, t):
    return float(f[s] @ f[t])


def test_tc_is_the_mean_of_adjacent_cosines_none_below_zero():
    expected = [sum(max(0.0, cosine(f, t, t - 1)) for t in range(1, 7)) / 6 for f in features()]
    assert temporal_consistency(features()).tolist() == pytest.approx(expected, abs=1e-6)
    assert min(cosine(f, t, t - 1) for f in features() for t in range(1, 7)) < 0  # the clipping was tested


def test_fc_is_the_mean_over_all_pairs_of_different_frames():
    expected = [sum(cosine(f, s, t) for s in range(7) for t in range(7) if s != t) / 42 for f in features()]
    assert frame_consistency(features()).tolist() == pytest.approx(expected, abs=1e-6)


def test_bc_is_the_mean_of_adjacent_and_first():
    expected = [
        sum((max(0.0, cosine(f, t, t - 1)) + max(0.0, cosine(f, t, 0))) / 2 for t in range(1, 7)) / 6
        for f in features()
    ]
    assert background_consistency(features()).tolist() == pytest.approx(expected, abs=1e-6)


def test_features_of_a_clip_are_those_of_its_frames(clip):
    encoder = get_encoder()
    together = clip_features(clip, encoder)
    assert torch.allclose(together[1, 4], encoder.encode(clip[1:, :, 4])[0])
    assert torch.allclose(together.norm(dim=2), torch.ones(2, 9), atol=1e-5)


def test_fc_does_not_see_the_order_of_frames_and_the_others_do(clip):
    whole, mixed = (clip_features(c, get_encoder()) for c in (clip, shuffled_in_time(clip)))
    assert torch.allclose(frame_consistency(whole), frame_consistency(mixed), atol=1e-5)
    assert (temporal_consistency(mixed) < temporal_consistency(whole)).all()
    assert (background_consistency(mixed) < background_consistency(whole)).all()


def test_a_frozen_clip_is_perfect_and_a_flickering_one_is_not(clip):
    for score in ALL:
        values = [score(clip_features(c, get_encoder())) for c in (frozen(clip), clip, flickering(clip))]
        assert values[0].tolist() == pytest.approx([1.0, 1.0], abs=1e-5)
        assert (values[0] > values[1]).all() and (values[1] > values[2] + 0.02).all()


def test_constant_clips_have_a_score(clip):
    for colour in (-1.0, 0.0, 1.0):
        flat = clip_features(torch.full_like(clip, colour), get_encoder())
        assert [float(score(flat)[0]) for score in ALL] == pytest.approx([1.0] * 3, abs=1e-5)


def test_what_has_no_pairs_is_refused(clip):
    for score in ALL:
        with pytest.raises(NovaError, match="at least two frames"):
            score(features()[:, :1])
    with pytest.raises(NovaError, match="wanted floats"):
        clip_features(clip[0], get_encoder())


def test_an_encoder_that_loses_frames_is_refused(clip):
    class Lossy:
        name = "lossy"

        def encode(self, frames):
            return torch.ones(len(frames) - 1, 4)

    with pytest.raises(NovaError, match="lossy gave"):
        clip_features(clip, Lossy())
