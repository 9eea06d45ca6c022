"""Samples on the way: one held-out scene, edited by the model as it stands in the middle of training.

Source: ours.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from novakit.models import build_scheduler
from novakit.scenes import render_scenes


def edit_preview(
    vae: nn.Module,
    model: nn.Module,
    learn: str = "dense",
    *,
    scene: int = 7,
    num_frames: int = 33,
    size: tuple[int, int] = (64, 96),
    steps: int | None = None,
) -> Callable[[], dict[str, Tensor]]:
    """A function that edits one validation scene with what has learned so far.

    Args:
        vae: AutoencoderKLWan.
        model: NovaTransformer3DModel in training.
        learn: "main" paints without any condition, "sparse" reads the keyframes, "dense" the source too.
        scene: seed of the scene, split "val".
        num_frames: T of the sample, 4k+1; fewer are quicker.
        size: (H, W) of the sample, in pixels.
        steps: denoising steps; None = the preset's.

    Returns:
        A function that returns {"preview": (1, 3, T, 3H, W)}: source above sample above truth, in [-1, 1].
    """
    from novakit.editing.pipeline import NovaEditPipeline

    pipe = NovaEditPipeline(vae=vae, transformer=model, scheduler=build_scheduler("nano"), preset="nano")
    pipe.set_progress_bar_config(disable=True)
    shown = render_scenes([scene], split="val", edit="recolour", num_frames=num_frames, size=size)
    keyframes = {k: shown.truth[0, :, k] for k in range(0, num_frames, pipe.preset.interval)}

    def preview() -> dict[str, Tensor]:
        scales = {"sparse_scale": float(learn != "main"), "dense_scale": float(learn == "dense")}
        noise = torch.Generator().manual_seed(scene)
        sample = pipe(shown.source, keyframes, num_inference_steps=steps, generator=noise, **scales).frames.cpu()
        return {"preview": torch.cat([shown.source, sample, shown.truth], dim=-2)}

    return preview
