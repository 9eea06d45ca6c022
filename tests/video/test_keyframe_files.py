"""Keyframes and masks from folders, images and videos; everything ambiguous is refused."""

import warnings

import numpy as np
import pytest
import torch
from make_clips import make_video, picture
from PIL import Image

from novakit.errors import NovaError, NovaNotice
from novakit.video import (
    Geometry,
    KeyframeStore,
    check_mask_file,
    iter_frames,
    iter_mask,
    read_clip,
    read_keyframes,
    read_mask,
    write_clip,
)
from novakit.video import keyframe_store as store_module

SIZE = (48, 80)


def _save(folder, names, size=SIZE, **kwargs):
    folder.mkdir(exist_ok=True)
    for name in names:
        Image.fromarray(picture(int("".join(c for c in name if c.isdigit()) or 0), *size)).save(folder / name, **kwargs)
    return folder


def _no_notice():
    context = warnings.catch_warnings()
    context.__enter__()
    warnings.simplefilter("error", NovaNotice)
    return context


def test_folder_of_images(tmp_path):
    folder = _save(tmp_path / "keys", ["008.png", "000.png", "16.webp", "key_24.jpg"])
    (folder / "notes.txt").write_text("not an image")
    (folder / ".hidden.png").write_bytes(b"")
    context = _no_notice()
    keyframes = read_keyframes(folder, 33, SIZE)
    context.__exit__(None, None, None)
    assert list(keyframes) == [0, 8, 16, 24]
    assert all(tuple(key.shape) == (3, *SIZE) and key.dtype == torch.float32 for key in keyframes.values())
    wanted = torch.from_numpy(picture(8, *SIZE)).permute(2, 0, 1) / 127.5 - 1
    assert torch.equal(keyframes[8], wanted)
    assert list(read_keyframes(folder / "008.png", 33, SIZE)) == [8], "one image will do"


def test_video_of_keyframes(tmp_path):
    file = make_video(tmp_path / "keys.mp4", frames=33)
    keyframes = read_keyframes(file, 33, SIZE, interval=8)
    assert list(keyframes) == [0, 8, 16, 24, 32]
    assert torch.equal(keyframes[16], read_clip(file).frames[0, :, 16])
    assert list(read_keyframes(file, 17, SIZE, interval=10, source_frames=33)) == [0, 10]
    for interval in (None, 0):
        with pytest.raises(NovaError, match=r"Pass interval=K \(`--interval K`"):
            read_keyframes(file, 33, SIZE, interval)
    for frames in (32, 34):
        with pytest.raises(NovaError, match=f"has 33 frames; the clip has {frames}"):
            read_keyframes(file, frames, SIZE, 8)


@pytest.mark.parametrize("kind", ["folder", "video"])
def test_a_store_reads_when_asked_and_forgets(tmp_path, monkeypatch, kind):
    path = make_video(tmp_path / "keys.mp4", frames=33)
    if kind == "folder":
        path = _save(tmp_path / "keys", [f"{k:03d}.png" for k in range(0, 33, 8)])
    wanted = read_keyframes(path, 33, SIZE, interval=8)
    monkeypatch.setattr(store_module, "HELD", 2)
    store = KeyframeStore(path, 33, SIZE, interval=8)
    assert store.indices == (0, 8, 16, 24, 32) and not store._held
    for k in (8, 8, 0, 32, 16, 24, 0):  # backwards too
        assert torch.equal(store[k], wanted[k]) and len(store._held) <= 2


def test_a_store_reads_a_video_once_on_the_way_forward(tmp_path, monkeypatch):
    starts = []
    monkeypatch.setattr(store_module, "iter_frames", lambda *args: starts.append(1) or iter_frames(*args))
    store = KeyframeStore(make_video(tmp_path / "keys.mp4", frames=33), 33, SIZE, interval=4)
    for first in (0, 8, 16):  # windows that overlap
        for k in range(first, first + 17, 4):
            store[k]
    assert len(starts) == 1


def test_a_bad_keyframe_is_found_by_the_check(tmp_path):
    folder = _save(tmp_path / "keys", ["000.png", "008.png"])
    (folder / "008.png").write_text("text")
    store = KeyframeStore(folder, 33, SIZE)
    with pytest.raises(NovaError, match="008.png cannot be read"):
        store.check()


@pytest.mark.parametrize("name", ["8.png", "008.PNG", "frame_008.png", "key_008.webp", "img8.jpg", "Bild_008.bmp"])
def test_names_that_say_frame_8(tmp_path, name):
    assert list(read_keyframes(_save(tmp_path / "keys", [name]), 33, SIZE)) == [8]


@pytest.mark.parametrize(
    "name",
    ["-01.png", "000_v2.png", "frame_-01.png", "1-2.png", "0.5.png", "+1.png", "edit_v2.png", "008_blue.png", " 1.png"],
)
def test_names_that_could_mean_another_frame_are_refused(tmp_path, name):
    with pytest.raises(NovaError, match=r"has no frame index as its name.*Call it e\.g\. 008\.png"):
        read_keyframes(_save(tmp_path / "keys", [name]), 33, SIZE)


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["000.png", "033.png"], "033.png is for frame 33, but the clip has frames 0..32"),
        (
            ["000.png", "0.jpg"],
            "frame 0 is given twice: 0.jpg, 000.png|frame 0 is given twice: 000.png, 0.jpg",
        ),
        ([], "holds no image"),
        (["edited.png"], "no frame index"),
    ],
)
def test_folders_that_do_not_make_sense(tmp_path, names, words):
    with pytest.raises(NovaError, match=words):
        read_keyframes(_save(tmp_path / "keys", names), 33, SIZE)


def test_other_sizes(tmp_path):
    double = _save(tmp_path / "double", ["000.png", "008.png"], size=(96, 160))
    with pytest.warns(NovaNotice, match="2 keyframe pictures of 160x96 were resized to 80x48"):
        keyframes = read_keyframes(double, 33, SIZE)
    assert tuple(keyframes[0].shape) == (3, *SIZE)
    square = _save(tmp_path / "square", ["000.png"], size=(80, 80))
    with pytest.raises(NovaError, match="000.png is 80x80; the clip is 80x48.*crop"):
        read_keyframes(square, 33, SIZE)


@pytest.mark.parametrize("fit", ["stretch", "crop"])
def test_keyframes_and_mask_take_the_way_of_the_clip(tmp_path, fit):
    """A keyframe or mask painted on a source frame covers the same pixels as the clip does."""
    file = make_video(tmp_path / "a.mp4", size=(90, 160), frames=5, options={"crf": "1"})
    clip = read_clip(file, size=(64, 96), fit=fit)
    whole = read_clip(file)
    frame = ((whole.frames[0, :, 0].permute(1, 2, 0) + 1) * 127.5).round().byte().numpy()
    (tmp_path / "keys").mkdir()
    Image.fromarray(frame).save(tmp_path / "keys" / "0.png")
    context = _no_notice()
    keyframe = read_keyframes(tmp_path / "keys", 5, (64, 96), geometry=clip.geometry)[0]
    white = np.zeros((90, 160), np.uint8)
    white[20:60, 70:110] = 255
    Image.fromarray(white).save(tmp_path / "mask.png")
    mask = read_mask(tmp_path / "mask.png", 5, (64, 96), geometry=clip.geometry)
    context.__exit__(None, None, None)
    assert torch.equal(keyframe, clip.frames[0, :, 0])
    top, left = clip.geometry.point_to_preset(20, 70)
    rows, columns = mask[0, 0, 0].nonzero().T
    assert abs(float(rows.min()) - top) <= 1 and abs(float(columns.min()) - left) <= 1


def test_unreadable_images(tmp_path):
    (tmp_path / "keys").mkdir()
    bad = tmp_path / "keys" / "000.png"
    whole = tmp_path / "whole.png"
    Image.fromarray(picture(0, *SIZE)).save(whole)
    for data in (b"", b"text", whole.read_bytes()[: whole.stat().st_size // 2]):
        bad.write_bytes(data)
        with pytest.raises(NovaError, match="000.png cannot be read as an image") as caught:
            read_keyframes(tmp_path / "keys", 33, SIZE)
        assert caught.value.__suppress_context__
    Image.fromarray(np.zeros(SIZE, np.uint16)).save(bad)
    with pytest.raises(NovaError, match="8-bit"):
        read_keyframes(tmp_path / "keys", 33, SIZE)
    with pytest.raises(NovaError, match="does not exist"):
        read_keyframes(tmp_path / "nowhere", 33, SIZE)


def test_transparency_palette_and_grey(tmp_path):
    (tmp_path / "keys").mkdir()
    clear = np.dstack([np.full(SIZE, 255, np.uint8)] * 3 + [np.zeros(SIZE, np.uint8)])
    Image.fromarray(clear).save(tmp_path / "keys" / "0.png")
    Image.fromarray(picture(0, *SIZE)).convert("P").save(tmp_path / "keys" / "1.png")
    Image.fromarray(picture(0, *SIZE)).convert("L").save(tmp_path / "keys" / "2.png")
    opaque = Image.fromarray(picture(0, *SIZE)).convert("RGBA")
    opaque.save(tmp_path / "keys" / "3.png")
    with pytest.warns(NovaNotice, match="laid on black: 0.png.$"):
        keyframes = read_keyframes(tmp_path / "keys", 5, SIZE)
    assert (keyframes[0] == -1).all() and torch.equal(keyframes[2][0], keyframes[2][1])
    assert (keyframes[1] - keyframes[2]).abs().mean() < 0.5


def _mask(frames=9):
    mask = torch.zeros(1, 1, frames, *SIZE)
    for t in range(frames):
        mask[..., t, 8:24, 4 * t : 4 * t + 20] = 1
    return mask


def test_mask_from_video_folder_and_image(tmp_path):
    mask = _mask()
    write_clip(tmp_path / "mask.mp4", mask, 8)
    (tmp_path / "mask").mkdir()
    for t in range(9):
        grey = (mask[0, 0, t] * 180 + 20).byte().numpy()  # not quite black and white
        Image.fromarray(grey).save(tmp_path / "mask" / f"{t:03d}.png")
    from_folder = read_mask(tmp_path / "mask", 9, SIZE)
    assert torch.equal(read_mask(tmp_path / "mask.mp4", 9, SIZE), mask) and torch.equal(from_folder, mask)
    from_image = read_mask(tmp_path / "mask" / "003.png", 9, SIZE)
    assert from_image.shape == mask.shape and (from_image == mask[:, :, 3:4]).all()
    assert torch.equal(read_mask(tmp_path / "mask.mp4", 5, SIZE, source_frames=9), mask[:, :, :5])


def test_masks_one_by_one(tmp_path):
    mask = _mask()
    video = write_clip(tmp_path / "mask.mp4", mask, 8)
    (tmp_path / "mask").mkdir()
    for t in range(9):
        Image.fromarray((mask[0, 0, t] * 255).byte().numpy()).save(tmp_path / "mask" / f"{t:03d}.png")
    for path in (video, tmp_path / "mask"):
        for start in (0, 6):
            assert torch.equal(torch.stack(list(iter_mask(path, 9, SIZE, start=start)), 1), mask[0, :, start:])
    still = list(iter_mask(tmp_path / "mask" / "003.png", 9, SIZE, start=4))
    assert len(still) == 5 and torch.equal(still[0], mask[0, :, 3])
    check_mask_file(video, 9, SIZE)


def test_masks_that_do_not_fit(tmp_path):
    write_clip(tmp_path / "mask.mp4", _mask(), 8)
    with pytest.raises(NovaError, match="has 9 frames; the clip has 8"):
        check_mask_file(tmp_path / "mask.mp4", 8, SIZE)
    for frames in (8, 10):
        with pytest.raises(NovaError, match=f"has 9 frames; the clip has {frames}"):
            read_mask(tmp_path / "mask.mp4", frames, SIZE)
    with pytest.raises(NovaError, match="mask frame 0 is 80x48"):
        read_mask(tmp_path / "mask.mp4", 9, (80, 80))
    with pytest.warns(NovaNotice, match="resized"):
        assert read_mask(tmp_path / "mask.mp4", 9, (24, 40)).unique().tolist() == [0.0, 1.0]
    write_clip(tmp_path / "black.mp4", torch.zeros(1, 1, 9, *SIZE), 8)
    with pytest.raises(NovaError, match="black everywhere"):
        read_mask(tmp_path / "black.mp4", 9, SIZE)
    with pytest.raises(NovaError, match="black everywhere"):
        check_mask_file(tmp_path / "black.mp4", 9, SIZE)
    folder = _save(tmp_path / "folder", ["000.png", "002.png"])
    with pytest.raises(NovaError, match=r"lacks 1 of 3 frames \(first: 1\)"):
        read_mask(folder, 3, SIZE)
    with pytest.raises(NovaError, match="does not exist"):
        read_mask(tmp_path / "missing.png", 3, SIZE)


def test_geometry_is_not_needed_for_the_preset_size(tmp_path):
    folder = _save(tmp_path / "keys", ["000.png"])
    geometry = Geometry.between((720, 1280), SIZE)
    assert torch.equal(read_keyframes(folder, 33, SIZE, geometry=geometry)[0], read_keyframes(folder, 33, SIZE)[0])
