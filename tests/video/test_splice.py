"""Frames are replaced in the middle of a file; every packet outside their groups stays as it is, bit by bit."""

import os
from fractions import Fraction

import av
import numpy as np
import pytest
import torch
from make_clips import make_video, picture

from novakit.errors import NovaError
from novakit.video import GROUP, frames_to_encode, iter_frames, probe, read_clip, replace_frames, write_clip
from novakit.video import splice as splice_module

FRAMES, SIZE, FPS = 130, (48, 80), Fraction(30000, 1001)


def frame(t):
    return torch.from_numpy(picture(t, *SIZE)).permute(2, 0, 1).float() / 127.5 - 1


@pytest.fixture
def sound(tmp_path):
    return make_video(tmp_path / "sound.mp4", audio="aac", frames=FRAMES)


@pytest.fixture
def info(tmp_path, sound):
    frames = (frame(t) for t in range(FRAMES))
    return probe(write_clip(tmp_path / "edit.mp4", frames, FPS, audio_from=sound, longest_group=GROUP))


def packets(path, kind):
    with av.open(str(path)) as opened:
        stream = getattr(opened.streams, kind)[0]
        return [(packet.pts, packet.dts, bytes(packet)) for packet in opened.demux(stream) if packet.size]


@pytest.mark.parametrize(
    ("start", "stop", "encoded"),
    [
        (60, 70, (48, 96)),
        (48, 96, (48, 96)),
        (40, 60, (0, 96)),
        (3, 4, (0, 48)),
        (96, 97, (96, 130)),
        (129, 130, (96, 130)),
    ],
)
def test_only_the_groups_that_were_touched_change(info, sound, start, stop, encoded):
    first, end = frames_to_encode(info, start, stop)
    assert (first, end) == encoded
    before, heard = packets(info.path, "video"), packets(info.path, "audio")
    seen = np.stack(list(iter_frames(info)))
    replace_frames(info, (frame(t).flip(-1) for t in range(first, end)), first, end, sound)
    after = packets(info.path, "video")
    assert after[:first] == before[:first] and after[end:] == before[end:] and after != before
    assert [times[:2] for times in after][:first] == [times[:2] for times in before][:first]
    assert sorted(pts for pts, *_ in after) == sorted(pts for pts, *_ in before)
    assert packets(info.path, "audio") == heard
    again = probe(info.path)
    assert (again.num_frames, again.fps, again.size, again.has_audio) == (FRAMES, FPS, SIZE, True)
    now = np.stack(list(iter_frames(again)))
    assert np.array_equal(now[:first], seen[:first]) and np.array_equal(now[end:], seen[end:])
    wanted = torch.stack([frame(t).flip(-1) for t in range(first, end)], 1)
    assert (read_clip(again).frames[0, :, first:end] - wanted).abs().mean() < 0.05
    assert sorted(os.listdir(info.path.parent)) == ["edit.mp4", "sound.mp4"]


def test_old_frames_in_a_group_that_is_encoded_again_hardly_change(info):
    before = read_clip(info).frames[0]
    frames = [None if t != 60 else frame(t).flip(-1) for t in range(48, 96)]
    replace_frames(info, frames, 48, 96)
    change = (read_clip(probe(info.path)).frames[0] - before).abs().mean((0, 2, 3))
    kept = torch.ones(FRAMES, dtype=torch.bool)
    kept[60] = False
    assert change[60] > 0.2 > 0.02 > change[kept].max() and change[:48].max() == change[96:].max() == 0
    drift = (read_clip(probe(info.path)).frames[0] - before).mean((0, 2, 3))[kept]
    assert drift.abs().max() < 0.004, "no shade darker: half a level of 255"


@pytest.mark.parametrize("reader", ["decord", "pyav"])
def test_both_readers_see_the_same_frames_afterwards(info, reader):
    if reader == "decord":
        pytest.importorskip("decord")
    replace_frames(info, (frame(t).flip(-1) for t in range(48, 96)), 48, 96)
    clip = read_clip(probe(info.path), reader=reader).frames
    wanted = torch.stack([frame(t).flip(-1) if 48 <= t < 96 else frame(t) for t in range(FRAMES)], 1)
    assert (clip[0] - wanted).abs().amax(dim=(0, 2, 3)).max() < 0.5 and (clip[0] - wanted).abs().mean() < 0.05


def test_a_file_of_another_encoder_is_encoded_as_a_whole(tmp_path, sound):
    other = probe(make_video(tmp_path / "other.mp4", frames=FRAMES, fps=FPS, options={"profile": "baseline"}))
    assert frames_to_encode(other, 60, 70) == (0, FRAMES)
    replace_frames(other, (frame(t).flip(-1) for t in range(FRAMES)), 0, FRAMES, sound)
    clip = read_clip(probe(other.path))
    assert clip.info.has_audio and (clip.frames[0, :, 7] - frame(7).flip(-1)).abs().mean() < 0.05


def test_a_failure_leaves_the_old_file(info, monkeypatch):
    before = info.path.read_bytes()
    with pytest.raises(NovaError, match="NaN"):
        replace_frames(info, (frame(t) * float("nan") for t in range(48, 96)), 48, 96)

    def full(*_):
        raise av.error.FFmpegError(28, "No space left on device")

    monkeypatch.setattr(splice_module, "_exchanged", full)
    with pytest.raises(NovaError, match="cannot write .*edit.mp4: No space left on device"):
        replace_frames(info, (frame(t) for t in range(48, 96)), 48, 96)
    assert info.path.read_bytes() == before and sorted(os.listdir(info.path.parent)) == ["edit.mp4", "sound.mp4"]
