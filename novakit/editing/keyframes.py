"""Consistency-aware keyframe editing (eq. 5): the first keyframe is edited plainly, the others look at it.

Source: paper, eq. 5; any editor with `KeyframeEditor`'s one method can stand in for the paper's FLUX Kontext.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

from novakit.degradation.indices import check_indices
from novakit.editing.command_checks import check_numbers
from novakit.editing.inputs import as_clip, check_mask, notice
from novakit.editing.keyframe_editors.checks import (
    check_any_changed,
    check_edited,
    check_editor,
    check_prompt,
    check_request,
    is_changed,
)
from novakit.editing.keyframe_editors.protocol import EditedKeyframe, KeyframeEditor
from novakit.errors import NovaError


def edit_keyframes(
    source: Any,
    prompt: str,
    interval: int | None,
    editor: KeyframeEditor,
    mask: Any = None,
    consistent: bool = True,
    seed: int = 0,
    indices: Sequence[int] | None = None,
) -> list[EditedKeyframe]:
    """Edit the keyframes of a clip.

        x_k0^edit = E(x_k0, m_k0, P)                      plain editing of the first keyframe
        x_ki^edit = E(x_ki, x_k0^edit, m_ki, P), i > 0    consistent; the paper's E is FLUX Kontext
        x_ki^edit = E(x_ki, m_ki, P)                      independent (consistent=False)

    Args:
        source: one clip, (1, 3, T, H, W) in [-1, 1] or anything else that `as_clip` takes.
        prompt: what to change; "" for an editor that reads none.
        interval: keyframe interval K: frames 0, K, 2K, ... are edited; not needed with `indices`.
        editor: what `make_editor` makes, or anything else with KeyframeEditor's members.
        mask: (1, 1, T, H, W), 1 where content changes; None = everywhere. A keyframe whose mask is empty stays as it
            is, and the first one with content to change is k_0.
        consistent: False edits every keyframe for itself.
        seed: keyframe k gets `keyframe_seed(seed, k)`.
        indices: frame indices of the keyframes, ascending, instead of an interval.

    Returns:
        The keyframes in order. `{key.index: key.edited for key in keyframes}` is what NovaEditPipeline reads.

    Raises:
        NovaError: bad input, or a fault of the editor, which is named with the keyframe.
    """
    clip = as_clip(source)
    if len(clip) != 1:
        raise NovaError(f"source holds {len(clip)} clips; keyframes are edited one clip at a time. Pass source[:1].")
    check_numbers(seed, interval)
    places = keyframe_indices(clip.shape[2], interval, indices)
    marked = check_mask(mask, clip)
    if marked is not None and not marked[0, 0, list(places)].any():
        raise NovaError(
            "mask is empty in every keyframe; nothing would change. Choose other keyframes or another mask."
        )
    check_start(editor, prompt, places)
    edited: list[EditedKeyframe] = []
    reference = None
    for k in places:
        shown = reference if consistent else None
        here = None if marked is None else marked[0, :, k]
        edited.append(edit_keyframe(k, clip[0, :, k], here, prompt, editor, reference=shown, seed=seed))
        reference = reference or first_of(edited[-1])
    check_any_changed(any(is_changed(key.edited, key.frame) for key in edited), editor, len(edited))
    return edited


def edit_keyframe(
    index: int,
    frame: Tensor,
    mask: Tensor | None,
    prompt: str,
    editor: KeyframeEditor,
    *,
    reference: EditedKeyframe | None = None,
    seed: int = 0,
) -> EditedKeyframe:
    """One line of eq. 5: edit a keyframe, and check what the editor returned.

    Args:
        index: frame index k_i.
        frame: (3, H, W) in [-1, 1].
        mask: (1, H, W) in {0, 1}, or None; an empty one leaves the frame as it is, with a notice.
        prompt, editor: as for `edit_keyframes`.
        reference: x_k0 before and after its edit, for consistent editing.
        seed: of the run; the editor gets `keyframe_seed(seed, index)`.

    Raises:
        NovaError: bad input, or a fault of the editor.
    """
    if mask is not None and not mask.any():
        notice(f"keyframe {index}: the mask is empty there, the frame stays as it is.")
        return EditedKeyframe(index, frame, frame, mask)
    check_request(frame, mask, index)
    edited = editor.edit(frame, prompt, mask, reference, index=index, seed=keyframe_seed(seed, index))
    return EditedKeyframe(index, frame, check_edited(edited, frame, mask, editor, index), mask)


def first_of(keyframe: EditedKeyframe) -> EditedKeyframe | None:
    """The keyframe, if it can be the reference of the others: content changes in it."""
    return keyframe if keyframe.mask is None or bool(keyframe.mask.any()) else None


def check_start(editor: KeyframeEditor, prompt: str, indices: Sequence[int]) -> None:
    """Everything about an editor that can be refused before it works; one with `check_indices` sees the indices."""
    check_prompt(check_editor(editor), prompt)
    look_ahead = getattr(editor, "check_indices", None)
    if look_ahead is not None:
        look_ahead(indices)


def keyframe_indices(num_frames: int, interval: int | None, indices: Sequence[int] | None = None) -> tuple[int, ...]:
    """Frames 0, K, 2K, ... of a clip, or the given ones, checked.

    Raises:
        NovaError: neither came, or indices that repeat, go backwards or lie outside the clip.
    """
    if indices is not None:
        return check_indices(indices, num_frames)
    if interval is None:
        raise NovaError("no keyframe interval came; pass interval=10 (--interval 10), or indices=[0, 12, 30].")
    return tuple(range(0, num_frames, interval))


def keyframe_seed(seed: int, index: int) -> int:
    """The seed of keyframe `index` in a run with `seed`: another one for every pair, 0 to 2**32 - 1."""
    return int(np.random.SeedSequence((seed, index)).generate_state(1, np.uint32)[0])
