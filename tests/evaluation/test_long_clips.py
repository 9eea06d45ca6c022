"""The long clip is what it says, and its edit is watched in a process of its own."""

import pytest

from novakit.errors import NovaError
from novakit.evaluation import long_clips
from novakit.evaluation.long_clips import make_long_clip, measure_long_clip
from novakit.scenes import render_scenes
from novakit.video import KeyframeStore, probe, read_clip


def test_the_clip_plays_a_scene_forwards_and_backwards(tmp_path):
    source, keyframes = make_long_clip(tmp_path, 150)
    frames, truth = read_clip(source).frames[0], render_scenes([0], split="test").truth[0]
    assert probe(source).num_frames == 150
    for t, other in ((0, 64), (31, 33), (40, 24), (65, 1), (149, 21)):
        assert (frames[:, t] - frames[:, other]).abs().mean() < 0.03
    assert frames.diff(dim=1).abs().mean((0, 2, 3)).max() < 0.3, "no jump"
    store = KeyframeStore(keyframes, 150, (64, 96))
    assert store.indices == tuple(range(0, 150, 8))
    assert (store[40] - truth[:, 24]).abs().max() < 0.01


def test_the_process_is_watched():
    measured = measure_long_clip(37)
    assert 100 < measured["megabytes"] < 2000 and measured["seconds"] > 0


def test_a_failure_says_what_went_wrong(monkeypatch, tmp_path):
    monkeypatch.setattr(long_clips, "make_long_clip", lambda *_: (tmp_path / "nowhere.mp4", tmp_path))
    with pytest.raises(NovaError, match="editing 9 frames ended with 1:.*nowhere.mp4 does not exist"):
        measure_long_clip(9)
