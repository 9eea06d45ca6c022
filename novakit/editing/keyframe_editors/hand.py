"""HandEditor: keyframes that a person edited, in whatever program, come back from a folder. Source: ours."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from novakit.editing.inputs import fit_image, notice
from novakit.editing.keyframe_editors.checks import check_prompt, check_request, check_same_scene
from novakit.editing.keyframe_editors.protocol import EditedKeyframe
from novakit.errors import NovaError
from novakit.video.geometry import frame_to_tensor, resize
from novakit.video.keyframe_files import indexed_images, read_image
from novakit.video.probing import MAX_FRAMES

NAMED = 12  # most frames that a message lists


class HandEditor:
    """Frames from a folder, `folder/000.png`, `folder/008.png`, ...: the name is the frame index.

    `novakit keyframes SOURCE --interval K --out DIR` without an editor writes the frames to edit.

    Args:
        folder: the folder; names as `novakit.video.read_keyframes` takes them.

    Raises:
        NovaError: no such folder, no image in it, or a name that is no frame index.
    """

    name = "hand"
    needs_prompt = False
    may_leave_unedited = True  # a person may find that nothing changes in this frame; a notice asks

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        if not self.folder.is_dir():
            raise NovaError(
                f"{self.folder} is no folder; wanted the folder of hand-edited frames (--hand), 000.png, 008.png, ... "
                "`novakit keyframes SOURCE --interval K --out DIR` writes the frames to edit."
            )
        self.files = indexed_images(self.folder, MAX_FRAMES)
        self._resized: set[tuple[int, ...]] = set()  # sizes (H, W) that were resized and said

    def check_indices(self, indices: Sequence[int]) -> None:
        """Name all missing frames at once, before anything is read.

        Raises:
            NovaError: the folder lacks a keyframe.
        """
        missing = [index for index in indices if index not in self.files]
        more = [index for index in self.files if index not in set(indices)]
        if missing:
            there = f" It holds frames {_list(more)}, which are no keyframes: another interval?" if more else ""
            raise NovaError(
                f"{self.folder} lacks {len(missing)} of {len(indices)} keyframes: {_list(missing)}.{there} "
                f"Save each one under its frame index, e.g. {missing[0]:03d}.png."
            )
        if more:
            notice(f"{self.folder} also holds frames {_list(more)}, which are no keyframes; they are not read.")

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
        """The person's picture of this frame, at the frame's size; reference and seed say nothing to a file.

        Raises:
            NovaError: a prompt, a missing or unreadable file, another aspect, or a picture of another clip.
        """
        check_prompt(self, prompt)
        check_request(frame, mask, index)
        if index not in self.files:
            self.check_indices([index])
        file = self.files[index]
        edited = self._fitted(frame_to_tensor(read_image(file)), frame, file.name)
        check_same_scene(edited, frame, mask, file.name, index)
        return edited

    def _fitted(self, picture: Tensor, frame: Tensor, name: str) -> Tensor:
        """The picture at the frame's size; each size that is resized is said once."""
        own, size = tuple(picture.shape[-2:]), tuple(frame.shape[-2:])
        if own in self._resized:
            return resize(picture, size)
        fitted = fit_image(picture, size, f"hand-edited {name} (and others of its size)")
        if own != size:
            self._resized.add(own)
        return fitted


def _list(indices: Sequence[int]) -> str:
    """The first few indices."""
    few = ", ".join(map(str, indices[:NAMED]))
    return few if len(indices) <= NAMED else f"{few}, ... ({len(indices)} in all)"
