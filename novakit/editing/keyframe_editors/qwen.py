"""Qwen-Image-Edit as keyframe editor: the paper's FLUX swapped for another model (claim C5), through diffusers.

    x_k0^edit = QWEN([x_k0], P)                       the first keyframe
    x_ki^edit = QWEN([x_ki, x_k0^edit], P)            every later one: edit the first picture like the second

The pipeline has no mask: the model sees the whole frame, and what lies outside the mask is the source's again
afterwards. Source: ours, in the place of the paper's eq. 5; diffusers.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor

from novakit.editing.keyframe_editors.diffusion import DiffusionEditor
from novakit.editing.keyframe_editors.licence import QWEN_EDIT
from novakit.editing.keyframe_editors.protocol import EditedKeyframe
from novakit.editing.keyframe_editors.sizes import to_picture
from novakit.editing.options import check_scales
from novakit.video.geometry import Size

LIKE_THE_FIRST = (
    "Picture 1 and Picture 2 are frames of one video; Picture 2 is already edited. Edit Picture 1 in the same way and "
    "keep everything else: {prompt}"
)


class QwenImageEditEditor(DiffusionEditor):
    """Qwen-Image-Edit as keyframe editor; `DiffusionEditor` has the common arguments.

    Args:
        model: folder or hub id of a QwenImageEditPlusPipeline.
        steps: denoising steps; the model card's default.
        guidance: true classifier-free guidance, the model card's default; 1 = none, in half the time.
    """

    name = "qwen"
    weights = QWEN_EDIT

    def __init__(
        self,
        model: str | Path = QWEN_EDIT.hub_id,
        *,
        device: str = "auto",
        offload: str | None = "model",
        steps: int = 40,
        guidance: float = 4.0,
        download: bool = False,
    ):
        check_scales({"guidance": guidance})
        self.guidance = guidance
        super().__init__(model, device=device, offload=offload, steps=steps, download=download)

    def _load(self) -> Any:
        from diffusers import QwenImageEditPlusPipeline

        from novakit.editing.keyframe_editors.qwen_processor import load_processor, tell_pictures_from_text

        processor = load_processor(self.folder / "processor")
        options = {"dtype": self.choice.dtype, "local_files_only": True}
        pipe = QwenImageEditPlusPipeline.from_pretrained(self.folder, processor=processor, **options)
        tell_pictures_from_text(pipe.text_encoder)
        return pipe

    def _generate(
        self, frame: Tensor, prompt: str, mask: Tensor | None, reference: EditedKeyframe | None, generator: Any
    ) -> Tensor:
        size = working_size(frame.shape[-2:])
        shown = [frame] if reference is None else [frame, reference.edited]
        guided = self.guidance > 1
        return self._pipe(
            image=[to_picture(image, size) for image in shown],
            prompt=prompt if reference is None else LIKE_THE_FIRST.format(prompt=prompt),
            negative_prompt=" " if guided else None,
            true_cfg_scale=self.guidance if guided else 1.0,
            height=size[0],
            width=size[1],
            num_inference_steps=self.steps,
            generator=generator,
            output_type="pt",
        ).images[0]


def working_size(size: Size) -> Size:
    """The size (H, W) near one megapixel at which the pipeline works, for a frame of `size`.

    It resizes what it is given by this rule; a size that the rule leaves alone is resized once, by us. (Another
    size for picture and result is a known cause of shifted edits.)
    """
    from diffusers.pipelines.qwenimage import pipeline_qwenimage_edit_plus as module

    for _ in range(8):
        width, height = module.calculate_dimensions(module.VAE_IMAGE_SIZE, size[1] / size[0])
        if (height, width) == tuple(size):
            break
        size = (height, width)
    return size
