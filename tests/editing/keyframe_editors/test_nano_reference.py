"""With a reference the editor looks at its pixels: change them, and the next keyframe follows."""

import pytest
import torch

from novakit.editing.keyframe_editors import EditedKeyframe, Faults, NanoEditor
from novakit.editing.keyframe_editors.nano_faults import draw_look
from novakit.scenes import EDITS, render_scenes

NO_RESIDUAL = Faults(residual=0.0)


def scene_of(edit, seed, size=None):
    scene = render_scenes([seed], split="test", edit=edit, num_frames=9)
    pairs = [(scene.source[0, :, t], scene.mask[0, :, t]) for t in (0, 8)]
    if size is None:
        return pairs
    grow = torch.nn.functional.interpolate
    return [
        (grow(frame[None], size, mode="bicubic")[0].clamp(-1, 1), grow(mask[None], size)[0]) for frame, mask in pairs
    ]


def inside_mean(image, mask):
    return (image * mask).sum((1, 2)) / mask.sum()


@pytest.mark.parametrize("style", ["plain", "poster"])
@pytest.mark.parametrize("edit", EDITS)
@pytest.mark.parametrize("seed", [105, 106, 206])
def test_what_was_drawn_is_measured_on_the_pixels(edit, style, seed):
    """Two roads: the look that the first edit drew, and the look that is read off its picture."""
    (frame, mask), _ = scene_of(edit, seed)
    editor = NanoEditor(edit, style=style, faults=Faults())
    drawn = draw_look(editor.faults, 7)
    measured = editor._look_of(EditedKeyframe(0, frame, editor.edit(frame, "", mask, seed=7), mask))
    assert (measured.shift - drawn.shift).abs().max() < 0.03
    middle = [look.gain * 0.5 + look.offset for look in (measured, drawn)]  # what becomes of a mid-grey
    assert (middle[0] - middle[1]).abs().max() < 0.12
    if edit in ("add", "replace"):
        assert abs(measured.style - drawn.style) < 0.2


@pytest.mark.parametrize("edit", EDITS)
@pytest.mark.parametrize("size", [None, (270, 480)])
def test_without_faults_a_reference_changes_nothing(edit, size):
    (first, first_mask), (later, later_mask) = scene_of(edit, 206, size)
    editor = NanoEditor(edit)
    reference = EditedKeyframe(0, first, editor.edit(first, "", first_mask), first_mask)
    plainly = editor.edit(later, "", later_mask)
    assert (editor.edit(later, "", later_mask, reference) - plainly).abs().max() < 1 / 255


@pytest.mark.parametrize("edit", ["recolour", "add", "restyle"])
def test_a_reference_that_was_painted_over_is_followed(edit):
    """A hand changes the first keyframe: darker, or redder. The editor was told nothing, it can only have looked."""
    (first, first_mask), (later, later_mask) = scene_of(edit, 206)
    editor = NanoEditor(edit, faults=NO_RESIDUAL)
    edited = editor.edit(first, "", first_mask, seed=1)
    plain = editor.edit(later, "", later_mask, EditedKeyframe(0, first, edited, first_mask), seed=2)
    for change in (torch.tensor([-0.3, -0.3, -0.3]), torch.tensor([0.3, 0.0, -0.2])):
        over = torch.where(first_mask.bool(), (edited + change[:, None, None]).clamp(-1, 1), edited)
        other = editor.edit(later, "", later_mask, EditedKeyframe(0, first, over, first_mask), seed=2)
        wanted = inside_mean(over, first_mask) - inside_mean(edited, first_mask)
        came = inside_mean(other, later_mask) - inside_mean(plain, later_mask)
        assert (came - wanted).abs().max() < 0.08 and came.abs().max() > 0.1


def test_a_reference_that_was_moved_is_followed():
    (first, first_mask), (later, later_mask) = scene_of("add", 206)
    editor = NanoEditor("add")
    straight = editor.edit(later, "", later_mask)
    moved_editor = NanoEditor("add", faults=Faults(tone=0, position=0.15, style=0, residual=0))
    seed = next(s for s in range(100) if draw_look(moved_editor.faults, s).shift[1] > 0.1)
    moved = moved_editor.edit(first, "", first_mask, seed=seed)
    followed = editor.edit(later, "", later_mask, EditedKeyframe(0, first, moved, first_mask))

    def middle(edited):
        change = (edited - later).abs().mean(0)
        return (change.sum(0) * torch.arange(96)).sum() / change.sum()

    assert middle(followed) - middle(straight) > 0.3


def test_the_residual_is_the_share_of_its_own_faults_that_stays():
    (first, first_mask), (later, later_mask) = scene_of("recolour", 206)
    reference = NanoEditor("recolour").edit(first, "", first_mask)
    reference = EditedKeyframe(0, first, reference, first_mask)
    wanted = NanoEditor("recolour").edit(later, "", later_mask)
    far = []
    for residual in (0.0, 0.3, 1.0):
        editor = NanoEditor("recolour", faults=Faults(position=0, residual=residual))
        far.append((editor.edit(later, "", later_mask, reference, seed=3) - wanted).abs().mean().item())
    assert far[0] < 1e-3 < far[1] < 0.6 * far[2]
    alone = NanoEditor("recolour", faults=Faults(position=0)).edit(later, "", later_mask, seed=3)
    assert (alone - wanted).abs().mean().item() == pytest.approx(far[2], rel=1e-3)


def test_a_reference_is_measured_once(monkeypatch):
    from novakit.editing.keyframe_editors import nano

    (first, first_mask), (later, later_mask) = scene_of("recolour", 206)
    editor, calls = NanoEditor("recolour", faults=Faults()), []
    measure = nano.measure_look
    monkeypatch.setattr(nano, "measure_look", lambda *args: calls.append(1) or measure(*args))
    reference = EditedKeyframe(0, first, editor.edit(first, "", first_mask), first_mask)
    for seed in range(3):
        editor.edit(later, "", later_mask, reference, seed=seed)
    assert len(calls) == 1
    other = EditedKeyframe(0, first, -reference.edited, first_mask)
    editor.edit(later, "", later_mask, other)
    assert len(calls) == 2
