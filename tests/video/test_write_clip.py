"""What is written plays in browsers, has the same frames, rate and sound, and is whole or absent."""

import os
import warnings
from fractions import Fraction

import av
import numpy as np
import pytest
import torch
from make_clips import make_sound, make_video, picture

from novakit.errors import NovaError, NovaNotice
from novakit.video import Geometry, probe, read_clip, write_clip


def _clip(frames: int = 13, size: tuple[int, int] = (48, 80)) -> torch.Tensor:
    drawn = np.stack([picture(t, *size) for t in range(frames)])
    return torch.from_numpy(drawn).permute(3, 0, 1, 2)[None].float() / 127.5 - 1  # (1, 3, T, H, W)


@pytest.mark.parametrize("fps", [Fraction(30000, 1001), Fraction(8), 23.976, 9.12, Fraction(1, 2), 240])
@pytest.mark.parametrize("frames", [1, 2, 13])
def test_there_and_back(tmp_path, fps, frames):
    clip = _clip(frames)
    back = read_clip(write_clip(tmp_path / "a.mp4", clip, fps, crf=4))
    assert back.num_frames == frames and (back.frames - clip).abs().mean() < 0.05
    assert float(back.info.fps) == pytest.approx(float(fps), rel=1e-4)
    if isinstance(fps, Fraction):
        assert back.info.fps == fps
    assert os.listdir(tmp_path) == ["a.mp4"]


def test_browsers_play_it(tmp_path):
    """H.264, 4:2:0, BT.709 and labelled so, index before the pictures."""
    file = write_clip(tmp_path / "a.mp4", _clip(), 25)
    with av.open(str(file)) as opened:
        stream = opened.streams.video[0]
        frame = next(opened.decode(stream))
        assert (stream.codec_context.name, frame.format.name) == ("h264", "yuv420p")
        assert (frame.colorspace, frame.color_range) == (1, 1)
    data = file.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat") and data[4:8] == b"ftyp"


@pytest.mark.parametrize("colour", [(1, -1, -1), (-1, 1, -1), (-1, -1, 1), (0.2, -0.4, 0.7), (1, 1, 1), (-1, -1, -1)])
@pytest.mark.parametrize("reader", ["auto", "pyav"])
def test_colours_survive(tmp_path, colour, reader):
    clip = torch.tensor(colour, dtype=torch.float32).view(1, 3, 1, 1, 1).expand(1, 3, 3, 32, 32)
    back = read_clip(write_clip(tmp_path / "a.mp4", clip, 8, crf=1), reader=reader).frames
    assert (back - clip).abs().max() < 0.04


def test_same_clip_same_pictures(tmp_path):
    """Not always the same bytes: on a busy machine x264 encoded 6 of 810 writes of this clip in another way."""
    one, other = (read_clip(write_clip(tmp_path / name, _clip(), 8)).frames for name in ("a.mp4", "b.mp4"))
    assert (one - other).abs().mean() < 0.01
    assert (one - _clip()).abs().mean() < 0.06


@pytest.mark.parametrize(("size", "written"), [((47, 81), (48, 82)), ((48, 81), (48, 82)), ((1, 1), (2, 2))])
def test_odd_sizes_get_a_repeated_row_or_column(tmp_path, size, written):
    clip = _clip(size=size)
    with pytest.warns(NovaNotice, match="even sizes"):
        back = read_clip(write_clip(tmp_path / "a.mp4", clip, 8, crf=4))
    assert back.info.size == written
    assert (back.frames[..., : size[0], : size[1]] - clip).abs().mean() < 0.06


def test_mask_frames_and_generators(tmp_path):
    mask = torch.zeros(1, 1, 5, 32, 48)
    mask[..., 10:20, 10:30] = 1
    back = read_clip(write_clip(tmp_path / "mask.mp4", mask, 8)).frames
    assert torch.equal((back.mean(1, keepdim=True) > 0).float(), mask)
    clip = _clip(5)
    whole = read_clip(write_clip(tmp_path / "whole.mp4", clip, 8)).frames
    one_by_one = read_clip(write_clip(tmp_path / "one_by_one.mp4", (clip[0, :, t] for t in range(5)), 8)).frames
    assert (one_by_one - whole).abs().mean() < 0.01


def test_back_to_the_size_of_the_source(tmp_path):
    source = read_clip(make_video(tmp_path / "source.mp4", size=(96, 160)), size=(32, 48))
    file = write_clip(tmp_path / "edit.mp4", source.frames, source.info.fps, geometry=source.geometry)
    info = probe(file)
    assert (info.size, info.fps, info.num_frames) == ((96, 160), source.info.fps, source.num_frames)
    assert (read_clip(file).frames - read_clip(source.info).frames).abs().mean() < 0.1


def _sound(file):
    with av.open(str(file)) as opened:
        if not opened.streams.audio:
            return None, 0.0, b""
        stream = opened.streams.audio[0]
        packets = [packet for packet in opened.demux(stream) if packet.size]
        end = max(float((packet.pts + packet.duration) * packet.time_base) for packet in packets)
        return stream.codec_context.name, end, b"".join(bytes(packet) for packet in packets)


@pytest.mark.parametrize(
    ("name", "codec", "audio", "copied"),
    [
        ("a.mp4", "libx264", "aac", True),
        ("a.webm", "libvpx-vp9", "libopus", True),
        ("mp3.mkv", "libx264", "libmp3lame", True),
        ("flac.mkv", "libx264", "flac", True),
        ("pcm.mov", "libx264", "pcm_s16le", False),
        ("mp2.mkv", "libx264", "mp2", False),
        ("ac3.mkv", "libx264", "ac3", False),
    ],
)
def test_sound_goes_along(tmp_path, name, codec, audio, copied):
    source = make_video(tmp_path / name, codec=codec, audio=audio, frames=30)
    edit = write_clip(tmp_path / "edit.mp4", _clip(30), Fraction(30000, 1001), audio_from=source)
    before, after = _sound(source), _sound(edit)
    assert probe(edit).has_audio and probe(edit).num_frames == 30
    assert after[2] == before[2] if copied else after[0] == "aac"
    assert after[1] == pytest.approx(before[1], abs=0.06)
    with av.open(str(edit)) as opened:
        loudness = max(float(np.abs(frame.to_ndarray().astype(np.float64)).max()) for frame in opened.decode(audio=0))
    assert loudness > 0.1


def test_sound_is_cut_with_the_clip_and_silence_stays_silent(tmp_path):
    source = make_video(tmp_path / "a.mp4", audio="aac", frames=60, fps=Fraction(30))
    edit = write_clip(tmp_path / "edit.mp4", _clip(15), 30, audio_from=source)
    assert 0.4 < _sound(edit)[1] < 0.56
    quiet = make_video(tmp_path / "quiet.mp4")
    assert not probe(write_clip(tmp_path / "quiet_edit.mp4", _clip(), 30, audio_from=quiet)).has_audio
    from_sound_file = write_clip(tmp_path / "b.mp4", _clip(), 30, audio_from=make_sound(tmp_path / "sound.mp4"))
    assert probe(from_sound_file).has_audio


@pytest.mark.parametrize(
    ("clip", "words"),
    [
        (torch.full((1, 3, 3, 8, 8), float("nan")), "NaN or infinite"),
        (
            torch.cat([torch.zeros(1, 3, 2, 8, 8), torch.full((1, 3, 1, 8, 8), float("inf"))], 2),
            "frame 2 holds NaN",
        ),
        (torch.rand(1, 3, 3, 8, 8) * 255, "wanted \\[-1, 1\\]"),
        (torch.zeros(1, 3, 3, 8, 8, dtype=torch.uint8), "wanted floats"),
        (torch.zeros(2, 3, 3, 8, 8), "shape \\(2, 3, 3, 8, 8\\)"),
        (torch.zeros(1, 3, 0, 8, 8), "shape"),
        (torch.zeros(8, 8), "shape"),
        ([], "no frames"),
        ([torch.zeros(3, 8, 8), torch.zeros(3, 8, 10)], "wanted one size"),
        ([np.zeros((8, 8, 3))], "wanted a tensor"),
    ],
)
def test_bad_clips_leave_nothing_behind(tmp_path, clip, words):
    with pytest.raises(NovaError, match=words):
        write_clip(tmp_path / "edit.mp4", clip, 8)
    assert os.listdir(tmp_path) == []


def test_the_old_file_survives_a_failure(tmp_path):
    file = write_clip(tmp_path / "edit.mp4", _clip(), 8)
    before = file.read_bytes()
    broken = _clip()
    broken[:, :, -1] = float("nan")
    with pytest.raises(NovaError):
        write_clip(file, broken, 8)
    assert file.read_bytes() == before and os.listdir(tmp_path) == ["edit.mp4"]


def test_other_refusals(tmp_path):
    (tmp_path / "file").write_text("x")
    for path, fps, words in (
        ("edit.avi", 8, "ends in .mp4"),
        ("edit.mp4", 0, "fps=0"),
        ("edit.mp4", float("nan"), "fps=nan"),
        ("file/edit.mp4", 8, "a file is in the way"),
    ):
        with pytest.raises(NovaError, match=words):
            write_clip(tmp_path / path, _clip(), fps)
    with pytest.raises(NovaError, match="does not exist"):
        write_clip(tmp_path / "edit.mp4", _clip(), 8, audio_from=tmp_path / "missing.mp4")


def test_even_sizes_give_no_notice(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error", NovaNotice)
        write_clip(tmp_path / "a.mp4", _clip(), 8, geometry=Geometry.between((48, 80)))
    assert probe(tmp_path / "a.mp4").size == (48, 80)


def test_damaged_sound_does_not_cost_the_edit(tmp_path, monkeypatch):
    source = make_video(tmp_path / "a.mp4", audio="aac")

    def break_off(*_):
        raise av.error.InvalidDataError(1094995529, "Invalid data found")

    monkeypatch.setattr("novakit.video.audio.SoundTrack._copy", break_off)
    with pytest.warns(NovaNotice, match="sound of a.mp4 is damaged"):
        edit = write_clip(tmp_path / "edit.mp4", _clip(), 30, audio_from=source)
    assert probe(edit).num_frames == 13
