"""The sparse branch S: what goes into the VACE blocks, and the hints that come out.

VACE reads a *context* of 2Z + s*s channels per latent position (s = 8 pixels):
    inactive latent (Z)  = VAE(clip * (1 - m))   what is given and must stay
    reactive latent (Z)  = VAE(clip * m)         what is given and may change
    mask (s*s)           = m, one channel per pixel of the s x s patch
Removed pixels are 0, which is mid-grey. The VACE blocks turn the context into hints S^(l), added to the main
branch.
Source: VACE through diffusers' WanVACEPipeline; which channels the NOVA paper uses is not public, so `mode`
    is ours.
"""

from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from novakit.errors import NovaError
from novakit.models.latents import check_clip, encode_clip, latent_shape, vae_scale

CONTROL_MODES = ("reactive", "inactive")

_GREY: "WeakKeyDictionary[nn.Module, dict]" = WeakKeyDictionary()


def prepare_control(vae: nn.Module, control_clip: Tensor, mask: Tensor | None = None, mode: str = "reactive") -> Tensor:
    """Turn a control sequence into the VACE context.

    Args:
        vae: AutoencoderKLWan.
        control_clip: the control sequence r, (B, 3, T, H, W) in [-1, 1].
        mask: VACE's own mask, (B or 1, 1, T, H, W) in [0, 1]: 1 = may change, 0 = keep. It decides alone
            where the content goes; this is the form of the VACE baselines. None = one convention for the
            whole clip, `mode`.
        mode: "reactive" = everything in the reactive channels, mask 1 (VACE's "control video", ours by
            default); "inactive" = everything in the inactive channels, mask 0.

    Returns:
        context (B, 2Z + s*s, t, h, w), float32.

    Raises:
        NovaError: unknown mode, a mask of another shape, or a clip that does not fit the VAE.

    Source: VACE (diffusers `prepare_video_latents` + `prepare_masks`), extended to batches.
    """
    if mode not in CONTROL_MODES:
        raise NovaError(f"control_mode {mode!r} does not exist; pass one of {', '.join(CONTROL_MODES)}.")
    check_clip(vae, control_clip, "control sequence")
    if mask is not None:
        return _masked_context(vae, control_clip, mask)
    filled = encode_clip(vae, control_clip)  # (B, Z, t, h, w)
    grey = grey_latents(vae, control_clip).expand_as(filled)
    _, spatial = vae_scale(vae)
    channels = filled.new_full((len(filled), spatial * spatial, *filled.shape[2:]), float(mode == "reactive"))
    pair = (grey, filled) if mode == "reactive" else (filled, grey)
    return torch.cat([*pair, channels], dim=1)  # (B, 2Z + s*s, t, h, w)


def _masked_context(vae: nn.Module, clip: Tensor, mask: Tensor) -> Tensor:
    """Context for an explicit mask: inactive = clip * (1-m), reactive = clip * m with m binarised at 0.5."""
    if mask.ndim != 5 or mask.shape[1] != 1 or mask.shape[2:] != clip.shape[2:]:
        raise NovaError(
            f"mask has shape {tuple(mask.shape)}; wanted (B, 1, T, H, W), T, H, W = {tuple(clip.shape[2:])}"
            ", the size of the control sequence. Resize the mask."
        )
    mask = mask.to(clip).expand(len(clip), -1, -1, -1, -1)
    binary = (mask > 0.5).to(clip.dtype)
    inactive = encode_clip(vae, clip * (1 - binary))  # (B, Z, t, h, w)
    reactive = encode_clip(vae, clip * binary)
    return torch.cat([inactive, reactive, mask_channels(vae, mask)], dim=1)


def mask_channels(vae: nn.Module, mask: Tensor) -> Tensor:
    """Pixel mask (B, 1, T, H, W) to latent channels (B, s*s, t, h, w): unshuffle s x s pixels,
    `nearest-exact` in time.

    The time resize *samples* frames (81 frames: 1, 5, 9, ... 40, ... 79), so a mask that marks single
    keyframes vanishes, except at frame 40. VACE, diffusers, DiffSynth and VideoX-Fun all do this; we keep it
    to stay compatible.

    Source: diffusers `prepare_masks` (T: batches are ours).
    """
    _, spatial = vae_scale(vae)
    frames, height, width = latent_shape(vae, mask)
    batch, _, num_frames = mask.shape[:3]
    patches = mask.view(batch, num_frames, height, spatial, width, spatial)
    patches = patches.permute(0, 3, 5, 1, 2, 4).flatten(1, 2)  # (B, s*s, T, h, w)
    return torch.nn.functional.interpolate(patches.float(), size=(frames, height, width), mode="nearest-exact")


@torch.no_grad()
def grey_latents(vae: nn.Module, like: Tensor) -> Tensor:
    """Latents (1, Z, t, h, w) of a mid-grey clip of the size of `like` (B, 3, T, H, W): constant, encoded
    once.

    Kept per VAE and size; a VAE whose weights changed (another training step) encodes it anew.
    """
    versions, taste = sum(p._version for p in vae.parameters()), float(vae.quant_conv.weight.double().sum())
    key = (tuple(like.shape[2:]), str(like.device), vae.dtype, versions, taste)
    kept = _GREY.setdefault(vae, {})
    if key not in kept:
        kept[key] = encode_clip(vae, like.new_zeros(1, 3, *like.shape[2:]))
    return kept[key]
