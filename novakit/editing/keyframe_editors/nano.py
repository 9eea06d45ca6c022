"""NanoEditor: a keyframe editor that needs no model, with the faults of real ones as parameters. Source: ours.

Independently it edits like FLUX or Qwen called once per keyframe: every keyframe comes out in another tone, a little
off its place, in another style. With a reference it works as eq. 5 asks: it measures tone, place and style of the
reference on its pixels (`nano_reference`) and paints with these. The share `Faults.residual` of its own faults stays.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from novakit.editing.keyframe_editors.checks import check_prompt, check_request
from novakit.editing.keyframe_editors.nano_edits import STYLES, Painter
from novakit.editing.keyframe_editors.nano_faults import Faults, Look, draw_look
from novakit.editing.keyframe_editors.nano_places import Box, box_of, cut
from novakit.editing.keyframe_editors.nano_reference import measure_look
from novakit.editing.keyframe_editors.protocol import EditedKeyframe
from novakit.errors import NovaError
from novakit.scenes.edits import EDITS

COLOUR = "royalblue"  # when none is given
NEEDS_MASK = ("replace", "remove", "add")
NEEDS_SURROUNDINGS = ("replace", "remove")


class NanoEditor:
    """Recolours, replaces, removes, adds or restyles inside a mask; works offline.

    Args:
        edit: "recolour" (shading kept), "replace" (by a ball), "remove" (surroundings continued), "add" (a ball) or
            "restyle" (three-colour ramp). Recolour and restyle work without a mask too, on the whole frame.
        style: "plain" or "poster" (flat steps, ink lines, hard edges): truly different pictures.
        colour: a CSS name ("teal") or "#rrggbb"; None = royalblue. "remove" takes none.
        faults: how far it strays; None = not at all. `Faults()` is of the size that real editors show.

    Raises:
        NovaError: unknown edit, style or colour.
    """

    needs_prompt = False

    def __init__(
        self,
        edit: str = "recolour",
        *,
        style: str = "plain",
        colour: str | None = None,
        faults: Faults | None = None,
    ) -> None:
        _check_known("edit", edit, EDITS)
        _check_known("style", style, STYLES)
        if edit == "remove" and colour is not None:
            raise NovaError(f"colour {colour!r} was given to remove, which paints nothing new. Leave it out.")
        self.name = "nano" if style == "plain" else style
        self.faults = faults or Faults.none()
        self.painter = Painter(edit, style, _rgb(colour or COLOUR))
        self._measured: tuple[EditedKeyframe, Look] | None = None  # the last reference and its look

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
        """Edit one frame; see `KeyframeEditor.edit`.

        Without a reference the look (tone, place, style) is drawn from the seed. With one it is
            look = (1 - residual) look of the reference, measured + residual look drawn from the seed.

        Raises:
            NovaError: a prompt (this editor reads none), a frame or mask of a wrong shape, an empty mask, or no mask
                for an edit that needs one.
        """
        check_prompt(self, prompt)
        check_request(frame, mask, index)
        self._check_mask(mask, index)
        drawn = draw_look(self.faults, seed)
        look = drawn if reference is None else self._look_of(reference).towards(drawn, self.faults.residual)
        return self._paint(frame, mask, look)

    def _check_mask(self, mask: Tensor | None, index: int) -> None:
        """Refuse a missing mask, or one without surroundings, for an edit that needs it."""
        edit = self.painter.edit
        if mask is None and edit in NEEDS_MASK:
            raise NovaError(
                f"{self.name}: {edit} must know where; no mask came for keyframe {index}. Pass mask= (--mask), or use "
                "recolour or restyle, which can take the whole frame."
            )
        if edit in NEEDS_SURROUNDINGS and bool(mask.all()):
            raise NovaError(
                f"{self.name}: the mask of keyframe {index} covers the whole frame; {edit} continues the surroundings "
                "and there are none. Draw a smaller mask."
            )

    def _paint(self, frame: Tensor, mask: Tensor | None, look: Look) -> Tensor:
        region = _Region.of(frame, mask)
        canvas = self.painter.canvas(frame, region.mask, region.box, region.whole, (look.style,))
        painted = self.painter.paint(canvas, look)
        if region.whole:
            return painted * 2 - 1
        edited = frame.clone()
        inside = cut(edited, region.box)
        inside[:] = torch.where(canvas.mask.bool(), painted * 2 - 1, inside)
        return edited

    def _look_of(self, reference: EditedKeyframe) -> Look:
        """Measure a reference once, however many keyframes follow it."""
        if self._measured is None or self._measured[0] is not reference:
            check_request(reference.frame, reference.mask, reference.index)
            region = _Region.of(reference.frame, reference.mask)
            look = measure_look(self.painter, reference.frame, region.mask, reference.edited, region.box, region.whole)
            self._measured = (reference, look)
        return self._measured[1]


@dataclass(frozen=True)
class _Region:
    """Where in a frame the painter works."""

    mask: Tensor  # (1, H, W) in {0, 1}
    box: Box  # holds the mask and some surroundings
    whole: bool  # no mask was given

    @classmethod
    def of(cls, frame: Tensor, mask: Tensor | None) -> _Region:
        """From a frame (3, H, W) and a mask (1, H, W) or None."""
        height, width = frame.shape[-2:]
        if mask is None:
            return cls(torch.ones(1, height, width), (0, 0, height, width), True)
        top, left, bottom, right = box_of(mask)
        around = max(4, (bottom - top) // 8, (right - left) // 8)
        box = (max(0, top - around), max(0, left - around), min(height, bottom + around), min(width, right + around))
        return cls(mask.float(), box, False)


def _check_known(what: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise NovaError(f"{what} {value!r} is unknown to NanoEditor; choose from {', '.join(known)}.")


def _rgb(colour: str) -> tuple[float, float, float]:
    """A CSS colour as RGB in [0, 1]."""
    from PIL import ImageColor

    try:
        return tuple(channel / 255 for channel in ImageColor.getrgb(colour)[:3])
    except (ValueError, AttributeError):
        raise NovaError(f"colour {colour!r} is unknown; wanted a CSS name such as teal, or #rrggbb.") from None
