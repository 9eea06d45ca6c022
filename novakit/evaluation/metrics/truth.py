"""PSNR, SSIM, traces of another clip, and flicker inside a region, against a known truth.

No mask is given to a model and nothing is pasted back before a score; the region only says where to look.
Source: PSNR and SSIM as usual (SSIM map from torchmetrics); the regions, the trace and the flicker are ours.
"""

from __future__ import annotations

import torch
from torch import Tensor

from novakit.errors import NovaError


def _check(output: Tensor, truth: Tensor, region: Tensor) -> None:
    expected = (output.shape[0], 1, *output.shape[2:])
    if output.ndim != 5 or output.shape != truth.shape or tuple(region.shape) != expected:
        raise NovaError(
            f"output {tuple(output.shape)}, truth {tuple(truth.shape)} and region {tuple(region.shape)} do not fit; "
            "pass two clips (B, 3, T, H, W) of one size and a region (B, 1, T, H, W)."
        )


def region_psnr(output: Tensor, truth: Tensor, region: Tensor) -> Tensor:
    """PSNR in dB over the pixels of a region, one number per clip.

    Args:
        output, truth: clips `(B, 3, T, H, W)` in [-1, 1].
        region: `(B, 1, T, H, W)` in {0, 1}.

    Returns:
        `(B,)`; NaN where the region is empty, 100 where the clips agree exactly.

    Raises:
        NovaError: shapes that do not fit.
    """
    _check(output, truth, region)
    squares = (((output - truth) / 2.0).square().mean(dim=1, keepdim=True) * region).flatten(1).sum(dim=1)
    count = region.flatten(1).sum(dim=1)
    mean = torch.where(count > 0, squares / count.clamp_min(1.0), torch.nan)
    return -10.0 * torch.log10(mean.clamp_min(1e-10))


def ssim_map(output: Tensor, truth: Tensor) -> Tensor:
    """SSIM at every pixel, `(B, 1, T, H, W)`: torchmetrics' Gaussian window (11 px, sigma 1.5), mean over RGB."""
    from torchmetrics.functional.image import structural_similarity_index_measure

    frames_a, frames_b = (((clip + 1.0) / 2.0).transpose(1, 2).flatten(0, 1) for clip in (output, truth))
    _, full = structural_similarity_index_measure(
        frames_a, frames_b, data_range=1.0, reduction="none", return_full_image=True
    )
    return full.mean(dim=1).reshape(output.shape[0], output.shape[2], 1, *output.shape[3:]).transpose(1, 2)


def region_ssim(output: Tensor, truth: Tensor, region: Tensor) -> Tensor:
    """Mean of the SSIM map over a region, one number per clip `(B,)`; NaN where the region is empty.

    Arguments as `region_psnr`. The map is computed on the whole picture and only averaged inside the region: blanking
    the rest first would count it as perfect and inflate the score.
    """
    _check(output, truth, region)
    return region_mean(ssim_map(output, truth), region)


def region_mean(values: Tensor, region: Tensor) -> Tensor:
    """Mean over a region of a map, both `(B, 1, T, H, W)`; `(B,)`, NaN where the region is empty."""
    count = region.flatten(1).sum(dim=1)
    total = (values * region).flatten(1).sum(dim=1)
    return torch.where(count > 0, total / count.clamp_min(1.0), torch.nan)


def trace_of(other: Tensor, output: Tensor, truth: Tensor, region: Tensor) -> Tensor:
    """How much of another clip shines through: the `a` of least squares in output - truth = a (other - truth).

    With `other` the source it is the ghost of the old object; with `other` the interpolated keyframes it is their
    double image. 0 = no trace, 1 = the other clip itself, negative = overcorrected.

    Args:
        other: clip `(B, 3, T, H, W)` in [-1, 1].
        output, truth, region: as in `region_psnr`.

    Returns:
        `(B,)`; NaN where `other` equals the truth in the whole region.
    """
    _check(output, truth, region)
    error, direction = ((clip - truth) * region for clip in (output, other))
    along = (error * direction).flatten(1).sum(dim=1)
    length = direction.square().flatten(1).sum(dim=1)
    return torch.where(length > 1e-6, along / length.clamp_min(1e-6), torch.nan)


def flicker(output: Tensor, truth: Tensor, region: Tensor) -> Tensor:
    """Mean change from frame to frame over a region, divided by the truth's; 1 = as calm as the truth.

    Arguments as `region_psnr`; a pixel counts where both frames lie in the region.

    Returns:
        `(B,)`; NaN where the truth does not change there.
    """
    _check(output, truth, region)
    both = region[:, :, 1:] * region[:, :, :-1]
    change, expected = ((clip.diff(dim=2).abs() * both).flatten(1).sum(dim=1) for clip in (output, truth))
    return torch.where(expected > 0, change / expected.clamp_min(1e-12), torch.nan)
