"""Keyframes of the truth with the faults of a real editor: what a good editor that strays would have handed over.

An offline painter (`NanoEditor`) paints another picture than the rendered truth, so nothing could be measured against
the truth. Here the content is the truth's own frame, and only tone, place and hue stray, drawn from `Faults` as the
painter draws them. Told the first keyframe, the editor measures how that one came out, as eq. 5 asks.

Source: ours; eq. 5 is the paper's.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from novakit.editing.keyframe_editors.nano import NanoEditor
from novakit.editing.keyframe_editors.nano_edits import HUE_SPREAD, Canvas, Painter
from novakit.editing.keyframe_editors.nano_faults import Faults, Look, draw_look
from novakit.editing.keyframe_editors.protocol import EditedKeyframe
from novakit.editing.keyframes import keyframe_seed


@dataclass(frozen=True)
class TruthPainter(Painter):
    """Paints a frame as it is; a look displaces it, turns its hue and changes its tone, inside the mask only."""

    def layers(self, canvas: Canvas, look: Look) -> tuple[Tensor, Tensor, Tensor]:
        """Content before its tone drifts (3, h, w), coverage (1, h, w), base (3, h, w)."""
        return _turned(_displaced(canvas, look), look.style), canvas.mask, canvas.frame


def _displaced(canvas: Canvas, look: Look) -> Tensor:
    """The frame (3, h, w) moved by the look's share of the mask's size; rim pixels are repeated."""
    if not look.shift.any():
        return canvas.frame
    height, width = canvas.frame.shape[-2:]
    down, right = (share.item() * 2 * half for share, half in zip(look.shift, canvas.half))
    theta = torch.tensor([[[1.0, 0.0, -2 * right / width], [0.0, 1.0, -2 * down / height]]])
    grid = F.affine_grid(theta, [1, 1, height, width], align_corners=False)
    return F.grid_sample(canvas.frame[None], grid, padding_mode="border", align_corners=False)[0]


def _turned(picture: Tensor, style: float) -> Tensor:
    """The picture (3, h, w) in [0, 1] with its hues turned; style 1 = a tenth of the colour circle."""
    if style == 0:
        return picture
    from kornia.enhance import adjust_hue

    return adjust_hue(picture[None].clamp(0, 1), style * HUE_SPREAD * 2 * math.pi)[0]


class FaultyTruth(NanoEditor):
    """A keyframe editor whose edits are frames of the truth, off by its faults.

    Args:
        truth: the true edited clip (3, T, H, W) in [-1, 1].
        faults: how far it strays.
    """

    def __init__(self, truth: Tensor, faults: Faults) -> None:
        super().__init__("recolour", faults=faults)
        self.name = "faulty truth"
        self.painter = TruthPainter("recolour", "plain", (0.5, 0.5, 0.5))
        self.truth = truth
        self._shown: tuple[EditedKeyframe, EditedKeyframe] | None = None  # the reference, and what it is compared with

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
        """Edit one frame; see `KeyframeEditor.edit`. `frame` is not read: the content is the truth's at `index`."""
        shown = None if reference is None else self._beside_truth(reference)
        return super().edit(self.truth[:, index], prompt, mask, shown, index=index, seed=seed)

    def _beside_truth(self, reference: EditedKeyframe) -> EditedKeyframe:
        """The reference with the truth's frame as what it was before it strayed; one object per reference."""
        if self._shown is None or self._shown[0] is not reference:
            self._shown = (reference, replace(reference, frame=self.truth[:, reference.index]))
        return self._shown[1]

    def like_first(self, mask: Tensor, first: int, seed: int) -> Tensor:
        """The truth as the first keyframe shows it: every frame with that keyframe's look.

        Args:
            mask: (1, T, H, W) in {0, 1}.
            first: frame index of the first keyframe with content to change.
            seed: of the run, as in `edit_keyframes`.

        Returns:
            (3, T, H, W) in [-1, 1]: what consistent keyframes ask for, faults of the first one included.
        """
        look, clip = draw_look(self.faults, keyframe_seed(seed, first)), self.truth.clone()
        for t in range(clip.shape[1]):
            if mask[:, t].any():
                clip[:, t] = self._paint(self.truth[:, t], mask[:, t], look)
        return clip
