"""The embedded encoder is fit for TC, FC and BC on held-out scenes, and random projections fail the same test."""

import pytest
import torch

from novakit.errors import NovaError
from novakit.evaluation.encoders import EmbeddedEncoder, get_encoder
from novakit.evaluation.encoders.embedded import soft_bins, soft_colours, soft_directions
from novakit.evaluation.encoders.random_projection import RandomProjection
from novakit.evaluation.metrics import background_consistency, clip_features, temporal_consistency
from novakit.evaluation.metrics.breaking import flickering, shuffled_in_time
from novakit.evaluation.metrics.fitness import Fitness, encoder_fitness
from novakit.models import decode_latents, encode_clip
from novakit.scenes import render_scenes

SCENES = range(8)


@pytest.fixture(scope="module")
def clips():
    """Truth, the truth of another edit of the same object, and the truth through the VAE."""
    from novakit.editing.pipeline import NovaEditPipeline

    right, wrong = (render_scenes(SCENES, split="test", edit=edit) for edit in ("recolour", "replace"))
    truth, other = (clip[:, :, :9] for clip in (right.truth, wrong.truth))
    vae = NovaEditPipeline.from_preset("nano", device="cpu").vae
    with torch.no_grad():
        round_trip = decode_latents(vae, encode_clip(vae, truth))
    return {"truth": truth, "wrong": other, "round_trip": round_trip}


@pytest.fixture(scope="module")
def embedded(clips):
    return encoder_fitness(get_encoder(), **clips)


@pytest.fixture(scope="module")
def random_projection(clips):
    return encoder_fitness(RandomProjection(), **clips)


def test_truth_above_flicker_above_shuffled_frames_with_a_wide_margin(embedded):
    assert embedded.faults == []
    for mean in embedded.means.values():
        assert mean["truth"] - mean["flicker"] > 0.03 and mean["flicker"] - mean["shuffled"] > 0.15
    assert all(min(shares) == 1.0 for shares in embedded.shares.values())


def test_a_wrong_object_is_further_from_the_truth_than_the_lost_detail_of_the_vae(embedded):
    assert embedded.noticed == 1.0 and embedded.ratio > 3
    assert embedded.unrelated < 0.65


def test_random_projections_fail_the_same_test(random_projection):
    """They keep the order; but everything is the same to them: there is no gap that noise would not close."""
    assert any("truth > flicker" in fault for fault in random_projection.faults)
    assert random_projection.unrelated > 0.9
    assert min(mean["shuffled"] for mean in random_projection.means.values()) > 0.9
    assert all(mean["truth"] - mean["flicker"] < 0.01 for mean in random_projection.means.values())


def test_an_encoder_that_sees_nothing_fails_everything(clips):
    class Blind:
        name = "blind"

        def encode(self, frames):
            return torch.ones(len(frames), 4) / 2

    assert len(encoder_fitness(Blind(), **clips).faults) == 7
    assert Fitness().faults  # nothing measured is not fit


def test_flicker_of_the_object_alone_is_seen_and_is_less_bad_than_frames_out_of_order():
    """FC has no part in this: it does not see the order of frames."""
    scenes = render_scenes(SCENES, split="test", edit="recolour")
    broken = (scenes.truth, flickering(scenes.truth, scenes.mask), shuffled_in_time(scenes.truth))
    features = [clip_features(clip, get_encoder()) for clip in broken]
    for score in (temporal_consistency, background_consistency):
        right, flicker, mixed = (score(f) for f in features)
        assert (right > flicker).all()
        assert right.mean() - flicker.mean() > 0.001 and flicker.mean() - mixed.mean() > 0.005


def test_features_have_length_one_whatever_the_frame():
    frames = torch.stack([torch.full((3, 40, 70), value) for value in (-1.0, 0.0, 0.3, 1.0)])
    features = EmbeddedEncoder().encode(torch.cat([frames, torch.rand(2, 3, 40, 70) * 2 - 1]))
    assert torch.allclose(features.norm(dim=1), torch.ones(6), atol=1e-5)
    assert features.min() >= 0 and float(features[0] @ features[3]) < 0.3  # black is not white


def test_the_size_of_a_frame_hardly_matters(clips):
    frames = clips["truth"][:, :, 0]
    large = torch.nn.functional.interpolate(frames, scale_factor=3, mode="bicubic").clamp(-1, 1)
    encoder = get_encoder()
    assert (encoder.encode(frames) * encoder.encode(large)).sum(1).min() > 0.98


def test_soft_bins_share_a_value_between_its_neighbours():
    bins = soft_bins(torch.tensor([[[0.0, 1.25, 3.0]]]), 4)[0, :, 0]
    assert bins.T.tolist() == [[1, 0, 0, 0], [0, 0.75, 0.25, 0], [0, 0, 0, 1]]
    frames = torch.rand(2, 3, 8, 8) * 2 - 1
    for planes in (soft_colours(frames), soft_directions(frames)):
        assert torch.allclose(planes.sum(1), torch.ones(2, 8, 8), atol=1e-5) and planes.min() >= 0


def test_directions_are_directions():
    wave = torch.sin(torch.arange(48) * 0.8).expand(3, 32, 48)
    upright, lying = soft_directions(wave[None])[0], soft_directions(wave.transpose(1, 2).contiguous()[None])[0]
    assert upright[:-1, 8:-8, 8:-8].mean((1, 2)).argmax() == 0  # brightness changes along x
    assert lying[:-1, 8:-8, 8:-8].mean((1, 2)).argmax() == 4  # along y: a quarter turn of eight bins a half turn


def test_frames_with_nan_are_refused():
    with pytest.raises(NovaError, match="NaN"):
        get_encoder().encode(torch.full((1, 3, 32, 32), float("nan")))
    with pytest.raises(NovaError, match="transpose"):
        get_encoder().encode(torch.zeros(1, 3, 5, 32, 32))
