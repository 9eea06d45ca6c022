"""FLUX.1 Kontext as keyframe editor: eq. 5 of the paper as it stands, through diffusers.

    x_k0^edit = FLUX(x_k0, m_k0, P)                 the first keyframe
    x_ki^edit = FLUX(x_ki, x_k0^edit, m_ki, P)      every later one

| mask | reference | diffusers pipeline | what it reads |
|---|---|---|---|
| no | no | FluxKontextPipeline | the frame |
| yes | no | FluxKontextInpaintPipeline | the frame, the mask |
| yes | yes | FluxKontextInpaintPipeline | the frame, the mask, the first edited keyframe as image_reference |
| no | yes | FluxKontextPipeline | first edited keyframe and frame stitched; the frame's half is cut out (ours) |

With a reference the inpaint pipeline shows the model the reference *instead of* the frame: inside the mask x_ki
counts only through strength < 1, outside it is put back at every step. Source: paper eq. 5; diffusers.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from novakit.editing.keyframe_editors.diffusion import DiffusionEditor
from novakit.editing.keyframe_editors.licence import FLUX_KONTEXT
from novakit.editing.keyframe_editors.protocol import EditedKeyframe
from novakit.editing.keyframe_editors.sizes import cover, to_picture
from novakit.editing.options import check_scales
from novakit.errors import NovaError
from novakit.video.geometry import Size, choose_size, resize

TOKEN = 16  # pixels of one token along a side
PLAIN, INPAINT = "FluxKontextPipeline", "FluxKontextInpaintPipeline"
STITCHED = (
    "Two frames of one video, {where}. The first one is already edited. Edit the second one in the same way and keep "
    "everything else: {prompt}"
)


class FluxKontextEditor(DiffusionEditor):
    """FLUX.1 Kontext [dev] as keyframe editor; `DiffusionEditor` has the common arguments.

    Args:
        model: folder or hub id of a FluxKontextPipeline. The published weights are for non-commercial use.
        steps: denoising steps; the model card's default.
        guidance: how closely the model follows the prompt; the model card's default.
        strength: how much of the masked area is made anew, 0 to 1; below 1 something of the frame stays in it.
    """

    name = "flux"
    weights = FLUX_KONTEXT

    def __init__(
        self,
        model: str | Path = FLUX_KONTEXT.hub_id,
        *,
        device: str = "auto",
        offload: str | None = "model",
        steps: int = 28,
        guidance: float = 2.5,
        strength: float = 1.0,
        download: bool = False,
    ):
        check_scales({"guidance": guidance, "strength": strength})
        if not 0 < strength <= 1:
            raise NovaError(f"strength is {strength}; wanted above 0 and up to 1, which makes the masked area anew.")
        self.guidance, self.strength = guidance, strength
        super().__init__(model, device=device, offload=offload, steps=steps, download=download)

    def _load(self) -> Any:
        from diffusers import FluxKontextPipeline

        return FluxKontextPipeline.from_pretrained(self.folder, dtype=self.choice.dtype, local_files_only=True)

    def _generate(
        self, frame: Tensor, prompt: str, mask: Tensor | None, reference: EditedKeyframe | None, generator: Any
    ) -> Tensor:
        if mask is not None:
            return self._inpaint(frame, prompt, mask, reference, generator)
        if reference is not None:
            return self._stitched(frame, prompt, reference, generator)
        return self._call(PLAIN, working_size(frame.shape[-2:]), frame, prompt, generator)

    def _inpaint(
        self, frame: Tensor, prompt: str, mask: Tensor, reference: EditedKeyframe | None, generator: Any
    ) -> Tensor:
        """Eq. 5 with a mask; without a reference the first keyframe."""
        size = working_size(frame.shape[-2:])
        cell = self._as(INPAINT).vae_scale_factor
        shown = None if reference is None else to_picture(reference.edited, size)
        given = {"mask_image": cover(mask, size, cell)[None], "image_reference": shown, "strength": self.strength}
        return self._call(INPAINT, size, frame, prompt, generator, **given)

    def _stitched(self, frame: Tensor, prompt: str, reference: EditedKeyframe, generator: Any) -> Tensor:
        """Eq. 5 without a mask: one canvas of first edited keyframe and frame, of which the frame's half is kept."""
        axis = 1 if frame.shape[2] > frame.shape[1] else 2  # of (3, H, W): the canvas is to be near a square
        size = [2 * side if i == axis else side for i, side in enumerate(frame.shape)][1:]
        panel = list(working_size(tuple(size)))
        panel[axis - 1] = half = panel[axis - 1] // 2 // TOKEN * TOKEN  # no token sees both
        canvas = torch.cat([resize(image, tuple(panel)) for image in (reference.edited, frame)], dim=axis)
        text = STITCHED.format(where="one above the other" if axis == 1 else "side by side", prompt=prompt)
        picture = self._call(PLAIN, tuple(canvas.shape[1:]), canvas, prompt, generator, prompt_2=text)  # T5 reads it
        return picture.narrow(axis, half, half)

    def _call(self, kind: str, size: Size, frame: Tensor, prompt: str, generator: Any, **given: Any) -> Tensor:
        """The pipeline at a working size: the picture (3, h, w) in [0, 1]."""
        height, width = size
        return self._as(kind)(
            image=to_picture(frame, size),
            prompt=prompt,
            height=height,
            width=width,
            max_area=height * width,
            num_inference_steps=self.steps,
            guidance_scale=self.guidance,
            generator=generator,
            output_type="pt",
            _auto_resize=False,  # resized already, to this size
            **given,
        ).images[0]


def working_size(size: Size) -> Size:
    """The size (H, W) near one megapixel, of those that Kontext was trained on, whose aspect is nearest."""
    from diffusers.pipelines.flux import pipeline_flux_kontext

    return choose_size(size, [(height, width) for width, height in pipeline_flux_kontext.PREFERRED_KONTEXT_RESOLUTIONS])
