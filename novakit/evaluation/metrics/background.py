"""BG-SSIM: how well the picture outside the edited region was kept, and the form of it that flatters.

Source: SSIM map from torchmetrics; the averaged complement of a dilated mask as in public evaluation code; the zeroed
form as in PnPInversion (PIE-Bench).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from novakit.errors import NovaError
from novakit.evaluation.metrics.clip_checks import check_clip, check_mask, check_same_size
from novakit.evaluation.metrics.truth import region_mean, ssim_map

DILATION = 5  # pixels: half of SSIM's window, so that no window of the background reaches into the mask


def background_region(mask: Tensor, dilation: int = DILATION) -> Tensor:
    """The complement of a mask grown by some pixels to every side (a square), frame by frame.

    Args:
        mask: `(B, 1, T, H, W)` in {0, 1}.
        dilation: pixels, 0 or more.

    Returns:
        `(B, 1, T, H, W)` in {0, 1}, 1 = background.

    Raises:
        NovaError: a negative dilation.
    """
    if dilation < 0:
        raise NovaError(f"dilation is {dilation} px; wanted 0 or more. The edited region is never made smaller.")
    side = 2 * dilation + 1
    frames = mask.transpose(1, 2).flatten(0, 1)  # (B*T, 1, H, W)
    for kernel, padding in (((1, side), (0, dilation)), ((side, 1), (dilation, 0))):
        frames = F.max_pool2d(frames, kernel, stride=1, padding=padding)
    return 1.0 - frames.unflatten(0, (mask.shape[0], mask.shape[2])).transpose(1, 2)


@torch.no_grad()
def background_ssim(output: Tensor, source: Tensor, mask: Tensor, dilation: int = DILATION) -> Tensor:
    """BG-SSIM: the SSIM map of output and source, averaged where the dilated mask is not.

    The map: Gaussian window of 11 px (sigma 1.5), pictures in [0, 1], mean over RGB. All pixels of all frames of the
    background weigh the same. With the default dilation a change inside the mask cannot change the number at all.
    At 480 px, public code dilates by 31 px.

    Args:
        output, source: clips `(B, 3, T, H, W)` in [-1, 1].
        mask: `(B, 1, T, H, W)` in {0, 1}.
        dilation: pixels.

    Returns:
        `(B,)`, 1 = kept exactly; NaN where the dilated mask covers everything: there is no background.

    Raises:
        NovaError: clips or mask that do not fit.

    Source: public evaluation code (complement of the dilated mask); the paper says "SSIM outside the edited region".
    """
    _check(output, source, mask)
    return region_mean(ssim_map(output, source), background_region(mask, dilation))


@torch.no_grad()
def background_ssim_zeroed(output: Tensor, source: Tensor, mask: Tensor) -> Tensor:
    """The other public form, to be compared with: both clips made black inside the mask, SSIM over the whole frame.

    The black area is equal in both and counts as perfect, so the score rises with the size of the mask, and a mask
    that covers everything scores 1. Not used in any table.

    Arguments and errors as `background_ssim`.

    Returns:
        `(B,)`.

    Source: PnPInversion evaluation (PIE-Bench), without its change of the mask's border rows.
    """
    _check(output, source, mask)
    black = [(clip + 1.0) * (1.0 - mask) - 1.0 for clip in (output, source)]
    return ssim_map(*black).flatten(1).mean(dim=1)


def _check(output: Tensor, source: Tensor, mask: Tensor) -> None:
    check_clip(output, "output")
    check_clip(source, "source")
    check_same_size(output, source, "source")
    check_mask(mask, output)
