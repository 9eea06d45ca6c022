"""NanoEditor: five edits inside a mask, at any size, the same again with the same seed."""

import pytest
import torch

from novakit.editing.keyframe_editors import EditedKeyframe, Faults, NanoEditor
from novakit.errors import NovaError
from novakit.scenes import EDITS, render_scenes

STYLES = ("plain", "poster")


@pytest.fixture(scope="module")
def scenes():
    """One frame (3, 64, 96) and mask (1, 64, 96) for every kind of edit."""
    found = {}
    for edit in EDITS:
        scene = render_scenes([204], split="test", edit=edit, num_frames=1)
        found[edit] = (scene.source[0, :, 0], scene.mask[0, :, 0])
    return found


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("edit", EDITS)
def test_the_mask_changes_and_nothing_else(scenes, edit, style):
    frame, mask = scenes[edit]
    before = frame.clone()
    edited = NanoEditor(edit, style=style, faults=Faults()).edit(frame, "", mask, seed=3)
    assert torch.equal(frame, before) and edited.shape == frame.shape and edited.dtype == torch.float32
    outside = (mask == 0).expand_as(frame)
    assert torch.equal(edited[outside], frame[outside])
    assert (edited - frame)[~outside].abs().mean() > 0.05
    assert edited.min() >= -1 and edited.max() <= 1


@pytest.mark.parametrize("edit", EDITS)
def test_the_two_styles_are_truly_different(scenes, edit):
    frame, mask = scenes[edit]
    plain, poster = (NanoEditor(edit, style=style).edit(frame, "", mask) for style in STYLES)
    apart = ((plain - poster).abs() * mask).sum() / mask.sum() / 3
    assert apart > (0.02 if edit == "remove" else 0.1)


@pytest.mark.parametrize("edit", EDITS)
def test_the_seed_decides_and_only_with_faults(scenes, edit):
    frame, mask = scenes[edit]
    straying, steady = NanoEditor(edit, faults=Faults()), NanoEditor(edit)
    first, again, other = (straying.edit(frame, "", mask, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert torch.equal(steady.edit(frame, "", mask, seed=1), steady.edit(frame, "", mask, seed=2))


@pytest.mark.parametrize("edit", EDITS)
@pytest.mark.parametrize("size", [(48, 80), (270, 480), (1080, 1920)])
def test_any_size(scenes, edit, size):
    frame, mask = scenes[edit]
    frame = torch.nn.functional.interpolate(frame[None], size, mode="bilinear")[0]
    mask = torch.nn.functional.interpolate(mask[None], size)[0]
    edited = NanoEditor(edit).edit(frame, "", mask)
    assert edited.shape == (3, *size) and edited.isfinite().all()
    outside = (mask == 0).expand_as(frame)
    assert torch.equal(edited[outside], frame[outside]) and not torch.equal(edited, frame)


def test_recolouring_keeps_the_shading_and_gives_the_colour(scenes):
    frame, mask = scenes["recolour"]
    inside = mask[0] > 0
    for colour, channel in (("red", 0), ("lime", 1), ("#0000ff", 2)):
        pixels = NanoEditor("recolour", colour=colour).edit(frame, "", mask)[:, inside] / 2 + 0.5
        assert pixels.mean(1).argmax() == channel
    grey = (frame[:, inside] * torch.tensor([0.299, 0.587, 0.114])[:, None]).sum(0)
    edited = NanoEditor("recolour", colour="white").edit(frame, "", mask)[:, inside].mean(0)
    order = torch.corrcoef(torch.stack([grey, edited]))[0, 1]
    assert order > 0.8


def test_removing_brings_a_plain_background_back():
    y, x = torch.meshgrid(torch.linspace(-1, 1, 64), torch.linspace(-1, 1, 96), indexing="ij")
    background = torch.stack([0.5 * x, 0.5 * y, 0.3 * x - 0.3 * y])
    mask = ((y / 0.4) ** 2 + ((x - 0.2) / 0.3) ** 2 < 1).float()[None]
    frame = torch.where(mask.bool(), torch.tensor([0.9, -0.9, 0.9])[:, None, None], background)
    for style, most in (("plain", 0.02), ("poster", 0.02)):
        restored = NanoEditor("remove", style=style).edit(frame, "", mask)
        assert (restored - background).abs().max() < 5 * most
        assert ((restored - background).abs() * mask).sum() / mask.sum() / 3 < most


@pytest.mark.parametrize("edit", ["replace", "remove", "add"])
def test_these_must_know_where(scenes, edit):
    frame, _ = scenes[edit]
    with pytest.raises(NovaError, match=f"nano: {edit} must know where; no mask came for keyframe 8"):
        NanoEditor(edit).edit(frame, index=8)


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("edit", ["recolour", "restyle"])
def test_these_take_the_whole_frame_too(scenes, edit, style):
    frame, _ = scenes[edit]
    edited = NanoEditor(edit, style=style).edit(frame)
    assert ((edited - frame).abs().amax(0) > 0.02).float().mean() > 0.95


@pytest.mark.parametrize(
    "frame, mask, prompt, message",
    [
        (torch.zeros(3, 8, 8), None, "make it blue", "nano reads no prompt, 'make it blue' would be ignored"),
        (torch.zeros(8, 8), None, "", r"keyframe 0 is of shape \(8, 8\); wanted a tensor \(3, H, W\)"),
        (
            torch.zeros(3, 8, 8),
            torch.ones(1, 8, 9),
            "",
            r"mask of keyframe 0 is of shape \(1, 8, 9\); wanted \(1, 8, 8\)",
        ),
        (torch.zeros(3, 8, 8), torch.zeros(1, 8, 8), "", "mask of keyframe 0 is empty"),
        (torch.zeros(3, 8, 8), "mask.png", "", r"mask of keyframe 0 is str; wanted \(1, 8, 8\)"),
    ],
)
def test_bad_requests(frame, mask, prompt, message):
    with pytest.raises(NovaError, match=message):
        NanoEditor().edit(frame, prompt, mask)


@pytest.mark.parametrize("edit", ["replace", "remove"])
def test_nothing_can_be_continued_from_nowhere(edit):
    with pytest.raises(NovaError, match="covers the whole frame.*surroundings"):
        NanoEditor(edit).edit(torch.rand(3, 16, 16), "", torch.ones(1, 16, 16))


@pytest.mark.parametrize("edit", EDITS)
@pytest.mark.parametrize(
    "where", [(slice(0, 1), slice(0, 1)), (slice(20, 22), slice(0, 96)), (slice(0, 64), slice(0, 95))]
)
def test_masks_of_a_pixel_a_line_and_nearly_everything(scenes, edit, where):
    frame, _ = scenes[edit]
    mask = torch.zeros(1, 64, 96)
    mask[:, where[0], where[1]] = 1
    editor = NanoEditor(edit, faults=Faults())
    first = editor.edit(frame, "", mask, seed=1)
    later = editor.edit(frame, "", mask, EditedKeyframe(0, frame, first, mask), seed=2)
    assert first.isfinite().all() and later.isfinite().all()


@pytest.mark.parametrize("edit", EDITS)
def test_a_hair_in_a_large_frame(scenes, edit):
    """So thin that it vanishes on the small picture on which a reference is measured."""
    frame = torch.nn.functional.interpolate(scenes[edit][0][None], (320, 480), mode="bilinear")[0]
    mask = torch.zeros(1, 320, 480)
    mask[:, 100:102] = 1
    editor = NanoEditor(edit, faults=Faults())
    first = editor.edit(frame, "", mask, seed=1)
    later = editor.edit(frame, "", mask, EditedKeyframe(0, frame, first, mask), seed=2)
    assert first.isfinite().all() and later.isfinite().all()


@pytest.mark.parametrize("name", ["tone", "position", "style", "residual"])
@pytest.mark.parametrize("value", [-0.1, 1.1, "much", float("nan")])
def test_faults_outside_their_range(name, value):
    with pytest.raises(NovaError, match=f"Faults.{name} is .*; wanted a number from 0"):
        Faults(**{name: value})


def test_faults_scale_up_to_one():
    assert Faults(0.2, 0.1, 0.5, 0.3).scaled(4) == Faults(0.8, 0.4, 1.0, 0.3)
    assert Faults().scaled(0).tone == Faults().scaled(0).position == Faults.none().style == 0
