"""Probing tells what a file holds and refuses what must not reach a decoder."""

import os
import random
import struct
import time
from fractions import Fraction

import pytest
from make_clips import make_sound, make_video, picture
from PIL import Image

from novakit.errors import NovaError
from novakit.video import probe, read_clip


def test_what_is_in_a_file(tmp_path):
    info = probe(make_video(tmp_path / "a.mp4", audio="aac"))
    assert (info.size, info.num_frames, info.fps) == ((48, 80), 13, Fraction(30000, 1001))
    assert info.has_audio and info.codec == "h264" and info.container == "mp4" and not info.variable_fps
    assert info.seconds == pytest.approx(13 * 1001 / 30000)
    assert not probe(make_video(tmp_path / "b.mkv")).has_audio


def test_the_name_does_not_decide(tmp_path):
    odd_name = make_video(tmp_path / "a.webm", codec="libvpx-vp9").rename(tmp_path / "ein Clip é.mp4")
    assert probe(odd_name).container == "matroska"


@pytest.mark.parametrize(("rotation", "size"), [(90, (80, 48)), (180, (48, 80)), (-90, (80, 48))])
def test_rotated_phone_clip_is_upright(tmp_path, rotation, size):
    info = probe(make_video(tmp_path / "a.mp4", rotation=rotation))
    assert info.size == info.stored_size == size and info.rotation == rotation % 360


def test_pixels_become_square(tmp_path):
    wide = probe(make_video(tmp_path / "a.mp4", sample_aspect=Fraction(3, 2)))
    assert wide.stored_size == (48, 80) and wide.size == (48, 120)
    tall = probe(make_video(tmp_path / "b.mp4", sample_aspect=Fraction(3, 2), rotation=90))
    assert tall.stored_size == (80, 48) and tall.size == (120, 48)
    assert tuple(read_clip(tall).frames.shape[-2:]) == (120, 48)


def test_variable_frame_rate_is_noted(tmp_path):
    times = [0, 40, 160, 200, 320, 360, 480, 520]
    info = probe(make_video(tmp_path / "a.mkv", frames=8, times=times, fps=Fraction(25)))
    assert info.variable_fps and info.num_frames == 8
    assert not probe(make_video(tmp_path / "b.webm", codec="libvpx-vp9")).variable_fps


def test_edit_list_hides_frames(tmp_path):
    """A phone that trims without re-encoding hides frames behind an edit list: they are not read."""
    settings = {"frames": 20, "fps": Fraction(25), "options": {"bf": "0", "g": "5"}}
    file = make_video(tmp_path / "a.mp4", **settings)
    data = bytearray(file.read_bytes())
    entry = data.index(b"elst") + 12  # version and flags, entry count, then duration, media time
    duration, start = struct.unpack(">II", data[entry : entry + 8])
    ticks = _timescale(data) // 25
    data[entry : entry + 8] = struct.pack(">II", duration * 12 // 20, start + 5 * ticks)
    file.write_bytes(data)
    info = probe(file)
    assert info.num_frames < 20 and info.hidden_frames == 20 - info.num_frames
    clip, whole = read_clip(file), read_clip(make_video(tmp_path / "b.mp4", **settings))
    assert clip.reader == "pyav" and clip.num_frames == info.num_frames
    assert (clip.frames[:, :, 0] - whole.frames[:, :, 5]).abs().max() == 0


def _timescale(data: bytes) -> int:
    at = data.index(b"mdhd") + 4
    return struct.unpack(">I", data[at + 12 : at + 16])[0]


def _bad_files(folder):
    """(name, writer, words that the message must hold)."""
    noise = bytes(range(7, 256)) * 40
    Image.fromarray(picture(0, 48, 80)).save(folder / "picture.mp4", format="JPEG")
    (folder / "empty.mp4").write_bytes(b"")
    (folder / "noise.mp4").write_bytes(noise)
    (folder / "text.mp4").write_text("this is not a video\n" * 50)
    (folder / "list.mp4").write_text("#EXTM3U\n#EXTINF:1,\nother.mp4\n")
    (folder / "concat.mp4").write_text("ffconcat version 1.0\nfile other.mp4\n")
    (folder / "folder.mp4").mkdir()
    make_sound(folder / "sound.mp4")
    return {
        "missing.mp4": "does not exist",
        "frame_%03d.png": "Image sequences",
        "http://example.org/a.mp4": "is a URL",
        "folder.mp4": "is a folder",
        "empty.mp4": "is empty",
        "noise.mp4": "starts with bytes 07 08",
        "text.mp4": "looks like text",
        "list.mp4": "playlist",
        "concat.mp4": "playlist",
        "picture.mp4": "JPEG image",
        "sound.mp4": "only sound",
    }


def test_what_is_no_video_is_refused_quickly(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    start = time.perf_counter()
    for name, words in _bad_files(tmp_path).items():
        with pytest.raises(NovaError, match=words) as caught:
            probe(name)
        assert caught.value.__cause__ is None, "no traceback of a dependency"
    assert time.perf_counter() - start < 5


@pytest.mark.parametrize("part", [0.3, 0.5, 0.9, 0.99])
@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("plain.mp4", {}),
        ("fast.mp4", {"container_options": {"movflags": "+faststart"}}),
        ("a.mkv", {}),
        ("a.webm", {"codec": "libvpx-vp9"}),
        ("a.gif", {"codec": "gif", "pix_fmt": "rgb8", "fps": Fraction(10)}),
        ("a.avi", {"codec": "mpeg4"}),
    ],
)
def test_cut_off_files_are_refused(tmp_path, name, settings, part):
    """FFmpeg reads half an mkv or gif without an error; here no cut file gets through."""
    file = make_video(tmp_path / name, **settings)
    whole = file.read_bytes()
    file.write_bytes(whole[: int(len(whole) * part)])
    with pytest.raises(NovaError, match="cut off|cannot be read"):
        probe(file)


@pytest.mark.parametrize(
    ("name", "options", "repair"),
    [
        ("plain.mp4", {}, None),  # its index comes last and is lost: nothing can be decoded
        ("fast.mp4", {"container_options": {"movflags": "+faststart"}}, "`ffmpeg -i fast.mp4 -c copy whole.mp4`"),
        ("a.mkv", {}, "`ffmpeg -i a.mkv -c copy whole.mkv`"),
    ],
)
def test_a_repair_is_offered_only_where_one_can_work(tmp_path, name, options, repair):
    file = make_video(tmp_path / name, **options)
    file.write_bytes(file.read_bytes()[: int(file.stat().st_size * 0.9)])
    with pytest.raises(NovaError, match="Copy or download it again") as caught:
        probe(file)
    assert (repair in str(caught.value)) if repair else ("ffmpeg" not in str(caught.value))


def _patch(file, tag: bytes, offset: int, value: int):
    data = bytearray(file.read_bytes())
    at = data.index(tag) + 4 + offset
    data[at : at + 4] = struct.pack(">I", value)
    file.write_bytes(data)
    return file


@pytest.mark.parametrize(
    ("claim", "words"), [(431, "holds 13 of 431 frames"), (2**31 - 17, "claims 2147483631 frames")]
)
def test_header_that_lies_about_the_frames(tmp_path, claim, words):
    """decord allocates what such a header says and ends the kernel; the probe never gets that far."""
    file = _patch(make_video(tmp_path / "a.mp4", options={"bf": "0"}), b"stts", 8, claim)
    with pytest.raises(NovaError, match=words):
        read_clip(file)


def test_a_bomb_is_refused_before_it_is_decoded(tmp_path, monkeypatch):
    file = make_video(tmp_path / "a.mp4", size=(64, 64), frames=1)
    monkeypatch.setattr("novakit.video.probing.MAX_PIXELS", 64 * 64 - 1)
    with pytest.raises(NovaError, match="64x64.*megapixels"):
        probe(file)
    monkeypatch.setattr("novakit.video.probing.MAX_PIXELS", 10**6)
    monkeypatch.setattr("novakit.video.clip.MAX_CLIP_BYTES", 1000)
    with pytest.raises(NovaError, match="GiB.*Pass a smaller size"):
        read_clip(file)


def test_playlist_target_is_never_opened(tmp_path):
    """The clip that a disguised playlist names is not read."""
    other = make_video(tmp_path / "other.mp4")
    os.utime(other, (1, 1))
    (tmp_path / "list.mp4").write_text(f"ffconcat version 1.0\nfile '{other}'\n")
    with pytest.raises(NovaError, match="playlist"):
        probe(tmp_path / "list.mp4")
    assert other.stat().st_atime == 1


def test_damaged_bytes_end_in_a_clip_or_a_clear_refusal(tmp_path):
    """Forty mutated files: never another exception, never a hang, never a crash of the process."""
    rng, refused = random.Random(1), 0
    for name in ("a.mp4", "a.mkv"):
        file = make_video(tmp_path / name, audio="aac" if name == "a.mp4" else None)
        whole = file.read_bytes()
        for _ in range(20):
            data = bytearray(whole)
            for _ in range(rng.choice([1, 4, 30, 400])):
                data[rng.randrange(len(data))] = rng.randrange(256)
            file.write_bytes(data)
            try:
                read_clip(file, size=(32, 48), reader=rng.choice(["auto", "pyav"]))
            except NovaError:
                refused += 1
    assert refused > 5


def test_unknown_picture_code(tmp_path):
    file = make_video(tmp_path / "a.mp4")
    file.write_bytes(file.read_bytes().replace(b"avc1", b"zzz9"))
    with pytest.raises(NovaError, match="unknown code"):
        probe(file)
