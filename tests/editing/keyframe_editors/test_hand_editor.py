"""Frames that a person edited: names and sizes checked, other clips noticed, nothing guessed."""

import warnings

import pytest
import torch
from PIL import Image

from novakit.editing.keyframe_editors import make_editor
from novakit.editing.keyframes import edit_keyframes
from novakit.errors import NovaError, NovaNotice
from novakit.scenes import render_scenes
from novakit.show import to_image


@pytest.fixture(scope="module")
def scene():
    return render_scenes([206], split="test", edit="recolour", num_frames=17)


def save(folder, clip, indices=(0, 8, 16), names="{:03d}.png"):
    folder.mkdir(exist_ok=True)
    for k in indices:
        to_image(clip[0, :, k]).save(folder / names.format(k))
    return folder


def edit(folder, scene, mask=None, prompt=""):
    return edit_keyframes(scene.source, prompt, 8, make_editor("hand", folder=folder), mask)


def test_what_the_person_painted_comes_back(scene, tmp_path):
    keyframes = edit(save(tmp_path / "k", scene.truth, names="img_{}.png"), scene)
    assert [key.index for key in keyframes] == [0, 8, 16]
    for key in keyframes:
        assert (key.edited - scene.truth[0, :, key.index]).abs().max() <= 1.01 / 255


def test_outside_the_mask_the_source_stays(scene, tmp_path):
    keyframes = edit(save(tmp_path / "k", scene.truth), scene, scene.mask)
    outside = (scene.mask[0, :, 8] == 0).expand(3, -1, -1)
    assert torch.equal(keyframes[1].edited[outside], scene.source[0, :, 8][outside])


def test_missing_frames_are_named_all_at_once(scene, tmp_path):
    folder = save(tmp_path / "k", scene.truth, (0, 4, 12))
    with pytest.raises(NovaError, match=r"lacks 2 of 3 keyframes: 8, 16\. It holds frames 4, 12.*another interval"):
        edit(folder, scene)
    with pytest.raises(NovaError, match="lacks 1 of 1 keyframes: 3"):
        make_editor("hand", folder=folder).edit(scene.source[0, :, 3], index=3)


def test_more_frames_are_said(scene, tmp_path):
    with pytest.warns(NovaNotice, match="also holds frames 4, which are no keyframes"):
        edit(save(tmp_path / "k", scene.truth, (0, 4, 8, 16)), scene)


@pytest.mark.parametrize("name", ["008_final.png", "cover.png", "-8.png"])
def test_wrong_names(scene, tmp_path, name):
    folder = save(tmp_path / "k", scene.truth)
    (folder / "008.png").rename(folder / name)
    with pytest.raises(NovaError, match="has no frame index as its name"):
        make_editor("hand", folder=folder)


def test_no_folder_and_no_image(tmp_path):
    with pytest.raises(NovaError, match=r"nowhere is no folder.*--hand.*novakit keyframes"):
        make_editor("hand", folder=tmp_path / "nowhere")
    with pytest.raises(NovaError, match="holds no image"):
        make_editor("hand", folder=tmp_path)


def test_another_size_of_the_same_aspect_is_resized_and_another_aspect_refused(scene, tmp_path):
    folder = save(tmp_path / "k", scene.truth)
    for file in folder.iterdir():
        Image.open(file).resize((192, 128), Image.Resampling.BICUBIC).save(file)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        keyframes = edit(folder, scene)
    assert len(told) == 1, "each size once"
    assert "000.png (and others of its size) resized from 192x128 to the clip's 96x64" in str(told[0].message)
    assert keyframes[1].edited.shape == (3, 64, 96)
    Image.open(folder / "008.png").resize((128, 128)).save(folder / "008.png")
    with (
        pytest.raises(NovaError, match="008.png .* is 128x128 pixels, the clip 96x64: another aspect"),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore", NovaNotice)
        edit(folder, scene)


def test_a_file_that_is_no_image(scene, tmp_path):
    folder = save(tmp_path / "k", scene.truth)
    (folder / "008.png").write_bytes(b"hello")
    with pytest.raises(NovaError, match="008.png cannot be read as an image"):
        edit(folder, scene)


def test_a_frame_of_another_clip(scene, tmp_path):
    folder, other = (
        save(tmp_path / "k", scene.truth),
        render_scenes([103], split="test", edit="recolour", num_frames=17),
    )
    to_image(other.truth[0, :, 8]).save(folder / "008.png")
    with pytest.raises(NovaError, match=r"008.png is not frame 8 of the source.*another clip"):
        edit(folder, scene, scene.mask)
    with pytest.warns(NovaNotice, match="008.png looks little like frame 8"):
        edit(folder, scene)


def test_a_frame_left_as_it_was_is_asked_about_and_all_of_them_refused(scene, tmp_path):
    folder = save(tmp_path / "k", scene.truth)
    save(folder, scene.source, (8,))
    with pytest.warns(NovaNotice, match="hand, keyframe 8: this is the source's frame, unedited"):
        keyframes = edit(folder, scene)
    assert (keyframes[1].edited - keyframes[1].frame).abs().max() < 0.01
    save(folder, scene.source)
    with (
        pytest.raises(NovaError, match="hand: all 3 keyframes are the source's frames, unedited"),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore", NovaNotice)
        edit(folder, scene)


def test_a_prompt_is_not_for_a_person(scene, tmp_path):
    with pytest.raises(NovaError, match="hand reads no prompt"):
        edit(save(tmp_path / "k", scene.truth), scene, prompt="a blue coat")
