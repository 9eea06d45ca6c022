"""A mask drawn on one frame, carried to all the others: by optical flow, or by SAM 2 where its weights are present."""

from novakit.editing.masks.propagated import PropagatedMask
from novakit.editing.masks.propagation import propagate_mask
from novakit.editing.masks.sam import propagate_mask_sam

__all__ = ["PropagatedMask", "propagate_mask", "propagate_mask_sam"]
