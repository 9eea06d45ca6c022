"""SR where the true edit is known: the edit is in, and the background is kept. One yes or no per clip."""

from __future__ import annotations

import torch
from torch import Tensor

from novakit.errors import NovaError
from novakit.evaluation.metrics.background import DILATION, background_ssim
from novakit.evaluation.metrics.clip_checks import check_all

MARGIN = 0.25  # the truth must be nearer than the source by this share of the distance to the source
KEPT = 0.7
"""BG-SSIM from which a background counts as kept: what the VAE alone leaves of the truth passes in every test scene
(lowest of 64: 0.72, without dilation), half of the clips made by the base without the source do not."""
_SEEN = 0.02  # smallest root mean square difference of truth and source, of the range 2, that counts as an edit


def region_distance(output: Tensor, other: Tensor, mask: Tensor) -> Tensor:
    """Root mean square difference of two clips over the pixels of a mask, `(B,)`; NaN where the mask is empty."""
    squares = ((output - other).square().mean(dim=1, keepdim=True) * mask).flatten(1).sum(dim=1)
    count = mask.flatten(1).sum(dim=1)
    return torch.where(count > 0, (squares / count.clamp_min(1.0)).sqrt(), torch.nan)


@torch.no_grad()
def edit_success(
    output: Tensor,
    source: Tensor,
    mask: Tensor,
    truth: Tensor,
    *,
    margin: float = MARGIN,
    kept: float = KEPT,
    dilation: int = DILATION,
    background: Tensor | None = None,
) -> Tensor:
    """SR against a known truth: 1 where both conditions hold, else 0.

    1. The edit is in: inside the mask d(output, truth) <= (1 - margin) d(output, source), d = root mean square
       difference over all frames. A copy of the source fails, and so does grey, which is about as far from both.
    2. The background is kept: BG-SSIM >= kept. A mask that covers everything leaves no background to keep, and only
       the first condition counts.

    Args:
        output, source, truth: clips `(B, 3, T, H, W)` in [-1, 1].
        mask: `(B, 1, T, H, W)` in {0, 1}.
        margin: share in [0, 1).
        kept: smallest BG-SSIM.
        dilation: of BG-SSIM, pixels.
        background: BG-SSIM `(B,)` if already measured.

    Returns:
        `(B,)` of 1, 0 or NaN; NaN where there is nothing to judge: the mask is empty, or truth and source are alike
        inside it. The success rate of a table is the mean without NaN.

    Raises:
        NovaError: clips or mask that do not fit, or a margin outside [0, 1).

    Source: ours; the paper's recipe is not public (a success rate judged by people or a model, by its name).
    """
    check_all(output, source, mask, truth, 1)
    if not 0.0 <= margin < 1.0:
        raise NovaError(f"margin is {margin}; wanted 0 or more and below 1, the share by which the truth is nearer.")
    if background is None:
        background = background_ssim(output, source, mask, dilation)
    edited = region_distance(output, truth, mask) <= (1.0 - margin) * region_distance(output, source, mask)
    success = (edited & ((background >= kept) | background.isnan())).float()
    judged = region_distance(truth, source, mask) > _SEEN  # False for NaN, the empty mask
    return torch.where(judged, success, torch.nan)
