"""A long edit that breaks off keeps its finished windows; the same command goes on; nothing half-written is left."""

import errno
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch
from edit_files import SHORT, counted, make_keyframes, make_source, run
from nova_tiny import tiny_pipeline, tiny_vae
from PIL import Image

from novakit.editing.windows import store as window_store
from novakit.editing.windows.store import WindowStore, weights_key, window_key
from novakit.errors import NovaError, NovaNotice
from novakit.video import read_clip

WINDOWS = 4  # of 17 frames over 41


@pytest.fixture(scope="module")
def pipe():
    return tiny_pipeline(preset="nano")


@pytest.fixture
def files(tmp_path):
    return make_source(tmp_path / "s.mp4", frames=41), make_keyframes(tmp_path / "k", (3, 20, 30)), tmp_path / "e.mp4"


def break_off(monkeypatch, after):
    """No space left on the disk for the window behind `after` windows."""
    written, write = [], window_store.atomic_write_bytes

    def full(path, data):
        if len(written) == after:
            raise NovaError(f"cannot write {path}: {os.strerror(errno.ENOSPC)}.")
        written.append(write(path, data))

    monkeypatch.setattr(window_store, "atomic_write_bytes", full)


def test_a_finished_edit_leaves_no_folder(files, pipe, monkeypatch):
    calls = counted(pipe, monkeypatch)
    result = run(*files, pipe, preset=SHORT)
    assert len(calls) == result.windows == WINDOWS and "; 4 windows" in str(result)
    assert sorted(os.listdir(files[2].parent)) == ["e.mp4", "k", "s.mp4"]


def test_a_full_disk_keeps_finished_windows_and_a_rerun_goes_on(files, pipe, monkeypatch, tmp_path, capsys):
    whole = read_clip(run(*files[:2], tmp_path / "whole.mp4", pipe, preset=SHORT, quiet=True).path).frames
    with monkeypatch.context() as patch:
        break_off(patch, after=2)
        message = "No space left on device. 2 finished windows are kept in .*e.mp4.work: the same command goes on"
        with pytest.raises(NovaError, match=message):
            run(*files, pipe, preset=SHORT)
    assert (
        not files[2].exists() and not list(tmp_path.glob(".*")) and len(list((tmp_path / "e.mp4.work").iterdir())) == 2
    )
    calls = counted(pipe, monkeypatch)
    run(*files, pipe, preset=SHORT)
    assert len(calls) == WINDOWS - 2 and not (tmp_path / "e.mp4.work").exists()
    assert capsys.readouterr().out.count("note: finished windows of an earlier run lie in") == 1
    assert (read_clip(files[2]).frames - whole).abs().mean() < 0.02


@pytest.mark.parametrize(
    ("change", "again"),
    [
        ({"seed": 1}, WINDOWS),
        ({"steps": 2}, WINDOWS),
        ({"keyframe": "030.png"}, WINDOWS - 1),  # of no influence before frame 20, so the first window stays
        ({"match_colour": True}, 0),
    ],
)
def test_windows_made_from_other_inputs_are_not_believed(files, pipe, monkeypatch, change, again):
    with monkeypatch.context() as patch:
        patch.setattr("novakit.video.write_clip", lambda _, frames, *__, **___: list(frames) and stop())
        with pytest.raises(NovaError, match="4 finished windows are kept"):
            run(*files, pipe, preset=SHORT)
    if "keyframe" in change:
        Image.new("RGB", (96, 64), (0, 0, 250)).save(files[1] / change.pop("keyframe"))
    calls = counted(pipe, monkeypatch)
    run(*files, pipe, **{"preset": SHORT, **change})
    assert len(calls) == again and not files[2].with_name("e.mp4.work").exists()


def stop():
    raise NovaError("the disk is full.")


def test_other_weights_are_noticed_and_the_same_are_known():
    pipe, same = tiny_pipeline(), tiny_pipeline()
    key = weights_key(pipe.vae, pipe.transformer)
    assert key == weights_key(same.vae, same.transformer) != weights_key(tiny_vae(seed=1), same.transformer)
    with torch.no_grad():
        for weight in same.transformer.dense_branch.parameters():
            weight += 1e-3
    assert key != weights_key(same.vae, same.transformer)


def test_keys_tell_everything_apart():
    one = torch.arange(6.0)
    keys = {window_key(one, 3), window_key(one, 4), window_key(one.view(2, 3), 3), window_key(one.int(), 3)}
    assert len(keys) == 4 and window_key(one.clone(), 3) in keys


def test_a_damaged_window_is_made_again(tmp_path):
    store = WindowStore(tmp_path / "e.mp4")
    latents = torch.randn(1, 4, 5, 2, 3)
    store.put(12, "a" * 64, latents)
    with pytest.warns(NovaNotice, match="windows of an earlier run lie in .*e.mp4.work"):
        assert torch.equal(store.get(12, "a" * 64), latents)
    assert store.get(12, "b" * 64) is None and store.get(16, "a" * 64) is None
    file = next(store.folder.iterdir())
    file.write_bytes(file.read_bytes()[:50])
    assert store.get(12, "a" * 64) is None


def test_what_others_put_into_the_folder_stays(tmp_path):
    store = WindowStore(tmp_path / "e.mp4")
    store.put(0, "a" * 64, torch.zeros(2))
    (store.folder / "notes.txt").write_text("mine")
    store.clear()
    assert os.listdir(store.folder) == ["notes.txt"]


def test_a_short_clip_needs_no_folder(pipe, tmp_path, monkeypatch):
    monkeypatch.setattr(WindowStore, "put", lambda *_: pytest.fail("a single window was kept"))
    run(make_source(tmp_path / "s.mp4", frames=17), make_keyframes(tmp_path / "k"), tmp_path / "e.mp4", pipe)


@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit on the size of files")
def test_a_limit_of_the_system_on_file_sizes_is_one_line(tmp_path):
    """The real thing: the system refuses to write the mp4, in a process of its own."""
    source, keyframes = (
        make_source(tmp_path / "s.mp4", 41, 320, 480),
        make_keyframes(tmp_path / "k", (3, 30), (480, 320)),
    )
    editing = Path(__file__).parents[1]
    folders = [str(editing), str(editing.with_name("models"))]
    code = f"""
        import resource, signal, sys
        sys.path[:0] = {folders!r}
        from edit_files import SHORT, run
        from nova_tiny import tiny_pipeline
        from novakit.errors import NovaError
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        pipe = tiny_pipeline(preset="nano")
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
        try:
            run({str(source)!r}, {str(keyframes)!r}, {str(tmp_path / "e.mp4")!r}, pipe, preset=SHORT)
        except NovaError as error:
            print("error:", error)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True)
    last = done.stdout.strip().splitlines()[-1]
    assert last.startswith(f"error: cannot write {tmp_path / 'e.mp4'}: File too large. Is there room on the disk?")
    assert "finished windows are kept" in last
    assert sorted(os.listdir(tmp_path)) == ["e.mp4.work", "k", "s.mp4"]
    assert all(file.suffix == ".safetensors" for file in (tmp_path / "e.mp4.work").iterdir())
