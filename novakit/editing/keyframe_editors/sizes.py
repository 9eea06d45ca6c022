"""Between a frame and the size at which a model works, and back: resizing, masks, pasting. Source: ours."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from novakit.editing.keyframe_editors.registration import Registration, measure, undo
from novakit.video.geometry import Size, resize

FEATHER = 0.01  # share of the shorter side over which an edit fades in, inside its mask


def to_picture(image: Tensor, size: Size):
    """A frame (3, H, W) in [-1, 1] as a PIL image of `size` (H, W)."""
    from PIL import Image

    pixels = (resize(image, size).clamp(-1, 1) + 1) * 127.5
    return Image.fromarray(pixels.round().byte().permute(1, 2, 0).cpu().numpy())


def cover(mask: Tensor, size: Size, cell: int = 1) -> Tensor:
    """A mask at another size, with every cell white that it touches: nothing thin gets lost.

    Args:
        mask: (1, H, W) in {0, 1}.
        size: wanted (H, W), multiples of `cell`.
        cell: pixels of a latent cell; a model repaints whole ones.

    Returns:
        (1, *size) in {0, 1}.
    """
    cells = F.adaptive_max_pool2d(mask.float()[None], (size[0] // cell, size[1] // cell))  # (1, 1, h, w)
    return F.interpolate(cells, scale_factor=cell, mode="nearest")[0]


def bring_back(picture: Tensor, frame: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Registration]:
    """What a model returned, at the frame's size and place, with unmasked pixels of the frame.

    Shift and zoom are measured at the smaller of the two sizes (a larger one holds no more detail) and undone at the
    model's, before the only resize.

    Args:
        picture: (3, h, w) in [-1, 1], at the model's working size.
        frame: (3, H, W) in [-1, 1], the source's.
        mask: (1, H, W) in {0, 1}, 1 where content may change; None = everywhere.

    Returns:
        The edit (3, H, W), and the registration in the frame's pixels.
    """
    own, size = tuple(picture.shape[-2:]), tuple(frame.shape[-2:])
    at = min(own, size, key=lambda shape: shape[0] * shape[1])
    small_mask = None if mask is None else cover(mask, at)
    found = measure(resize(picture, at), resize(frame, at), small_mask)
    edited = resize(undo(picture, found.at(at, own), resize(frame, own)), size)
    return keep_unmasked(edited, frame, mask), found.at(at, size)


def keep_unmasked(edited: Tensor, frame: Tensor, mask: Tensor | None) -> Tensor:
    """Pixels outside the mask from the frame, exactly; inside, the edit fades in over a feathered seam.

    Args:
        edited: (3, H, W).
        frame: (3, H, W).
        mask: (1, H, W) in {0, 1}, or None: the edit as it is.
    """
    if mask is None:
        return edited
    share = feathered(mask).to(edited)
    return torch.where(share > 0, share * edited + (1 - share) * frame, frame)


def feathered(mask: Tensor) -> Tensor:
    """How much of an edit is seen at each pixel: 0 outside the mask, rising to 1 inside it.

    The ramp is `FEATHER` of the shorter side wide, less in a mask that is thinner; the frame's rim has none.

    Args:
        mask: (1, H, W) in {0, 1}.

    Returns:
        (1, H, W) in [0, 1].
    """
    from scipy.ndimage import distance_transform_edt

    inside = mask[0].bool().cpu().numpy()
    if inside.all() or not inside.any():
        return mask.float()
    depth = torch.from_numpy(distance_transform_edt(inside)).float()[None]  # 1 at the mask's rim
    ramp = min(max(1, round(FEATHER * min(mask.shape[-2:]))), depth.max().item() - 1)
    return (depth / (ramp + 1)).clamp(max=1)
