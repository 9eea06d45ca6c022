"""decord and PyAV give the same frames; only small frames are kept; counts are checked."""

import time
from fractions import Fraction
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from make_clips import make_video, picture

import novakit.video.decode as decode_module
from novakit.errors import NovaError, NovaNotice
from novakit.video import (
    check_num_frames,
    choose_reader,
    cut_back,
    iter_frames,
    largest_4k1,
    pad_to_4k1,
    probe,
    read_clip,
)

needs_decord = pytest.mark.skipif(find_spec("decord") is None, reason="decord has no wheel here")
SAMPLES = Path(__file__).parents[2] / "data_samples"
REAL_CLIPS = sorted((Path(__file__).parents[3] / "shared" / "real_clips").glob("*.mp4"))

KINDS = {
    "a.mp4": {},
    "sound.mp4": {"audio": "aac"},
    "a.mov": {},
    "a.webm": {"codec": "libvpx-vp9"},
    "vp8.webm": {"codec": "libvpx"},
    "a.mkv": {},
    "a.avi": {"codec": "mpeg4"},
    "hevc.mp4": {"codec": "libx265", "options": {"x265-params": "log-level=none"}},
    "phone.mp4": {"rotation": 90, "size": (130, 160)},
    "upside.mp4": {"rotation": 180},
    "odd.mp4": {"size": (47, 81), "pix_fmt": "yuv444p"},
    "wide_pixels.mp4": {"sample_aspect": Fraction(4, 3)},
    "narrow.mp4": {"size": (64, 48)},
    "narrow_phone.mp4": {"size": (72, 96), "rotation": -90},
    "tiny.mp4": {"size": (2, 4)},
    "one.mp4": {"frames": 1},
    "uneven.mkv": {"frames": 6, "times": [0, 40, 160, 200, 320, 360], "fps": Fraction(25)},
}
GIF = {"codec": "gif", "pix_fmt": "rgb8", "fps": Fraction(10)}


@needs_decord
@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("size", [None, (32, 48)])
def test_both_roads_give_the_same_frames(tmp_path, name, size):
    file = make_video(tmp_path / name, **KINDS[name])
    one, other = (read_clip(file, size=size, reader=reader) for reader in ("decord", "pyav"))
    assert one.frames.shape == other.frames.shape and one.num_frames == one.info.num_frames
    assert torch.equal(one.frames, other.frames)
    assert (one.reader, other.reader) == ("decord", "pyav")


@needs_decord
@pytest.mark.skipif(not REAL_CLIPS, reason="no real clips next to this checkout")
def test_both_roads_agree_on_real_footage():
    for file in REAL_CLIPS:
        one, other = (read_clip(file, size=(64, 96), num_frames=5, reader=reader) for reader in ("decord", "pyav"))
        assert torch.equal(one.frames, other.frames), file


@needs_decord
def test_both_roads_agree_on_every_sample():
    files = sorted(SAMPLES.glob("*/source.mp4"))
    assert len(files) == 10
    for file in files:
        one, other = (read_clip(file, reader=reader) for reader in ("decord", "pyav"))
        assert (one.reader, other.reader, one.num_frames) == ("decord", "pyav", 33), file
        assert torch.equal(one.frames, other.frames), file


@pytest.mark.parametrize("name", ["a.mp4", "a.webm", "phone.mp4", "a.gif"])
def test_frames_are_the_right_ones(tmp_path, name):
    """Against the picture that was drawn: order, orientation, colour and range."""
    file = make_video(tmp_path / name, **(GIF if name == "a.gif" else KINDS[name]))
    clip = read_clip(file)
    turned = 1 if name == "phone.mp4" else 0
    drawn = np.stack([np.rot90(picture(t, *KINDS.get(name, {}).get("size", (48, 80))), turned) for t in range(13)])
    wanted = torch.from_numpy(drawn.copy()).permute(3, 0, 1, 2)[None] / 127.5 - 1  # (1, 3, T, H, W)
    assert clip.frames.dtype == torch.float32 and clip.frames.abs().max() <= 1
    assert (clip.frames - wanted).abs().mean() < (0.15 if name == "a.gif" else 0.05)
    assert (clip.frames.flip(2) - wanted).abs().mean() > 0.2, "order matters"
    assert (clip.frames.flip(-1) - wanted).abs().mean() > 0.2, "orientation matters"
    assert (clip.frames.flip(1) - wanted).abs().mean() > 0.2, "colour matters"


def test_what_decord_cannot_read_goes_to_pyav(tmp_path):
    clip = read_clip(make_video(tmp_path / "a.gif", **GIF))
    assert clip.reader == "pyav" and clip.num_frames == 13 and clip.info.fps == 10


def test_only_a_few_source_frames_are_alive(tmp_path, monkeypatch):
    """A large clip never sits in memory whole: count the decoded pictures that are still referenced."""
    import weakref

    alive, most = set(), 0
    original = decode_module._upright

    class Counted(np.ndarray):
        pass

    def counted(frame, info):
        nonlocal most
        out = original(frame, info).view(Counted)
        alive.add(id(out))
        weakref.finalize(out, alive.discard, id(out))
        most = max(most, len(alive))
        return out

    monkeypatch.setattr(decode_module, "_upright", counted)
    clip = read_clip(make_video(tmp_path / "a.mp4", size=(240, 320), frames=40), size=(24, 32), reader="pyav")
    assert clip.num_frames == 40 and most <= 3
    assert clip.frames.untyped_storage().nbytes() == 40 * 3 * 24 * 32 * 4


@needs_decord
def test_decord_runs_at_most_three_frames_ahead(tmp_path, monkeypatch):
    decoded = []
    original = decode_module._as_array
    monkeypatch.setattr(decode_module, "_as_array", lambda *args: decoded.append(1) or original(*args))
    frames = iter_frames(probe(make_video(tmp_path / "a.mp4", frames=40)), reader="decord")
    next(frames)
    time.sleep(0.3)
    assert len(decoded) <= 4
    frames.close()


def test_first_frames_only(tmp_path):
    file = make_video(tmp_path / "a.mp4")
    assert torch.equal(read_clip(file, num_frames=5).frames, read_clip(file).frames[:, :, :5])
    for wanted, words in ((14, "has 13 frames; 14 were wanted"), (0, "makes no sense")):
        with pytest.raises(NovaError, match=words):
            read_clip(file, num_frames=wanted)


@pytest.mark.parametrize("reader", [pytest.param("decord", marks=needs_decord), "pyav"])
@pytest.mark.parametrize("name", ["a.mp4", "a.webm", "phone.mp4", "hevc.mp4"])
def test_frames_from_the_middle_on(tmp_path, name, reader):
    info = probe(make_video(tmp_path / name, **KINDS[name]))
    whole = np.stack(list(iter_frames(info, reader=reader)))
    for start, count in ((0, None), (1, 3), (7, None), (12, 1)):
        part = np.stack(list(iter_frames(info, count, reader, start=start)))
        assert np.array_equal(part, whole[start : None if count is None else start + count])


@needs_decord
def test_a_file_that_could_fill_the_memory_is_left_to_pyav(tmp_path, monkeypatch):
    """decord decodes the whole file ahead of a slow caller: 1 GB for 177 frames of 1080p."""
    file = make_video(tmp_path / "a.mp4")
    info = probe(file)
    size = 3 * 48 * 80 * 13
    for limit, reader in ((size, "decord"), (size - 1, "pyav")):
        monkeypatch.setattr(decode_module, "DECORD_BYTES", limit)
        assert choose_reader(info) == read_clip(file).reader == reader


@needs_decord
def test_a_file_is_decoded_once(tmp_path, monkeypatch):
    info = probe(make_video(tmp_path / "a.mp4"))
    monkeypatch.setattr(decode_module, "_pyav_frames", lambda *_: pytest.fail("PyAV decoded what decord had given"))
    assert len(list(iter_frames(info))) == len(list(iter_frames(info, 4, start=9))) + 9 == 13


class _HangingReader:
    """Stands for a decord reader that never comes back."""

    def __init__(self, *_, **__):
        time.sleep(5)


class _ShortReader:
    def __init__(self, *_, **__):
        pass

    def __len__(self):
        return 12


class _StoppingReader(_ShortReader):
    """Promises 13 frames and gives 4."""

    def __len__(self):
        return 13

    def next(self):
        self.given = getattr(self, "given", 0) + 1
        if self.given > 4:
            raise StopIteration
        return picture(self.given - 1, 48, 80)


@needs_decord
@pytest.mark.parametrize(
    ("reader", "words"),
    [
        (_HangingReader, "no frame within"),
        (_ShortReader, "decord counts 12"),
        (_StoppingReader, "decoded 4 of 13"),
    ],
)
def test_misbehaving_decord_cannot_hurt(tmp_path, monkeypatch, reader, words):
    file = make_video(tmp_path / "a.mp4")
    good = read_clip(file, reader="pyav").frames
    monkeypatch.setattr("decord.VideoReader", reader)
    monkeypatch.setattr(decode_module, "DECORD_PATIENCE_SECONDS", 0.3)
    with pytest.raises(NovaError, match=words):
        read_clip(file, reader="decord")
    with pytest.warns(NovaNotice, match="PyAV reads the rest"):
        clip = read_clip(file)
    given = 4 if reader is _StoppingReader else 0
    assert torch.equal(clip.frames[:, :, given:], good[:, :, given:])


def test_missing_frames_are_counted(tmp_path, monkeypatch):
    file = make_video(tmp_path / "a.mp4")
    original = decode_module._pyav_frames
    monkeypatch.setattr(decode_module, "_pyav_frames", lambda *args: list(original(*args))[:-3])
    with pytest.raises(
        NovaError, match="decoded 10 of 13 frames.*num_frames=10 in read_clip.*`ffmpeg -i a.mp4 -frames:v 10"
    ):
        read_clip(file, reader="pyav")


def test_damaged_middle_is_refused(tmp_path):
    """Noise over the middle of the picture data of a faststart file: PyAV notices, no silent repeats."""
    file = make_video(tmp_path / "a.mp4", frames=40, container_options={"movflags": "+faststart"})
    data = bytearray(file.read_bytes())
    start = data.index(b"mdat") + 4
    middle = (start + len(data)) // 2
    data[middle : middle + 400] = b"\xff" * 400
    file.write_bytes(data)
    with pytest.raises(NovaError, match="decoded .* of 40 frames"):
        read_clip(file, reader="pyav")


def test_without_decord(tmp_path, monkeypatch):
    monkeypatch.setattr(decode_module, "_load_decord", lambda: None)
    file = make_video(tmp_path / "a.mp4")
    assert read_clip(file).reader == "pyav"
    for reader, words in (("decord", "not installed"), ("opencv", "unknown")):
        with pytest.raises(NovaError, match=words):
            read_clip(file, reader=reader)


def test_too_long_is_refused_with_the_number_that_fits(tmp_path):
    info = probe(make_video(tmp_path / "a.mp4"))
    assert check_num_frames(info, 17) == 13
    with pytest.raises(NovaError, match=r"13 frames; 9 fit. Pass num_frames=9"):
        check_num_frames(info, 9)


@pytest.mark.parametrize("frames", range(1, 35))
def test_4k1_there_and_back(frames):
    clip = torch.randn(1, 3, frames, 2, 2)
    if frames % 4 == 1:
        padded = pad_to_4k1(clip)
    else:
        with pytest.warns(NovaNotice, match=f"{frames} frames"):
            padded = pad_to_4k1(clip)
    assert padded.clip.shape[2] % 4 == 1 and 0 <= padded.clip.shape[2] - frames <= 3
    assert padded.num_frames == frames and torch.equal(cut_back(padded.clip, frames), clip)
    assert torch.equal(padded.clip[:, :, -1], clip[:, :, -1])
    assert largest_4k1(frames) % 4 == 1 and 0 <= frames - largest_4k1(frames) <= 3


def test_4k1_refusals():
    clip = torch.zeros(1, 3, 7, 2, 2)
    with pytest.warns(NovaNotice):
        assert pad_to_4k1(clip, 33).clip.shape[2] == 33
    for wanted in (5, 8):
        with pytest.raises(NovaError, match="4k\\+1"):
            pad_to_4k1(clip, wanted)
    with pytest.raises(NovaError, match="cut back"):
        cut_back(clip, 8)
    with pytest.raises(NovaError, match="at least 1"):
        largest_4k1(0)
