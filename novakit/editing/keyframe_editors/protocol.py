"""What every keyframe editor is: one method that edits one frame, with or without a reference (eq. 5).

    x_k0^edit = edit(x_k0, P, m_k0)                      the first keyframe, edited plainly
    x_ki^edit = edit(x_ki, P, m_ki, reference)           every later one, told how the first one came out

Source: paper, eq. 5 (there FLUX Kontext); the protocol is ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from torch import Tensor


@dataclass(frozen=True)
class EditedKeyframe:
    """One keyframe before and after its edit."""

    index: int  # frame index k_i in the clip
    frame: Tensor  # (3, H, W) in [-1, 1]: the source's frame x_ki
    edited: Tensor  # (3, H, W) in [-1, 1]: x_ki^edit
    mask: Tensor | None = None  # (1, H, W) in {0, 1}: m_ki, 1 where content changes; None = everywhere


@runtime_checkable
class KeyframeEditor(Protocol):
    """Edits one frame at a time; `novakit.editing.keyframes.edit_keyframes` calls it for every keyframe."""

    name: str  # what `--editor` calls it
    needs_prompt: bool  # False: the edit is in the editor's own settings (or a person's hand)

    def edit(
        self,
        frame: Tensor,
        prompt: str = "",
        mask: Tensor | None = None,
        reference: EditedKeyframe | None = None,
        *,
        index: int = 0,
        seed: int = 0,
    ) -> Tensor:
        """Edit one frame.

        Args:
            frame: (3, H, W) float32 in [-1, 1], any size.
            prompt: what to change, in words.
            mask: (1, H, W) in {0, 1}, 1 where content may change; None = everywhere.
            reference: the first keyframe before and after its edit; None = edit plainly.
            index: frame index in the clip (an editor that reads files needs it).
            seed: of everything random; the same inputs and seed give the same result.

        Returns:
            (3, H, W) float32 in [-1, 1], of the frame's own size.

        Raises:
            NovaError: the editor cannot do this edit; the message says what to do.
        """
        ...
