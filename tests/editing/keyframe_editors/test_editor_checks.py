"""Whatever a broken editor returns is refused in words that name the editor, the keyframe and the way out."""

from dataclasses import dataclass
from typing import Any

import pytest
import torch

from novakit.editing.keyframe_editors.checks import check_edited, check_prompt, check_same_scene, similarity
from novakit.editing.keyframes import edit_keyframes
from novakit.errors import NovaError, NovaNotice

FRAME = torch.rand(3, 24, 32, generator=torch.Generator().manual_seed(0)) * 1.6 - 0.8
MASK = torch.zeros(1, 24, 32)
MASK[:, 6:18, 8:24] = 1


@dataclass
class Broken:
    """Returns whatever it was told to return, or what a function makes of the frame."""

    answer: Any
    name: str = "broken"
    needs_prompt: bool = False

    def edit(self, frame, prompt="", mask=None, reference=None, *, index=0, seed=0):
        return self.answer(frame) if callable(self.answer) else self.answer


def nan(frame):
    edited = frame.clone()
    edited[0, 0, 0] = float("nan")
    return edited


FAULTS = [
    (lambda frame: frame[:, :20], "broken, keyframe 4: 32x20 pixels came back, the frame has 32x24"),
    (lambda frame: frame[None], r"broken, keyframe 4: of shape \(1, 3, 24, 32\) came back"),
    (None, "broken, keyframe 4: NoneType came back; wanted a tensor"),
    (nan, "came back from editor broken, keyframe 4 holds 1 NaN"),
    (lambda frame: frame + float("inf"), "keyframe 4 holds 2304 NaN or infinite"),
    (lambda frame: frame * 127.5 + 127.5, r"keyframe 4 has values from .* wanted \[-1, 1\]"),
    (lambda frame: torch.full_like(frame, -1.0), "broken, keyframe 4: a black picture came back.*safety filter"),
    (lambda frame: torch.full_like(frame, 0.3), "broken, keyframe 4: a picture of one single colour"),
    (lambda frame: frame.clone(), r"broken, keyframe 4: the frame came back unedited.*--seed"),
    (lambda frame: (frame + 0.5 / 255).clamp(-1, 1), "came back unedited"),
]


@pytest.mark.parametrize("answer, message", FAULTS)
def test_a_broken_editor_is_named_with_its_keyframe(answer, message):
    clip = FRAME[None, :, None].repeat(1, 1, 5, 1, 1)
    with pytest.raises(NovaError, match=message):
        edit_keyframes(clip, "", None, Broken(answer), indices=[4])


@pytest.mark.parametrize("answer, message", [fault for fault in FAULTS if "single colour" not in fault[1]])
def test_a_broken_editor_is_caught_behind_a_mask_too(answer, message):
    """Also where the fault lies outside the mask and would be pasted over."""
    with pytest.raises(NovaError, match=message):
        check_edited(answer(FRAME) if answer else None, FRAME, MASK, Broken(None), 4)


def test_outside_the_mask_the_frame_is_put_back_exactly():
    edited = check_edited((FRAME + 0.3).clamp(-1, 1), FRAME, MASK, Broken(None), 0)
    outside = (MASK == 0).expand_as(FRAME)
    assert torch.equal(edited[outside], FRAME[outside])
    assert (edited - FRAME)[~outside].abs().min() > 0.1
    assert edited.dtype == torch.float32


def test_only_a_change_outside_the_mask_is_no_edit():
    edited = torch.where(MASK.bool(), FRAME, -FRAME)
    with pytest.raises(NovaError, match="came back unedited"):
        check_edited(edited, FRAME, MASK, Broken(None), 0)


def test_black_and_constant_frames_of_the_source_are_no_fault():
    black = torch.full((3, 24, 32), -1.0)
    lit = black.clone()
    lit[:, 3, 3] = 0.5
    assert torch.equal(check_edited(lit, black, None, Broken(None), 0), lit)
    grey = check_edited(torch.full_like(black, 0.5), black, None, Broken(None), 0)
    assert grey.mean() == 0.5
    dark = FRAME.clone()
    dark[:, 6:18, 8:24] = -1
    assert check_edited(FRAME, dark, MASK, Broken(None), 0).max() > 0


def test_a_flat_patch_inside_a_mask_is_a_fair_edit():
    assert check_edited(torch.full_like(FRAME, 0.3), FRAME, MASK, Broken(None), 0)[0, 10, 10] == pytest.approx(0.3)


def test_prompts():
    asking, silent = Broken(None, needs_prompt=True), Broken(None)
    check_prompt(asking, "a blue coat")
    check_prompt(silent, "")
    with pytest.raises(NovaError, match=r"broken edits by a prompt and none came.*--prompt"):
        check_prompt(asking, "  ")
    with pytest.raises(NovaError, match="broken reads no prompt, 'a blue coat' would be ignored"):
        check_prompt(silent, "a blue coat")
    with pytest.raises(NovaError, match="prompt is NoneType; wanted text"):
        check_prompt(asking, None)


def test_what_is_no_editor():
    with pytest.raises(NovaError, match=r"editor is str; wanted a keyframe editor.*make_editor\('nano'\)"):
        edit_keyframes(FRAME[None, :, None], "", 1, "nano")


def scenes():
    """Two patchworks (3, 24, 32) in [-1, 1] that have nothing in common."""
    patches = torch.rand(2, 3, 6, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    return torch.nn.functional.interpolate(patches, (24, 32))


def test_similarity_of_frames():
    scene, other = scenes()
    assert similarity(scene, scene) == pytest.approx(1, abs=1e-4)
    assert similarity(scene, scene * 0.5 - 0.3) == pytest.approx(1, abs=1e-4)
    assert similarity(scene, -scene) == pytest.approx(-1, abs=1e-4)
    assert abs(similarity(scene, other)) < 0.5
    assert similarity(scene, torch.zeros_like(scene)) is None
    mixed = torch.where(MASK.bool(), other, scene)
    assert similarity(scene, mixed, MASK == 0) == pytest.approx(1, abs=1e-4) and similarity(scene, mixed) < 0.9


def test_another_scene_outside_the_mask_is_refused_and_a_trifle_said():
    big = scenes()
    with pytest.raises(NovaError, match=r"008.png is not frame 8 of the source.*similarity"):
        check_same_scene(big[1], big[0], MASK, "008.png", 8)
    flat = torch.zeros(3, 24, 32)
    with pytest.raises(NovaError, match="similarity -, mean difference 0.80"):
        check_same_scene(flat + 0.8, flat, MASK, "008.png", 8)
    touched = big[0].clone()
    touched[:, :3, :9] = 0.9
    with pytest.warns(NovaNotice, match=r"differs outside the mask too \(\d+% of the pixels"):
        check_same_scene(touched, big[0], MASK, "008.png", 8)
    with pytest.warns(NovaNotice, match="looks little like frame 8 of the source"):
        check_same_scene(big[1], big[0], None, "008.png", 8)
