"""What goes into a keyframe editor and what comes back, checked the same way for every editor. Source: ours."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from novakit.editing.inputs import check_values, notice
from novakit.editing.keyframe_editors.nano_places import box_of, cut
from novakit.editing.keyframe_editors.protocol import KeyframeEditor
from novakit.errors import NovaError

STEP = 2 / 255  # one step of 8 bits in [-1, 1]
UNEDITED = 1.5 * STEP  # an edit that changes no value by more than this changed nothing
BLACK = -1 + 2.5 * STEP  # values up to here are black
SIMILAR = 0.5  # correlation of two frames below which they hardly show the same scene
LOOK_SIDE = 32  # pixels; frames are compared at this size, where noise and compression do not matter
MOST_APART = 0.4  # mean difference outside the mask above which two frames do not show the same scene
FEW = 0.02  # share of pixels outside the mask that may differ without a word
STANDS_OUT = 16 * STEP  # by more than this


def check_editor(editor: Any) -> KeyframeEditor:
    """Refuse what is no keyframe editor."""
    if not isinstance(editor, KeyframeEditor):
        raise NovaError(
            f"editor is {type(editor).__name__}; wanted a keyframe editor with name, needs_prompt and edit(). "
            "Make one with novakit.editing.keyframe_editors.make_editor('nano')."
        )
    return editor


def check_prompt(editor: KeyframeEditor, prompt: str) -> None:
    """Refuse a prompt that nobody would read, and a missing one.

    Raises:
        NovaError: a prompt for an editor that reads none, or none for an editor that needs one.
    """
    if not isinstance(prompt, str):
        raise NovaError(f"prompt is {type(prompt).__name__}; wanted text, e.g. 'make the coat blue'.")
    if editor.needs_prompt and not prompt.strip():
        raise NovaError(
            f"editor {editor.name} edits by a prompt and none came. Say what to change: prompt= (--prompt)."
        )
    if prompt.strip() and not editor.needs_prompt:
        raise NovaError(
            f"editor {editor.name} reads no prompt, {prompt.strip()!r} would be ignored. Leave it out, or choose an "
            "editor that reads one, flux or qwen (--editor)."
        )


def check_request(frame: Tensor, mask: Tensor | None, index: int) -> None:
    """Refuse a frame and mask that no editor can work with.

    Args:
        frame: wanted (3, H, W).
        mask: wanted (1, H, W) with at least one 1, or None.
        index: frame index, for the message.
    """
    if not isinstance(frame, Tensor) or frame.ndim != 3 or frame.shape[0] != 3 or 0 in frame.shape:
        raise NovaError(f"keyframe {index} is {_say(frame)}; wanted a tensor (3, H, W) in [-1, 1].")
    if mask is None:
        return
    size = tuple(frame.shape[-2:])
    if not isinstance(mask, Tensor) or tuple(mask.shape) != (1, *size):
        raise NovaError(f"mask of keyframe {index} is {_say(mask)}; wanted (1, {size[0]}, {size[1]}), as the frame.")
    if not mask.any():
        raise NovaError(f"mask of keyframe {index} is empty; wanted 1 where content changes. Leave this frame alone.")


def check_edited(edited: Any, frame: Tensor, mask: Tensor | None, editor: KeyframeEditor, index: int) -> Tensor:
    """What an editor returned, checked; outside the mask it is the frame again, exactly.

    Args:
        edited: what came; wanted (3, H, W) in [-1, 1].
        frame: (3, H, W), the frame before the edit.
        mask: (1, H, W) in {0, 1}, or None.
        editor: whose work it is. One with `may_leave_unedited = True` (a person) is only asked about unedited frames.
        index: frame index.

    Returns:
        (3, H, W) float32 in [-1, 1].

    Raises:
        NovaError: no tensor, another size, NaN or infinity, values outside [-1, 1], a black or constant picture, or
            the frame as it was.
    """
    what = f"editor {editor.name}, keyframe {index}"
    if not isinstance(edited, Tensor) or edited.ndim != 3 or edited.shape[0] != 3:
        raise NovaError(f"{what}: {_say(edited)} came back; wanted a tensor (3, H, W). Correct the editor.")
    if edited.shape != frame.shape:
        sizes = [f"{image.shape[2]}x{image.shape[1]}" for image in (edited, frame)]
        raise NovaError(
            f"{what}: {sizes[0]} pixels came back, the frame has {sizes[1]}. An editor must bring its result back to "
            "the frame's own size, and where it was cropped, to its place."
        )
    edited = check_values(edited.float(), f"what came back from {what}")
    box = (0, 0, *frame.shape[-2:]) if mask is None else box_of(mask)
    after, before = cut(edited, box), cut(frame, box)
    if mask is not None:
        after, edited = torch.where(cut(mask, box).bool(), after, before), frame.clone()
        cut(edited, box)[:] = after
    _check_picture(after, before, None if mask is None else cut(mask, box), editor, what)
    _check_changed(after, before, editor, what)
    return edited


def _check_picture(after: Tensor, before: Tensor, mask: Tensor | None, editor: KeyframeEditor, what: str) -> None:
    """Refuse black and constant results, unless the frame was so itself; only pixels inside the mask are asked."""
    advice = "Try another seed (--seed) or prompt; a model's safety filter or half precision (float16) does this."
    if _is_person(editor):
        advice = "Was it saved with all its layers? Export it again."
    if _brightest(after, mask) <= BLACK < _brightest(before, mask):
        raise NovaError(f"{what}: a black picture came back. {advice}")
    if mask is None and _is_constant(after) and not _is_constant(before):
        raise NovaError(f"{what}: a picture of one single colour came back. {advice}")


def _is_person(editor: KeyframeEditor) -> bool:
    return getattr(editor, "may_leave_unedited", False)


def _check_changed(after: Tensor, before: Tensor, editor: KeyframeEditor, what: str) -> None:
    if is_changed(after, before):
        return
    if _is_person(editor):
        notice(f"{what}: this is the source's frame, unedited. Edit it, if content changes there.")
        return
    raise NovaError(
        f"{what}: the frame came back unedited. Say more clearly what to change, take another seed (--seed), or look "
        "at where the mask is white."
    )


def is_changed(edited: Tensor, frame: Tensor) -> bool:
    """True when an edit (3, H, W) differs from its frame by more than rounding."""
    return bool((edited - frame).abs().max() > UNEDITED)


def check_any_changed(changed: bool, editor: KeyframeEditor, num_keyframes: int) -> None:
    """Refuse keyframes that are all the source's own: a person has not begun, or pointed to the wrong folder."""
    if not changed:
        raise NovaError(
            f"editor {editor.name}: all {num_keyframes} keyframes are the source's frames, unedited. Edit them first, "
            "under the same names, or point to the folder that holds the edited ones."
        )


def check_same_scene(edited: Tensor, frame: Tensor, mask: Tensor | None, name: str, index: int) -> None:
    """Does a hand-edited picture show the source's frame? Outside the mask it must, without a mask it should.

    Args:
        edited: (3, H, W) in [-1, 1], as the person saved it.
        frame: (3, H, W) in [-1, 1].
        mask: (1, H, W) in {0, 1}, or None.
        name: of the file.
        index: frame index.

    Raises:
        NovaError: outside the mask it shows something else, a frame of another clip.
    """
    outside = None if mask is None else mask == 0
    if outside is None or not outside.any():
        alike = similarity(edited, frame)
        if alike is not None and alike < SIMILAR:
            notice(
                f"{name} looks little like frame {index} of the source (similarity {alike:.2f}; 1 = the same, below "
                f"{SIMILAR} is strange). Is it of another clip or frame?"
            )
        return
    alike, apart = similarity(edited, frame, outside), (edited - frame).abs().mean(0)[outside[0]]
    if apart.mean() > MOST_APART or (alike is not None and alike < SIMILAR):
        measured = f"similarity {'-' if alike is None else f'{alike:.2f}'}, mean difference {apart.mean():.2f}"
        raise NovaError(
            f"{name} is not frame {index} of the source: outside the mask it shows something else ({measured}). "
            "Is it of another clip or frame? Extract the keyframes again and edit those."
        )
    share = (apart > STANDS_OUT).float().mean().item()
    if share > FEW:
        notice(f"{name} differs outside the mask too ({share:.0%} of the pixels there); those stay the source's.")


def similarity(one: Tensor, other: Tensor, where: Tensor | None = None) -> float | None:
    """Correlation of the brightness of two frames (3, H, W), seen small; None where one of them is flat.

    Args:
        where: (1, H, W) booleans, the pixels to compare; None = all.
    """
    size = [min(LOOK_SIDE, side) for side in one.shape[-2:]]
    weight = torch.ones_like(one[:1]) if where is None else where.float()
    small = F.adaptive_avg_pool2d(weight, size)
    seen = small > 0.25
    tones = [F.adaptive_avg_pool2d(image.mean(0, keepdim=True) * weight, size)[seen] for image in (one, other)]
    tones = [tone / small[seen] - (tone / small[seen]).mean() for tone in tones]
    spreads = [tone.square().mean().sqrt().item() for tone in tones]
    if len(tones[0]) < 4 or min(spreads) < 0.02:
        return None
    return (tones[0] * tones[1]).mean().item() / (spreads[0] * spreads[1])


def _brightest(image: Tensor, mask: Tensor | None) -> Tensor:
    """Largest value of (3, H, W), inside the mask."""
    return image.max() if mask is None else torch.where(mask.bool(), image, -1.0).max()


def _is_constant(image: Tensor) -> bool:
    """True when every channel of (3, H, W) varies by less than a step of 8 bits."""
    return bool((image.amax((1, 2)) - image.amin((1, 2)) < STEP).all())


def _say(value: Any) -> str:
    return f"of shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
