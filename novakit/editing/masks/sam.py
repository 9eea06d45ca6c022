"""A mask drawn on one keyframe, carried to the other frames by SAM 2 (transformers), where its weights are present.

SAM 2 has learned what objects are: it follows limbs, comes back after an occlusion and says when the object is gone.
It costs a network of 39 million parameters at 1024 x 1024 a frame. Source: SAM 2 (arXiv 2408.00714), its video model as
transformers has it; the picture goes in as its own processors do it, written here because those need torchvision.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from novakit.device import choose_device
from novakit.editing.masks.frames import Picture
from novakit.editing.masks.propagated import MaskCollector, PropagatedMask, check_drawn_mask, check_indices
from novakit.editing.masks.sam_weights import SAM_MODEL, load_sam
from novakit.editing.masks.walk import walk
from novakit.video.geometry import resize

_MEAN, _SPREAD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, as in SAM 2's preprocessor_config.json


def propagate_mask_sam(
    frames: Iterable[Tensor] | Any,
    mask: Tensor,
    index: int = 0,
    *,
    wanted: Iterable[int] | None = None,
    model: str | Path | Any = SAM_MODEL,
    device: str = "auto",
    download: bool = False,
) -> PropagatedMask:
    """Carry a drawn mask over a clip with SAM 2, in one pass over its frames.

    Confidence is the probability that the object is in sight times the IoU that SAM 2 predicts for its own mask.

    Args:
        frames, mask, index, wanted: as in `novakit.editing.masks.propagation.propagate_mask`.
        model: hub id, folder, or a loaded `Sam2VideoModel`.
        device: "auto", "cpu" or "cuda"; a loaded model stays where it is.
        download: True = fetch missing weights, after a notice with licence and size.

    Returns:
        PropagatedMask; `cuts` is empty (SAM 2 looks for the object across a cut).

    Raises:
        NovaError: bad frames or mask; weights missing, named with size, licence and command; damaged ones.
    """
    found = MaskCollector(index, check_drawn_mask(mask), check_indices(index, wanted))
    if isinstance(model, str | Path):
        model = load_sam(model, choose_device(device), download)
    side = model.config.image_size
    with torch.inference_mode():
        return walk(frames, found, lambda frame: to_square(frame, side), lambda start: _Follower(model, start, found))


def to_square(picture: Picture, side: int) -> np.ndarray:
    """A frame as uint8 (side, side, 3): stretched, antialiased, as SAM 2's processor does."""
    if isinstance(picture, Tensor):
        pixels = ((picture.detach().cpu().float() + 1.0) * 127.5).round().clamp(0, 255).to(torch.uint8)
    else:
        pixels = torch.from_numpy(np.ascontiguousarray(picture)).permute(2, 0, 1)  # (3, H, W)
    return resize(pixels[None], (side, side))[0].permute(1, 2, 0).contiguous().numpy()


class _Follower:
    """One session of SAM 2 that starts at the drawn frame."""

    def __init__(self, model: Any, picture: np.ndarray, found: MaskCollector) -> None:
        from transformers.models.sam2_video.modeling_sam2_video import Sam2VideoInferenceSession

        self.model, self.size, self.count = model, found.drawn.shape, 0
        self.session = Sam2VideoInferenceSession(
            video_height=self.size[0],
            video_width=self.size[1],
            inference_device=model.device,
            inference_state_device=model.device,
            dtype=model.dtype,
        )
        side = model.config.image_size
        drawn = torch.from_numpy(found.drawn).float()[None, None]  # (1, 1, H, W)
        drawn = F.interpolate(drawn, (side, side), mode="bilinear", align_corners=False, antialias=True)
        self.session.add_mask_inputs(self.session.obj_id_to_idx(1), 0, (drawn >= 0.5).float())
        self.session.obj_with_new_inputs = [1]
        self._run(picture)

    def step(self, picture: np.ndarray) -> tuple[np.ndarray, float, bool]:
        """Mask (H, W), confidence, and no cut, of the next frame."""
        logits, confidence = self._run(picture)
        logits = F.interpolate(logits.float(), self.size, mode="bilinear", align_corners=False)  # (1, 1, H, W)
        return (logits[0, 0] > 0).cpu().numpy().astype(np.uint8), confidence, False

    def _run(self, picture: np.ndarray) -> tuple[Tensor, float]:
        """Logits (1, 1, h, w) of the next frame, and the confidence in them."""
        mean, spread = (torch.tensor(values)[:, None, None] for values in (_MEAN, _SPREAD))
        pixels = (torch.from_numpy(np.array(picture)).permute(2, 0, 1) / 255.0 - mean) / spread  # (3, S, S)
        predicted: list[Tensor] = []
        hook = self.model.mask_decoder.register_forward_hook(lambda *call: predicted.append(call[-1][1]))
        try:
            out = self.model(self.session, frame_idx=self.count, frame=pixels[None].to(self.model.device))
        finally:
            hook.remove()
        self._forget(self.count)
        self.count += 1
        in_sight = out.object_score_logits.float().sigmoid().item()
        return out.pred_masks, in_sight * predicted[-1].float().max().clamp(0, 1).item()

    def _forget(self, t: int) -> None:
        """Drop what no later frame reads, so that memory does not grow with the clip."""
        config, session = self.model.config, self.session
        session.processed_frames.pop(t)
        kept = session.output_dict_per_obj[0]
        for outputs in kept.values():
            for output in outputs.values():
                output.pop("high_res_masks", None)
        oldest = t - max(config.num_maskmem, config.max_object_pointers_in_encoder)
        kept["non_cond_frame_outputs"].pop(oldest, None)
        session.frames_tracked_per_obj[0].pop(oldest, None)
