"""D_aug of eq. 2: six ways in which an edited keyframe can be spoilt, all of them kornia functionals.

kornia's own ``Random*`` modules draw from torch's global random state; here the parameters are drawn from
the caller's generator and handed to the functionals, so every picture can be made again.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from .draws import check_names, uniform


@dataclass(frozen=True)
class AugmentLimits:
    """How strong each operation is at strength 1; strength 0 leaves the picture alone."""

    blur_sigma: float = 0.05  # Gaussian blur: sigma as a share of the shorter side (3 px at 64, 24 px at 480)
    affine_turn: float = 15.0  # rotation, degrees either way
    affine_shift: float = 0.08  # translation, share of the frame
    affine_zoom: float = 0.15  # scale between 1 - this and 1 + this
    colour_hue: float = 0.06  # hue turn, share of the whole colour circle
    colour_saturation: float = 0.5  # saturation factor between 1 - this and 1 + this
    colour_contrast: float = 0.25  # contrast factor between 1 - this and 1 + this
    colour_brightness: float = 0.12  # added to pictures in [0, 1]
    downscale: float = 8.0  # factor by which the picture shrinks before it grows back
    elastic_shift: float = 0.03  # typical displacement, share of the shorter side
    elastic_grain: float = 0.06  # size of the waves (sigma of the displacement), share of the shorter side
    jpeg_quality: float = 7.0  # JPEG quality at strength 1 (strength 0 stands for 60)


@dataclass(frozen=True)
class Augmented:
    """Pictures after one operation."""

    images: Tensor  # (n, 3, H, W) in [0, 1]
    parameters: dict[str, Tensor]  # name -> (n,) numbers that were drawn, on the generator's device


Operation = Callable[[Tensor, Tensor, torch.Generator, AugmentLimits], Augmented]


def _blur(images: Tensor, strength: Tensor, generator: torch.Generator, limits: AugmentLimits) -> Augmented:
    """Gaussian blur; the detail that an editor's low-resolution latent loses."""
    from kornia.filters import gaussian_blur2d

    short = min(images.shape[-2:])
    sigma = 0.3 + strength * limits.blur_sigma * short  # below 0.3 px a blur does nothing
    radius = max(1, min(math.ceil(3 * float(sigma.max())), short - 1))
    sigmas = sigma.to(images)[:, None].expand(-1, 2)
    return Augmented(gaussian_blur2d(images, 2 * radius + 1, sigmas), {"sigma": sigma})


def _affine(images: Tensor, strength: Tensor, generator: torch.Generator, limits: AugmentLimits) -> Augmented:
    """Small turn, shift and zoom; an edited object that does not sit where the source has it."""
    from kornia.geometry.transform import get_affine_matrix2d, warp_affine

    n, _, height, width = images.shape
    drawn = uniform(generator, (4, n), -1, 1) * strength
    extent = torch.tensor([width, height], device=drawn.device)
    shift = drawn[:2].T * limits.affine_shift * extent  # (n, 2) pixels
    turn, zoom = drawn[2] * limits.affine_turn, 1 + drawn[3] * limits.affine_zoom
    centre = ((extent - 1) / 2).expand(n, 2)
    matrix = get_affine_matrix2d(shift, centre, zoom[:, None].expand(n, 2), turn)[:, :2]  # (n, 2, 3)
    moved = warp_affine(images, matrix.to(images), (height, width), padding_mode="reflection")
    return Augmented(moved, {"turn": turn, "zoom": zoom, "shift_x": shift[:, 0], "shift_y": shift[:, 1]})


def _colour(images: Tensor, strength: Tensor, generator: torch.Generator, limits: AugmentLimits) -> Augmented:
    """Hue, saturation, contrast and brightness drift; keyframes that were edited independently.

    Kept small on purpose and drawn anew for each keyframe: a large shift that all keyframes share is what a
    recolouring edit looks like, and training must not teach the model to undo those.
    """
    from kornia.enhance import adjust_hue, adjust_saturation

    drawn = uniform(generator, (4, len(images)), -1, 1) * strength
    hue = drawn[0] * limits.colour_hue
    saturation, contrast = 1 + drawn[1] * limits.colour_saturation, 1 + drawn[2] * limits.colour_contrast
    brightness = drawn[3] * limits.colour_brightness
    gain, offset, factor = (v.to(images)[:, None, None, None] for v in (contrast, brightness, saturation))
    shifted = adjust_saturation(adjust_hue(images, (hue * 2 * math.pi).to(images)), factor.flatten())
    shifted = (shifted - 0.5) * gain + 0.5 + offset
    parameters = {"hue": hue, "saturation": saturation, "contrast": contrast, "brightness": brightness}
    return Augmented(shifted, parameters)


def _downscale(images: Tensor, strength: Tensor, generator: torch.Generator, limits: AugmentLimits) -> Augmented:
    """Shrink by area averaging and grow back; blocky or soft, by chance."""
    n, _, height, width = images.shape
    factor = 1 + strength * (limits.downscale - 1)
    blocky = uniform(generator, (n,)) < 0.5
    grown = []
    for image, by, block in zip(images.split(1), factor.tolist(), blocky.tolist(), strict=True):
        small = interpolate(image, (max(1, round(height / by)), max(1, round(width / by))), mode="area")
        grown.append(interpolate(small, (height, width), mode="nearest" if block else "bilinear"))
    return Augmented(torch.cat(grown), {"factor": factor, "blocky": blocky.float()})


def _elastic(images: Tensor, strength: Tensor, generator: torch.Generator, limits: AugmentLimits) -> Augmented:
    """Smooth random wobble; outlines that are drawn a little differently in every keyframe."""
    from kornia.geometry.transform import elastic_transform2d

    n, _, height, width = images.shape
    short = min(height, width)
    sigma = max(1.0, limits.elastic_grain * short)
    shift = strength * limits.elastic_shift * short  # typical displacement in pixels
    noise = torch.randn((n, 2, height, width), generator=generator, device=generator.device)
    amplitude = shift * 2 * math.sqrt(math.pi) * sigma  # a Gaussian of sigma divides white noise by this
    pixels = torch.tensor([2 / width, 2 / height], device=noise.device).view(1, 2, 1, 1)  # grid units
    noise = (noise * amplitude[:, None, None, None] * pixels).to(images)
    kernel = 2 * math.ceil(2.5 * sigma) + 1
    wobbled = elastic_transform2d(images, noise, (kernel, kernel), (sigma, sigma), padding_mode="reflection")
    return Augmented(wobbled, {"shift": shift})


def _jpeg(images: Tensor, strength: Tensor, generator: torch.Generator, limits: AugmentLimits) -> Augmented:
    """JPEG blocks and ringing; keyframes that went through a lossy file."""
    from kornia.enhance import jpeg_codec_differentiable

    quality = 60 + strength * (limits.jpeg_quality - 60)
    return Augmented(jpeg_codec_differentiable(images, quality.to(images)), {"quality": quality})


OPERATIONS: dict[str, Operation] = {
    "blur": _blur,
    "affine": _affine,
    "colour": _colour,
    "downscale": _downscale,
    "elastic": _elastic,
    "jpeg": _jpeg,
}


def augment(
    images: Tensor,
    name: str,
    strength: Tensor,
    generator: torch.Generator,
    limits: AugmentLimits | None = None,
) -> Augmented:
    """Apply one operation of D_aug to whole pictures.

    Args:
        images: (n, 3, H, W) in [0, 1], any device.
        name: one of OPERATIONS.
        strength: (n,) in [0, 1], on the generator's device; 0 leaves nearly no trace, 1 is the limit.
        generator: where directions and noise come from.
        limits: what strength 1 means.

    Returns:
        Augmented, clamped to [0, 1].

    Raises:
        NovaError: unknown name.

    Source: paper section on degradation simulation names Gaussian blur and affine; the other four are ours.
    """
    check_names("D_aug operation", (name,), tuple(OPERATIONS))
    result = OPERATIONS[name](images, strength, generator, limits or AugmentLimits())
    return Augmented(result.images.clamp(0, 1), result.parameters)
