"""The forward pass of diffusers' `WanVACETransformer3DModel`, taken apart into the pieces that NOVA needs.

NOVA has to stand between two blocks of the base, so it cannot call the base's own `forward`. These functions do what
that forward does, in the same order and with the same operations: a fresh NOVA equals its base bit for bit (a test).
Under autocast (training) the residual stream, the time embedding and the last projection stay in float32.
Source: diffusers 0.42 `transformer_wan_vace.py`.
"""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from novakit.errors import NovaError


@dataclass(frozen=True)
class Embedded:
    """Noisy latents as tokens, with everything that every block of the base reads."""

    tokens: Tensor  # (B, N, D)
    rotary: tuple[Tensor, Tensor]  # cos and sin, each (1, N, 1, head dim)
    temb: Tensor  # (B, D) time embedding
    modulation: Tensor  # (B, 6, D) shift, scale, gate of attention and feed-forward
    text: Tensor  # (B, L, D) text tokens after the text projection
    grid: tuple[int, int, int]  # tokens along time, height, width: t*h*w = N


def autocasting(tensor: Tensor) -> bool:
    """True inside `torch.autocast` for the device of `tensor`."""
    return torch.is_autocast_enabled(tensor.device.type)


def full_precision(base: nn.Module, tensor: Tensor):
    """Context with autocast off (float32 base): for small parts where bfloat16 saves nothing."""
    on = autocasting(tensor) and base.dtype == torch.float32
    return torch.autocast(tensor.device.type, enabled=False) if on else nullcontext()


def patchify(convolution: nn.Module, latents: Tensor) -> Tensor:
    """Patch embedding of latents (B, Z, t, h, w) to tokens (B, N, D)."""
    tokens = convolution(latents).flatten(2).transpose(1, 2)  # (B, N, D)
    return tokens.float() if autocasting(tokens) else tokens


def embed(base: nn.Module, latents: Tensor, timestep: Tensor, text: Tensor) -> Embedded:
    """Tokens, RoPE, time and text embeddings of the base.

    Args:
        base: WanVACETransformer3DModel.
        latents: (B, Z, t, h, w).
        timestep: (B,) in [0, 1000].
        text: encoder hidden states (B, L, text_dim).

    Raises:
        NovaError: latents of another channel count, or a grid that the patches do not divide.
    """
    grid = token_grid(base, latents)
    rotary = base.rope(latents)
    tokens = patchify(base.patch_embedding, latents)
    with full_precision(base, tokens):
        temb, modulation, text, _ = base.condition_embedder(timestep, text.to(base.dtype), None)
    return Embedded(tokens, rotary, temb, modulation.unflatten(1, (6, -1)), text, grid)


def token_grid(base: nn.Module, latents: Tensor) -> tuple[int, int, int]:
    """Tokens along time, height and width for latents (B, Z, t, h, w)."""
    if latents.ndim != 5 or latents.shape[1] != base.config.in_channels:
        raise NovaError(
            f"latents have shape {tuple(latents.shape)}; the base wants "
            f"(B, {base.config.in_channels}, t, h, w). Encode the clip with the VAE of the same preset."
        )
    patch = tuple(base.config.patch_size)
    if any(size % step for size, step in zip(latents.shape[2:], patch, strict=True)):
        raise NovaError(
            f"latents have the grid {tuple(latents.shape[2:])}; it must be a multiple of the patch {patch}. "
            "Resize the clip so that height and width are multiples of 8 times the patch."
        )
    return tuple(size // step for size, step in zip(latents.shape[2:], patch, strict=True))


def vace_hints(base: nn.Module, main: Embedded, control: Tensor, run: Callable) -> list[Tensor]:
    """All VACE hints, from the *initial* main tokens: the i-th belongs behind block `vace_layers[i]`.

    Args:
        control: the VACE context (B, 2Z + s*s, t, h, w) of `prepare_control`.
        run: `run(block, *inputs)`, which may checkpoint gradients.

    Returns:
        list of hints, each (B, N, D).

    Source: real VACE and diffusers (the paper's eq. 1 would read z_m at every layer).
    """
    if control.shape[1] != base.config.vace_in_channels:
        raise NovaError(
            f"control has {control.shape[1]} channels; the base wants {base.config.vace_in_channels}. "
            "Build it with novakit.models.prepare_control and the VAE of the same preset."
        )
    state = patchify(base.vace_patch_embedding, control)  # (B, N, D)
    if state.shape[1] != main.tokens.shape[1]:
        raise NovaError(
            f"control gives {state.shape[1]} tokens, the latents {main.tokens.shape[1]}; "
            "they must be clips of one length and size. Build the control from a clip of the same size."
        )
    state = state.contiguous()  # as diffusers' zero-padding leaves it: another memory layout rounds differently
    hints = []
    for block in base.vace_blocks:
        hint, state = run(block, main.tokens, main.text, state, main.modulation, main.rotary)
        hints.append(hint)
    return hints


def unpatchify(base: nn.Module, tokens: Tensor, main: Embedded) -> Tensor:
    """Final norm and projection of tokens (B, N, D) back to latents (B, Z, t, h, w)."""
    with full_precision(base, tokens):
        shift, scale = (base.scale_shift_table.to(main.temb.device) + main.temb.unsqueeze(1)).chunk(2, dim=1)
        tokens = (base.norm_out(tokens.float()) * (1 + scale) + shift).type_as(tokens)
        tokens = base.proj_out(tokens)  # (B, N, pt*ph*pw*Z)
    patches = tokens.reshape(len(tokens), *main.grid, *base.config.patch_size, -1)  # (B, t, h, w, pt, ph, pw, Z)
    return patches.permute(0, 7, 1, 4, 2, 5, 3, 6).flatten(6, 7).flatten(4, 5).flatten(2, 3)
