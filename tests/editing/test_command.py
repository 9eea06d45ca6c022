"""`novakit edit` on real files: size, fps and length come out as they went in; bad files leave nothing."""

import os
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from nova_tiny import tiny_clip, tiny_pipeline
from PIL import Image

from novakit.editing.command import edit_file
from novakit.errors import NovaError
from novakit.presets import get_preset
from novakit.video import probe, read_clip, write_clip


@pytest.fixture(scope="module")
def pipe():
    return tiny_pipeline(preset="nano")


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return make_source(tmp_path_factory.mktemp("source") / "source.mp4")


def make_source(path, frames=9, height=64, width=96, fps=12):
    return write_clip(path, tiny_clip(frames=frames, height=height, width=width), fps)


def make_keyframes(folder, indices=(0, 8), size=(96, 64)):
    folder.mkdir()
    for k in indices:
        Image.new("RGB", size, (200, 30, 30)).save(folder / f"{k:03d}.png")
    return folder


def run(source, keyframes, out, pipe, **options):
    return edit_file(source, keyframes, out, pipeline=pipe, **{"steps": 1, **options})


def test_size_fps_and_length_come_back(source, pipe, tmp_path, capsys):
    out = tmp_path / "new" / "edit.mp4"
    result = run(source, make_keyframes(tmp_path / "k"), out, pipe)
    before, after = probe(source), probe(out)
    assert (
        (after.num_frames, after.fps, after.size) == (before.num_frames, before.fps, before.size) == (9, 12, (64, 96))
    )
    assert result.path == out and result.steps == 1 and result.is_nova and not result.post
    printed = capsys.readouterr().out
    assert "9 frames 96x64 at 12 fps; NOVA, 1 steps" in printed and "float32" in printed


def test_the_same_seed_gives_the_same_edit(source, pipe, tmp_path):
    keyframes = make_keyframes(tmp_path / "k")
    files = [tmp_path / f"{name}.mp4" for name in "abc"]
    for file, seed in zip(files, (0, 0, 1)):
        run(source, keyframes, file, pipe, seed=seed, quiet=True)
    first, same, other = (read_clip(file).frames for file in files)
    assert (first - same).abs().mean() < 0.01 < (first - other).abs().mean()


def test_a_length_that_is_not_4k_plus_1_is_padded_cut_back_and_said(pipe, tmp_path, capsys):
    source = make_source(tmp_path / "s.mp4", frames=7)
    run(source, make_keyframes(tmp_path / "k", (0, 5)), tmp_path / "e.mp4", pipe)
    assert probe(tmp_path / "e.mp4").num_frames == 7
    assert "note: clip has 7 frames; NOVA needs 4k+1" in capsys.readouterr().out


def test_a_keyframe_video_is_read_at_the_interval(source, pipe, tmp_path):
    edited = make_source(tmp_path / "edited.mp4")
    result = run(source, edited, tmp_path / "e.mp4", pipe, interval=4)
    assert result.num_frames == 9


def test_an_odd_source_is_reported_at_the_size_that_was_written(pipe, tmp_path, capsys):
    with av.open(str(tmp_path / "s.mp4"), "w") as out:  # write_clip itself would make it even
        stream = out.add_stream("libx264", rate=12)
        stream.width, stream.height, stream.pix_fmt = 81, 47, "yuv444p"
        for _ in range(9):
            out.mux(stream.encode(av.VideoFrame.from_ndarray(np.full((47, 81, 3), 90, np.uint8), "rgb24")))
        out.mux(stream.encode())
    assert probe(tmp_path / "s.mp4").size == (47, 81)
    result = run(tmp_path / "s.mp4", make_keyframes(tmp_path / "k", size=(81, 47)), tmp_path / "e.mp4", pipe)
    assert result.size == probe(tmp_path / "e.mp4").size == (48, 82)
    printed = capsys.readouterr().out
    assert "9 frames 82x48 at" in printed and "81x47 is written as 82x48" in printed
    assert "stretched" in printed  # 1.72 to 1.5: more than 10 %


def test_a_source_of_nearly_the_same_aspect_is_no_news(pipe, tmp_path, capsys):
    source = make_source(tmp_path / "s.mp4", height=64, width=100)
    run(source, make_keyframes(tmp_path / "k"), tmp_path / "e.mp4", pipe)
    assert "stretched" not in capsys.readouterr().out


def test_an_interval_is_not_needed_for_images(source, pipe, tmp_path, capsys):
    run(source, make_keyframes(tmp_path / "k"), tmp_path / "e.mp4", pipe, interval=4)
    assert "note: interval 4 (--interval) is not needed" in capsys.readouterr().out


def test_base_and_dense_go_to_the_preset(source, pipe, tmp_path, monkeypatch):
    asked = []
    from_preset = lambda preset, **options: asked.append((preset, options)) or pipe  # noqa: E731
    monkeypatch.setattr("novakit.editing.NovaEditPipeline.from_preset", from_preset)
    edited = make_keyframes(tmp_path / "k")
    run(source, edited, tmp_path / "e.mp4", None, preset=replace(get_preset("nano"), weights="x"), base="b", dense="d")
    assert asked == [("nano", {"base": "b", "dense": "d"})]


def test_a_big_source_gets_the_difference_at_its_own_size(pipe, tmp_path, capsys):
    source = make_source(tmp_path / "s.mp4", height=128, width=192)
    run(source, make_keyframes(tmp_path / "k", size=(192, 128)), tmp_path / "e.mp4", pipe)
    assert probe(tmp_path / "e.mp4").size == (128, 192)
    assert "edited at 96x64, the difference added to the full-size source" in capsys.readouterr().out


@pytest.mark.parametrize("size", [(64, 96), (128, 192)])
def test_outside_the_mask_the_source_stays(pipe, tmp_path, size):
    source = make_source(tmp_path / "s.mp4", height=size[0], width=size[1])
    mask = torch.zeros(1, 1, 9, *size)
    mask[..., : size[1] // 4] = 1
    masked = write_clip(tmp_path / "mask.mp4", mask[0], 12)
    keyframes = make_keyframes(tmp_path / "k", size=size[::-1])
    result = run(source, keyframes, tmp_path / "e.mp4", pipe, mask=masked)
    assert "outside the mask" in result.post
    before, after = (read_clip(path).frames for path in (source, tmp_path / "e.mp4"))
    change = (before - after).abs().mean(dim=(0, 1, 2, 3))  # (W,)
    assert change[size[1] // 2 :].mean() < 0.03 < change[: size[1] // 8].mean()


def fails(message, source, keyframes, out, pipe, **options):
    with pytest.raises(NovaError, match=message):
        run(source, keyframes, out, pipe, **options)
    assert not out.exists() and not list(out.parent.glob(".*"))


def test_bad_files_are_refused_and_leave_nothing(source, pipe, tmp_path):
    keyframes, out = make_keyframes(tmp_path / "k"), tmp_path / "e.mp4"
    fails("nowhere.mp4", tmp_path / "nowhere.mp4", keyframes, out, pipe)
    fails("nowhere", source, tmp_path / "nowhere", out, pipe)
    (tmp_path / "empty").mkdir()
    fails("empty", source, tmp_path / "empty", out, pipe)
    (tmp_path / "text.mp4").write_text("hello")
    fails("text.mp4", tmp_path / "text.mp4", keyframes, out, pipe)
    fails("frame 9", source, make_keyframes(tmp_path / "late", (9,)), out, pipe)
    fails("50x50", source, make_keyframes(tmp_path / "square", size=(50, 50)), out, pipe)


def test_a_long_clip_is_refused_with_the_number_that_fits(pipe, tmp_path):
    source = make_source(tmp_path / "s.mp4", frames=40)
    fails("40 frames; nano edits at most 33", source, make_keyframes(tmp_path / "k"), tmp_path / "e.mp4", pipe)


@pytest.mark.parametrize(
    "out, message",
    [("edit.avi", "ends in .mp4"), ("folder.mp4", "is a folder"), ("file.txt/edit.mp4", "file.txt")],
)
def test_a_bad_out_is_refused_before_the_source_is_opened(pipe, tmp_path, out, message):
    (tmp_path / "folder.mp4").mkdir()
    (tmp_path / "file.txt").write_text("")
    with pytest.raises(NovaError, match=message):
        run(tmp_path / "nowhere.mp4", tmp_path, tmp_path / out, pipe)


@pytest.mark.parametrize("what", ["source", "keyframes", "mask"])
@pytest.mark.parametrize("way", ["same", "relative", "link"])
def test_no_input_is_ever_overwritten(source, pipe, tmp_path, monkeypatch, what, way):
    files = {name: tmp_path / f"{name}.mp4" for name in ("source", "keyframes", "mask")}
    for file in files.values():
        file.write_bytes(source.read_bytes())
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link.mp4").symlink_to(files[what])
    out = {"same": files[what], "relative": Path(f"../{tmp_path.name}/{what}.mp4"), "link": Path("link.mp4")}[way]
    with pytest.raises(NovaError, match=f"is the {what} itself"):
        run(files["source"], files["keyframes"], out, pipe, mask=files["mask"])
    assert files[what].read_bytes() == source.read_bytes()


def test_no_folder_is_left_when_the_edit_fails(source, pipe, tmp_path):
    with pytest.raises(NovaError, match="does not exist"):
        run(source, tmp_path / "nowhere", tmp_path / "new" / "deep" / "e.mp4", pipe)
    assert not (tmp_path / "new").exists()


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write everywhere")
def test_an_out_below_a_locked_folder_is_refused_at_once(pipe, tmp_path):
    (tmp_path / "locked").mkdir(mode=0o500)
    with pytest.raises(NovaError, match="cannot write into the folder .*locked"):
        run(tmp_path / "nowhere.mp4", tmp_path, tmp_path / "locked/new/deep/e.mp4", pipe)
