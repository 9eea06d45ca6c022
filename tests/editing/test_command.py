"""`novakit edit` on real files: size, fps and length come out as they went in; bad files leave nothing."""

import os
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
from edit_files import SHORT, make_keyframes, make_mask, make_source, run
from nova_tiny import tiny_pipeline

from novakit.errors import NovaError
from novakit.presets import get_preset
from novakit.video import probe, read_clip


@pytest.fixture(scope="module")
def pipe():
    return tiny_pipeline(preset="nano")


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return make_source(tmp_path_factory.mktemp("source") / "source.mp4")


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


def test_how_the_source_is_kept_reaches_the_pipeline(source, pipe, tmp_path, monkeypatch):
    seen = []
    read = type(pipe.transformer).encode_source
    spy = lambda model, *given: (seen.append(given[2]), read(model, *given))[1]  # noqa: E731
    monkeypatch.setattr(type(pipe.transformer), "encode_source", spy)
    for number, way in enumerate((True, "features")):
        run(source, make_keyframes(tmp_path / f"k{number}"), tmp_path / f"{number}.mp4", pipe, use_cache=way)
    assert seen == [False, True]
    with pytest.raises(NovaError, match="use_cache is 'half'"):
        run(source, make_keyframes(tmp_path / "k"), tmp_path / "n.mp4", pipe, use_cache="half")


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
def test_outside_the_mask_the_source_stays_when_that_is_asked_for(pipe, tmp_path, size):
    source = make_source(tmp_path / "s.mp4", height=size[0], width=size[1])
    mask = make_mask(tmp_path / "mask.mp4", 9, *size)
    keyframes = make_keyframes(tmp_path / "k", size=size[::-1])
    result = run(source, keyframes, tmp_path / "e.mp4", pipe, mask=mask, paste_back=True)
    assert "outside the mask" in result.post
    before, after = (read_clip(path).frames for path in (source, tmp_path / "e.mp4"))
    change = (before - after).abs().mean(dim=(0, 1, 2, 3))  # (W,)
    assert change[size[1] // 2 :].mean() < 0.03 < change[: size[1] // 8].mean()


def test_a_mask_alone_does_nothing_and_that_is_said(source, pipe, tmp_path, capsys):
    mask, keyframes = make_mask(tmp_path / "mask.mp4"), make_keyframes(tmp_path / "k")
    result = run(source, keyframes, tmp_path / "e.mp4", pipe, mask=mask)
    assert "note: the mask is not used: the network never sees it. Add --paste-back" in capsys.readouterr().out
    run(source, keyframes, tmp_path / "plain.mp4", pipe, quiet=True)
    one, other = (read_clip(tmp_path / name).frames for name in ("e.mp4", "plain.mp4"))
    assert not result.post and (one - other).abs().mean() < 0.01


@pytest.mark.parametrize(("masked", "said"), [(True, "measured outside the mask"), (False, "changed least")])
def test_matched_colours_are_said(source, pipe, tmp_path, capsys, masked, said):
    mask = make_mask(tmp_path / "mask.mp4") if masked else None
    run(source, make_keyframes(tmp_path / "k"), tmp_path / "e.mp4", pipe, mask=mask, match_colour=True)
    printed = capsys.readouterr().out
    assert "; colours matched to the source, measured" in printed and said in printed and "not used" not in printed


def test_a_long_clip_keeps_length_fps_and_sound_and_says_its_windows(pipe, tmp_path, capsys):
    """Rotated, with sound, longer than the preset's T, and no 4k+1."""
    with av.open(str(tmp_path / "s.mp4"), "w") as out:
        stream, sound = out.add_stream("libx264", rate=12), out.add_stream("aac", rate=48000)
        stream.width, stream.height, stream.pix_fmt = 96, 144, "yuv420p"
        stream.set_display_rotation(90)
        for t in range(40):
            picture = np.full((144, 96, 3), 60 + 3 * t, np.uint8)
            out.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        out.mux(stream.encode())
        for start in range(0, 160_000, 1024):
            tone = np.sin(np.arange(start, start + 1024) * 0.05).astype(np.float32)[None] * 0.3
            frame = av.AudioFrame.from_ndarray(tone, "fltp", "mono")
            frame.sample_rate, frame.pts = 48000, start
            out.mux(sound.encode(frame))
        out.mux(sound.encode())
    keyframes = make_keyframes(tmp_path / "k", (0, 39), size=(144, 96))
    result = run(tmp_path / "s.mp4", keyframes, tmp_path / "e.mp4", pipe)
    before, after = probe(tmp_path / "s.mp4"), probe(tmp_path / "e.mp4")
    assert before.rotation and after.size == before.size == (96, 144) and after.fps == before.fps == 12
    assert after.num_frames == before.num_frames == 40 and after.has_audio and result.windows == 2
    printed = capsys.readouterr().out
    assert "; 2 windows; edited at 96x64, the difference added" in printed
    assert "note: clip has 40 frames; NOVA needs 4k+1: the last frame was repeated 1 times (41 frames)" in printed


def test_the_full_size_preset_takes_the_same_road(tmp_path):
    source, wan = make_source(tmp_path / "s.mp4", frames=100), replace(get_preset("wan-1.3b"), sizes=((64, 96),))
    result = run(source, make_keyframes(tmp_path / "k", (0, 90)), tmp_path / "e.mp4", tiny_pipeline(), preset=wan)
    assert result.windows == 2 and probe(tmp_path / "e.mp4").num_frames == 100


def test_the_same_notice_is_printed_once(tmp_path, capsys):
    plain = tiny_pipeline(preset="nano", trained=False)
    source = make_source(tmp_path / "s.mp4", frames=41)
    run(source, make_keyframes(tmp_path / "k"), tmp_path / "e.mp4", plain, preset=SHORT)
    assert capsys.readouterr().out.count("note: the dense branch is untrained") == 1


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
    fails("has 12 frames; the clip has 9", source, keyframes, out, pipe, mask=make_mask(tmp_path / "m.mp4", 12))
    fails("mask frame 0 is 50x50", source, keyframes, out, pipe, mask=make_mask(tmp_path / "q.mp4", 9, 50, 50))
    (keyframes / "004.png").write_text("text")
    fails("004.png cannot be read", source, keyframes, out, pipe)


def test_options_that_do_not_go_together_are_refused_before_the_source_is_opened(pipe, tmp_path):
    nowhere = tmp_path / "nowhere.mp4"
    fails(r"\(--paste-back\) needs a mask", nowhere, nowhere, tmp_path / "e.mp4", pipe, paste_back=True)
    fails(r"\(--steps\) is 0", nowhere, nowhere, tmp_path / "e.mp4", pipe, steps=0)


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
