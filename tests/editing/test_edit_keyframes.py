"""Eq. 5: who sees the first keyframe, who does not, and that it is worth it, measured on scenes."""

import numpy as np
import pytest
import torch

from novakit.editing.consistency import consistency
from novakit.editing.keyframe_editors import EditedKeyframe, Faults, make_editor
from novakit.editing.keyframes import edit_keyframe, edit_keyframes, keyframe_indices, keyframe_seed
from novakit.errors import NovaError, NovaNotice
from novakit.scenes import render_scenes

CLIP = torch.rand(1, 3, 17, 16, 24, generator=torch.Generator().manual_seed(0)) * 1.8 - 0.9


class Recorder:
    """Writes down what it is asked, and inverts the frame."""

    name, needs_prompt = "recorder", True

    def __init__(self):
        self.calls = []

    def edit(self, frame, prompt="", mask=None, reference=None, *, index=0, seed=0):
        self.calls.append((index, prompt, mask, reference, seed))
        return -frame


def test_the_first_is_edited_plainly_and_the_others_see_it():
    editor = Recorder()
    keyframes = edit_keyframes(CLIP, "make it blue", 8, editor, seed=5)
    assert [call[0] for call in editor.calls] == [key.index for key in keyframes] == [0, 8, 16]
    assert [call[3] for call in editor.calls] == [None, keyframes[0], keyframes[0]]
    assert {call[1] for call in editor.calls} == {"make it blue"} and all(call[2] is None for call in editor.calls)
    assert [call[4] for call in editor.calls] == [keyframe_seed(5, k) for k in (0, 8, 16)]
    for key in keyframes:
        assert torch.equal(key.frame, CLIP[0, :, key.index]) and torch.equal(key.edited, -CLIP[0, :, key.index])


def test_independently_nobody_sees_anything():
    editor = Recorder()
    edit_keyframes(CLIP, "make it blue", 8, editor, consistent=False)
    assert [call[3] for call in editor.calls] == [None] * 3


def test_indices_instead_of_an_interval_and_what_a_source_may_be():
    pictures = [np.full((16, 24, 3), 40 + 10 * t, np.uint8) for t in range(5)]
    keyframes = edit_keyframes(np.stack(pictures), "x", None, Recorder(), indices=(1, 4))
    assert [key.index for key in keyframes] == [1, 4]
    assert keyframes[1].frame.mean() == pytest.approx(80 / 127.5 - 1)


def test_a_mask_goes_along_and_holds():
    mask = torch.zeros(1, 1, 17, 16, 24)
    for t in range(17):
        mask[..., t, 4:9, t : t + 5] = 1
    editor = Recorder()
    keyframes = edit_keyframes(CLIP, "x", 8, editor, mask)
    for key, call in zip(keyframes, editor.calls):
        assert torch.equal(key.mask, mask[0, :, key.index]) and torch.equal(call[2], key.mask)
        assert torch.equal(key.edited, torch.where(key.mask.bool(), -key.frame, key.frame))


def test_a_keyframe_with_nothing_to_change_stays_and_is_no_reference():
    mask = torch.zeros(1, 1, 17, 16, 24)
    mask[:, :, 8:, 4:9, 4:9] = 1
    editor = Recorder()
    with pytest.warns(NovaNotice, match="keyframe 0: the mask is empty there, the frame stays as it is"):
        keyframes = edit_keyframes(CLIP, "x", 8, editor, mask)
    assert torch.equal(keyframes[0].edited, keyframes[0].frame)
    assert [(call[0], call[3]) for call in editor.calls] == [(8, None), (16, keyframes[1])]


def test_one_line_of_eq_5_is_the_same_as_all_of_them():
    editor = make_editor("nano", edit="restyle", faults=Faults())
    together = edit_keyframes(CLIP, "", 8, editor, seed=3)
    first = edit_keyframe(0, CLIP[0, :, 0], None, "", editor, seed=3)
    last = edit_keyframe(16, CLIP[0, :, 16], None, "", editor, reference=first, seed=3)
    assert torch.equal(first.edited, together[0].edited) and torch.equal(last.edited, together[2].edited)


def test_seeds_differ_and_repeat():
    seeds = {keyframe_seed(seed, k) for seed in (0, 1, 2**63 - 1) for k in range(0, 800, 8)}
    assert len(seeds) == 300 and all(0 <= seed < 2**32 for seed in seeds)
    assert keyframe_seed(1, 8) == keyframe_seed(1, 8) != keyframe_seed(8, 1)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"source": torch.cat([CLIP, CLIP])}, "source holds 2 clips; keyframes are edited one clip at a time"),
        ({"source": "clip.mp4"}, "source is str; wanted a clip tensor"),
        ({"interval": None}, r"no keyframe interval came; pass interval=10 \(--interval 10\)"),
        ({"interval": 0}, r"interval \(--interval\) is 0"),
        ({"seed": -1}, r"seed \(--seed\) is -1"),
        ({"indices": (0, 17)}, "keyframe index 17 lies outside the clip of 17 frames"),
        ({"indices": (8, 0)}, "repeat or go backwards"),
        ({"indices": ()}, "no keyframe index came"),
        ({"prompt": ""}, "recorder edits by a prompt and none came"),
        ({"mask": torch.zeros(1, 1, 17, 16, 24)}, "mask is empty in every keyframe"),
        ({"mask": torch.ones(1, 1, 16, 16, 24)}, r"mask has shape .* wanted \(1, 1, 17, 16, 24\)"),
        ({"mask": torch.ones(1, 1, 17, 16, 16)}, "mask is 16x16 pixels, the clip 24x16: another aspect"),
        ({"editor": None}, "editor is NoneType; wanted a keyframe editor"),
    ],
)
def test_bad_input_is_refused_before_the_editor_works(options, message):
    editor = Recorder()
    call = {"source": CLIP, "prompt": "x", "interval": 8, "editor": editor, "mask": None, **options}
    with pytest.raises(NovaError, match=message):
        edit_keyframes(**call)
    assert not editor.calls


def test_which_frames_an_interval_takes():
    assert (
        keyframe_indices(17, 8) == (0, 8, 16) and keyframe_indices(16, 8) == (0, 8) and keyframe_indices(3, 10) == (0,)
    )


# -- claim C2 at the keyframes: what consistency is worth, with the same faults and the same seeds --------------------


@pytest.mark.parametrize("name", ["nano", "poster"])
@pytest.mark.parametrize("edit, seed", [("recolour", 206), ("replace", 206), ("add", 206), ("restyle", 206)])
def test_consistent_keyframes_are_more_alike_than_independent_ones(edit, seed, name):
    scene = render_scenes([seed], split="test", edit=edit)
    editor = make_editor(name, edit=edit, faults=Faults())
    apart, alike = (
        consistency(edit_keyframes(scene.source, "", 8, editor, scene.mask, consistent=way, seed=seed))
        for way in (False, True)
    )
    assert apart.source_tone_spread == alike.source_tone_spread
    assert alike.tone_spread < 0.7 * apart.tone_spread
    assert alike.placement_spread < 0.7 * apart.placement_spread


@pytest.mark.parametrize("edit", ["recolour", "replace", "remove", "add", "restyle"])
def test_without_faults_both_ways_are_the_same(edit):
    scene = render_scenes([206], split="test", edit=edit)
    editor = make_editor("nano", edit=edit, faults=Faults.none())
    one, other = (
        edit_keyframes(scene.source, "", 8, editor, scene.mask, consistent=way, seed=1) for way in (False, True)
    )
    assert max((a.edited - b.edited).abs().max().item() for a, b in zip(one, other)) < 1 / 255
    assert consistency(one).tone_spread == pytest.approx(consistency(other).tone_spread, abs=1e-3)


def test_the_measures_see_what_was_done_to_the_keyframes():
    """Tone, place and seam of made-up edits whose numbers are known."""
    frame, mask = torch.zeros(3, 40, 60), torch.zeros(1, 40, 60)
    mask[:, 10:30, 20:40] = 1

    def key(value, left=20, right=40):
        edited = frame.clone()
        edited[:, 10:30, left:right] = value
        return EditedKeyframe(0, frame, edited, mask)

    same = consistency([key(0.5), key(0.5)])
    assert same.tone_spread == same.placement_spread == same.source_tone_spread == 0
    assert same.seam == pytest.approx(0.5) and same.keyframes == 2
    assert consistency([key(0.5), key(0.3)]).tone_spread == pytest.approx(0.1)
    halves = consistency([key(0.5, 20, 30), key(0.5, 30, 40)])  # centres 10 px apart, in a mask of 20 px
    assert halves.placement_spread == pytest.approx(0.25 / 2**0.5, rel=1e-5) and halves.tone_spread == 0
    assert "tone spread 0.100" in str(consistency([key(0.5), key(0.3)]))
    empty = EditedKeyframe(8, frame, frame, torch.zeros_like(mask))
    assert consistency([key(0.5), empty, key(0.5)]).keyframes == 2
    with pytest.raises(NovaError, match="1 keyframes hold a change; a spread needs 2"):
        consistency([key(0.5), empty])


def test_the_measures_without_a_mask():
    keys = [EditedKeyframe(k, torch.zeros(3, 8, 8), torch.full((3, 8, 8), v), None) for k, v in ((0, 0.1), (8, 0.3))]
    found = consistency(keys)
    assert found.tone_spread == pytest.approx(0.1) and found.seam == 0 and found.placement_spread < 1e-6
