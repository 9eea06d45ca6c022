"""Scenes, measures and filters; files that cannot be read; a child process that can be killed."""

import sys
import time
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from make_clips import make_sound, make_video
from prepare_toy import SIZE, scene, two_scenes

from novakit.errors import NovaError
from novakit.training.preparation.child import Child
from novakit.training.preparation.cutting import Candidate, Cutting, survey, watch
from novakit.training.preparation.examples import read_window
from novakit.training.preparation.filters import Limits, Looks, reason_against
from novakit.training.preparation.listing import Video
from novakit.training.preparation.plan import Item
from novakit.video import probe, read_clip

GOOD = Candidate("key", 0, 1, 33, (64, 96), 5.0, 50.0, "0" * 48, "")
LIMITS = Limits(33, (64, 96))


def look(path, num_frames=33, **how):
    found = survey(asdict(Video(path.name, str(path))), asdict(Cutting(num_frames, **how)))
    return [Candidate(**clip) for clip in found]


def test_a_cut_is_found_and_no_clip_crosses_it(videos):
    assert watch(probe(videos / "two.mp4"), 80)[1] == [40]
    first, second = look(videos / "two.mp4")
    assert (first.start, second.start) == (2, 44) and first.frames == second.frames == 38
    assert first.start + 33 <= 38 and second.start >= 42  # two frames are left out beside the cut
    assert first.key != second.key


def test_the_key_follows_the_content_not_the_name(videos):
    assert look(videos / "one.mp4") == look(videos / "one copy.mp4")


def test_only_the_longest_scenes_are_taken(videos):
    assert [clip.start for clip in look(videos / "two.mp4", clips_per_video=1)] == [2]
    assert [clip.frames for clip in look(videos / "two.mp4", look_at=20)] == [20]


def test_a_fast_video_is_thinned(tmp_path):
    path = make_video(tmp_path / "fast.mp4", frames=70, draw=scene(0), size=(64, 96), fps=60)
    (clip,) = look(path)
    assert (clip.stride, clip.frames, clip.start) == (2, 35, 2)
    window = read_window(str(path), Item(Video("fast", str(path)), clip), 33, (64, 96))
    assert torch.equal(window, read_clip(path).frames[:, :, 2 : 2 + 65 : 2])


def test_motion_and_contrast_are_what_numpy_says(tmp_path):
    flat = make_video(
        tmp_path / "flat.mp4", frames=34, draw=lambda t, h, w: np.full((h, w, 3), 9 + t, np.uint8), **SIZE
    )
    (clip,) = look(flat)
    assert clip.contrast < 1.0 and clip.motion == pytest.approx(1.0, abs=0.15)


@pytest.mark.parametrize(
    "change, said",
    [
        ({}, None),
        ({"frames": 32}, "too short: the scene has 32 frames of 33"),
        ({"size": (60, 90)}, "too small: 90x60"),
        ({"size": (960, 540)}, "wrong shape: the crop of 540x960 would lose 62%"),
        ({"size": (640, 853)}, None),  # 4:3
        ({"motion": 0.1}, "static"),
        ({"contrast": 2.0}, "flat"),
    ],
)
def test_each_filter(change, said):
    reason = reason_against(replace(GOOD, **change), LIMITS)
    assert reason is None if said is None else reason.startswith(said)


def test_near_duplicates_among_many():
    looks, generator = Looks(), np.random.default_rng(0)
    many = [generator.bytes(24).hex() for _ in range(100)]
    for i, each in enumerate(many):
        assert looks.twin(each, 16) is None
        looks.add(str(i), each)
    near = bytearray.fromhex(many[70])
    near[3] ^= 0xFF
    assert looks.twin(near.hex(), 8) == "70" and looks.twin(near.hex(), 7) is None


def bad_files(tmp_path):
    whole = make_video(tmp_path / "whole.mp4", frames=40, draw=scene(0), **SIZE).read_bytes()
    front = {"container_options": {"movflags": "faststart"}}
    early = make_video(tmp_path / "early.mp4", frames=40, draw=scene(0), **SIZE, **front).read_bytes()
    return {
        "empty": b"",
        "text": b"hello",
        "random": np.random.default_rng(0).bytes(5000),
        "no index": whole[: len(whole) // 2],
        "cut": early[: int(len(early) * 0.7)],
        "playlist": b"ffconcat version 1.0\nfile secret.mp4\n",
        "m3u8": b"#EXTM3U\n#EXTINF:1,\nsecret.mp4\n",
        "sound": make_sound(tmp_path / "sound.mp4").read_bytes(),
    }


def test_files_that_cannot_be_read_are_refused_with_a_reason(tmp_path):
    for name, data in bad_files(tmp_path).items():
        path, started = tmp_path / f"bad {name}.mp4", time.monotonic()
        path.write_bytes(data)
        with pytest.raises(NovaError):
            look(path)
        assert time.monotonic() - started < 5, name


def test_flipped_bytes_never_repeat_frames_silently(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (40, 72, 104, 3), np.uint8)
    path = make_video(tmp_path / "noise.mp4", frames=40, draw=lambda t, h, w: noise[t], **SIZE)
    data, places = bytearray(path.read_bytes()), np.random.default_rng(1).integers(20_000, 60_000, 400)
    for place in places:
        data[place] ^= 0x55
    path.write_bytes(bytes(data))
    try:
        frames, _ = watch(probe(path), 40)
    except NovaError as error:
        assert "decoded" in str(error) or "damaged" in str(error)
    else:
        assert len(frames) == 40 and all((a != b).any() for a, b in zip(frames, frames[1:]))


def test_a_varying_frame_rate_is_refused(tmp_path):
    times = [t * 40 + (t > 10) * 300 for t in range(34)]
    path = make_video(tmp_path / "vfr.mkv", frames=34, draw=scene(0), times=times, **SIZE)
    with pytest.raises(NovaError, match="frame rate varies"):
        look(path)


def test_a_companion_must_be_long_enough(videos, tmp_path):
    short = make_video(tmp_path / "short.mp4", frames=20, draw=scene(0), **SIZE)
    entry = Video("one", str(videos / "one.mp4"), source=str(short))
    with pytest.raises(NovaError, match="has 20 frames; 33 are needed"):
        survey(asdict(entry), asdict(Cutting(33)))
    entry = Video("two", str(videos / "two.mp4"), source=str(videos / "one.mp4"))
    (clip,) = survey(asdict(entry), asdict(Cutting(33)))
    assert clip["start"] == 0  # companions go frame by frame from the first one on


def test_portrait_and_rotation_come_upright(tmp_path):
    path = make_video(tmp_path / "turned.mp4", frames=34, draw=two_scenes, rotation=90, **SIZE)
    (clip,) = look(path)
    assert clip.size == (104, 72) and reason_against(clip, LIMITS).startswith("wrong shape")


READY = "print('ready', flush=True); import sys; sys.stdin.readline(); "


@pytest.mark.parametrize(
    "then, said",
    [
        ("import time; time.sleep(60)", "did not end within 0.3 s"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "exit code -11"),
        ("import ctypes; ctypes.PyDLL(None).sleep(60)", "did not end within 0.3 s"),  # holds Python's lock
    ],
)
def test_a_decoder_that_hangs_or_dies_costs_one_file(then, said):
    started = time.monotonic()
    with Child(0.3, [sys.executable, "-S", "-c", READY + then]) as child:
        for _ in range(2):  # the second call starts another process
            with pytest.raises(NovaError, match=said):
                child.survey({}, {})
            assert child.process is None
    assert time.monotonic() - started < 20


def test_the_child_says_what_the_function_says(videos):
    cutting = asdict(Cutting(33))
    with Child(60) as child:
        for name in ("one.mp4", "text.mp4", "two.mp4"):
            entry = asdict(Video(name, str(videos / name)))
            if name == "text.mp4":
                with pytest.raises(NovaError, match="not a video"):
                    child.survey(entry, cutting)
            else:
                found = [{**clip, "size": tuple(clip["size"])} for clip in child.survey(entry, cutting)]
                assert found == survey(entry, cutting)
