"""One stretch is rendered again: outside of it the earlier edit stays, and what cannot be is refused."""

import shutil

import numpy as np
import pytest
import torch
from edit_files import SHORT, counted, make_keyframes, make_source, run
from nova_tiny import tiny_pipeline

from novakit.editing.windows.stretch import FADE, share_of_new
from novakit.errors import NovaError
from novakit.video import frames_to_encode, iter_frames, probe, read_clip

FRAMES = 121


@pytest.fixture(scope="module")
def pipe():
    return tiny_pipeline(preset="nano")


@pytest.fixture(scope="module")
def edit(pipe, tmp_path_factory):
    """A finished edit of 121 frames in groups of 48, and its files."""
    folder = tmp_path_factory.mktemp("edit")
    source, keyframes = make_source(folder / "s.mp4", frames=FRAMES), make_keyframes(folder / "k", (0, 60, 120))
    run(source, keyframes, folder / "e.mp4", pipe, preset=SHORT, quiet=True)
    return folder


@pytest.fixture
def files(edit, tmp_path):
    shutil.copy(edit / "e.mp4", tmp_path / "e.mp4")
    return edit / "s.mp4", edit / "k", tmp_path / "e.mp4"


def pictures(path):
    return np.stack(list(iter_frames(probe(path))))


def test_only_the_stretch_changes(files, pipe, monkeypatch, capsys):
    before, (first, end) = pictures(files[2]), frames_to_encode(probe(files[2]), 60, 80)
    calls = counted(pipe, monkeypatch)
    result = run(*files, pipe, preset=SHORT, frames="60:80", seed=9)
    after = pictures(files[2])
    assert len(calls) == result.windows < 6 and result.num_frames == FRAMES
    assert 0 < first < 60 and 80 < end < FRAMES
    assert np.array_equal(after[:first], before[:first]) and np.array_equal(after[end:], before[end:]), "bit for bit"
    change = np.abs(after.astype(float) - before).mean((1, 2, 3))
    around = np.concatenate([change[first:60], change[80:end]])
    assert around.max() < 1.5, "same group: encoded once more, that is all"
    assert change[64:76].min() > 3 * around.max()
    assert f"frames 60 to 79 rendered again, encoded again: {first} to {end - 1}" in capsys.readouterr().out


def test_the_same_seed_gives_the_same_stretch(files, pipe):
    before = read_clip(files[2]).frames
    run(*files, pipe, preset=SHORT, frames=(48, 96), quiet=True)
    assert (read_clip(files[2]).frames - before).abs().mean() < 0.02


@pytest.mark.parametrize(
    ("frames", "said"), [(":10", "0 to 9"), ("110:", "110 to 120"), (":", "0 to 120"), ((7, 8), "7 to 7")]
)
def test_ends_may_be_left_out(files, pipe, frames, said):
    before = pictures(files[2])
    assert f"frames {said} rendered again" in run(*files, pipe, preset=SHORT, frames=frames, seed=9, quiet=True).post
    first, last = map(int, said.split(" to "))
    change = np.abs(pictures(files[2]).astype(float) - before).mean((1, 2, 3))
    assert change[first] > 3 and change[last] > 3, "no fade at the ends of the clip, none in a single frame"


def test_the_stretch_fades_in_and_out_inside():
    shares = [share_of_new(t, (60, 80), FRAMES) for t in range(60, 80)]
    assert shares[:FADE] == [0.2, 0.4, 0.6, 0.8] == shares[: -FADE - 1 : -1] and set(shares[FADE:-FADE]) == {1.0}
    assert [share_of_new(t, (0, 20), FRAMES) for t in (0, 19)] == [1.0, 0.2]
    assert [share_of_new(t, (100, FRAMES), FRAMES) for t in (100, 120)] == [0.2, 1.0]
    assert share_of_new(7, (7, 8), FRAMES) == 1.0


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        (
            "100:122",
            r"frames \(--frames\) 100:122 is no stretch of a clip of 121 frames; wanted A:B with 0 <= A < B <= 121",
        ),
        ("121:", "is no stretch"),
        ("80:60", "is no stretch"),
        ("60:60", "is no stretch"),
        ("60", "is '60'; wanted A:B"),
        ("a:b", "is 'a:b'; wanted A:B"),
        ("-5:10", "is '-5:10'; wanted A:B"),
        ((1, 2, 3), "is '1:2:3'; wanted A:B"),
        (60, "is '60'; wanted A:B"),
    ],
)
def test_what_is_no_stretch_is_refused(files, pipe, monkeypatch, frames, message):
    before, calls = files[2].read_bytes(), counted(pipe, monkeypatch)
    with pytest.raises(NovaError, match=message):
        run(*files, pipe, preset=SHORT, frames=frames)
    assert files[2].read_bytes() == before and not calls


def test_a_stretch_needs_an_earlier_edit_of_this_clip(files, edit, pipe, tmp_path):
    with pytest.raises(NovaError, match="nowhere.mp4 does not exist; --frames puts a stretch into an earlier edit"):
        run(*files[:2], tmp_path / "nowhere.mp4", pipe, frames="0:9")
    for other in ({"frames": 120}, {"frames": FRAMES, "fps": 13}, {"frames": FRAMES, "height": 80, "width": 80}):
        make_source(tmp_path / "other.mp4", **other)
        with pytest.raises(NovaError, match=r"other.mp4 \(.*\) is no edit of .*s.mp4 \(121 frames 96x64 at 12 fps\)"):
            run(*files[:2], tmp_path / "other.mp4", pipe, frames="0:9")


def test_a_failure_leaves_the_earlier_edit(files, pipe, monkeypatch):
    before = files[2].read_bytes()
    nan = lambda *_, **__: (torch.full((3, 64, 96), float("nan")) for _ in range(20))  # noqa: E731
    monkeypatch.setattr("novakit.editing.windows.stretch.finished_frames", nan)
    with pytest.raises(NovaError, match="NaN"):
        run(*files, pipe, preset=SHORT, frames="60:80")
    assert files[2].read_bytes() == before and [file.name for file in files[2].parent.iterdir()] == ["e.mp4"]


def test_an_odd_source_fits_its_even_edit(pipe, tmp_path):
    import av

    with av.open(str(tmp_path / "s.mp4"), "w") as out:
        stream = out.add_stream("libx264", rate=12)
        stream.width, stream.height, stream.pix_fmt = 97, 65, "yuv444p"
        for t in range(9):
            out.mux(stream.encode(av.VideoFrame.from_ndarray(np.full((65, 97, 3), 90 + 5 * t, np.uint8), "rgb24")))
        out.mux(stream.encode())
    files = tmp_path / "s.mp4", make_keyframes(tmp_path / "k"), tmp_path / "e.mp4"
    run(*files, pipe, quiet=True)
    run(*files, pipe, frames="2:6", quiet=True)
    assert probe(files[2]).size == (66, 98)
