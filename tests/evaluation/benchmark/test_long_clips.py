"""The made clip is what it says, and what is done with it is watched in a process of its own."""

import pytest

from novakit.errors import NovaError
from novakit.evaluation.benchmark import clips
from novakit.evaluation.benchmark.long_clips import LongClip, make_long_clip
from novakit.scenes import render_scenes
from novakit.video import KeyframeStore, probe, read_clip, read_mask


def test_the_clip_plays_a_scene_forwards_and_backwards(tmp_path):
    clip = make_long_clip(tmp_path, 150)
    scene = render_scenes([0], split="test")
    frames, truth = read_clip(clip.source).frames[0], scene.truth[0]
    assert probe(clip.source).num_frames == 150
    for t, other in ((0, 64), (31, 33), (40, 24), (65, 1), (149, 21)):
        assert (frames[:, t] - frames[:, other]).abs().mean() < 0.03
    assert frames.diff(dim=1).abs().mean((0, 2, 3)).max() < 0.3, "no jump"
    store = KeyframeStore(clip.keyframes, 150, (64, 96))
    assert store.indices == tuple(range(0, 150, 8))
    assert (store[40] - truth[:, 24]).abs().max() < 0.01
    mask = read_mask(clip.mask, 150, (64, 96))[0]
    assert (mask[:, 40] != scene.mask[0, :, 24]).float().mean() < 0.005


def test_the_process_is_watched():
    measured = clips.measure_edit(37)
    assert 100 < measured["megabytes"] < 2000 and measured["seconds"] > 0


def test_keyframes_per_second_of_a_small_clip(tmp_path):
    assert clips._rate_of_keyframes(tmp_path / "clip", 17, (64, 96)) > 1


def test_a_failure_says_what_went_wrong(tmp_path):
    gone = LongClip(tmp_path / "nowhere.mp4", tmp_path / "m.mp4", tmp_path)
    with pytest.raises(NovaError, match="ended with code 1:.*nowhere.mp4 does not exist"):
        clips.edit_and_watch(gone, tmp_path / "e.mp4", 1)
