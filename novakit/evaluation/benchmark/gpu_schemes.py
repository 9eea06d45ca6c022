"""The schemes that the suite "gpu" compares, as networks that are called alike. Source: ours.

`network(latents, timestep, text, control, source_latents=..., dense_cache=...)`, so that `novakit.editing.denoise`
runs each of them.
"""

from collections.abc import Callable
from functools import partial

import torch
from diffusers.models.transformers.transformer_wan_vace import WanVACETransformer3DModel
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from novakit.models.base_walk import Embedded, embed, unpatchify


class PlainVace(nn.Module):
    """diffusers' own forward; the VACE blocks learn, as VideoX-Fun trains them.

    Args:
        base: WanVACETransformer3DModel.
    """

    def __init__(self, base: WanVACETransformer3DModel) -> None:
        super().__init__()
        self.base = base
        self.requires_grad_(False)
        self.base.vace_blocks.requires_grad_(True)

    @property
    def dtype(self) -> torch.dtype:
        """Precision of the weights."""
        return self.base.patch_embedding.weight.dtype

    def enable_gradient_checkpointing(self, how: Callable | None = None) -> None:
        """Recompute blocks in the backward pass, as diffusers' models do."""
        self.base.enable_gradient_checkpointing(how)

    def forward(self, latents: Tensor, timestep: Tensor, text: Tensor, control: Tensor, **_others) -> tuple[Tensor]:
        """Velocity (B, Z, t, h, w), in a tuple."""
        return self.base(latents, timestep, text, control_hidden_states=control, return_dict=False)


class OfficialScheme(nn.Module):
    """Source, cues and target in one sequence through the plain DiT, written from the description of the release.

    Not `models.token_concat.TokenConcatTransformer`, which teaches the same idea with two improvements of ours: it
    tells clean tokens timestep 0, which needs a modulation for every token (3 GB of memory traffic per block at full
    size, which the release does not pay), and it has no gradient checkpointing. This class costs what the release's
    scheme costs: one timestep for all tokens, RoPE indices in time 1..t for source and target, 1 for the first cue and
    0 for every other; the self-attention of every block learns.

    Args:
        base: WanVACETransformer3DModel; its VACE blocks are not used and may be deleted.
    """

    def __init__(self, base: WanVACETransformer3DModel) -> None:
        super().__init__()
        self.base, self.checkpointing = base, None
        self.requires_grad_(False)
        for block in base.blocks:
            block.attn1.requires_grad_(True)

    @property
    def dtype(self) -> torch.dtype:
        """Precision of the weights."""
        return self.base.patch_embedding.weight.dtype

    def enable_gradient_checkpointing(self, how: Callable | None = None) -> None:
        """Recompute blocks in the backward pass, as diffusers' models do."""
        self.checkpointing = how or partial(checkpoint, use_reentrant=False)

    def forward(
        self, latents: Tensor, timestep: Tensor, text: Tensor, control: Tensor, source_latents: Tensor, **_others
    ) -> tuple[Tensor]:
        """Velocity (B, Z, t, h, w), in a tuple; `control` holds the cue latents (B, Z, K, h, w)."""
        joined = embed(self.base, torch.cat([source_latents, control, latents], dim=2), timestep, text)
        target_tokens = joined.tokens.shape[1] * latents.shape[2] // joined.grid[0]
        rotary = self._rotary(joined, latents.shape[2], control.shape[2])
        tokens = joined.tokens
        for block in self.base.blocks:
            tokens = self._run(block, tokens, joined.text, joined.modulation, rotary)
        own = Embedded(joined.tokens, rotary, joined.temb, joined.modulation, joined.text, self._grid(latents))
        return (unpatchify(self.base, tokens[:, -target_tokens:], own),)

    def _run(self, block: nn.Module, *inputs: Tensor) -> Tensor:
        if self.checkpointing and torch.is_grad_enabled():
            return self.checkpointing(block, *inputs)
        return block(*inputs)

    def _grid(self, latents: Tensor) -> tuple[int, int, int]:
        """Tokens of the target along time, height, width."""
        return tuple(size // step for size, step in zip(latents.shape[2:], self.base.config.patch_size, strict=True))

    def _rotary(self, joined: Embedded, frames: int, cues: int) -> tuple[Tensor, Tensor]:
        """RoPE at the release's indices in time."""
        clip = list(range(1, frames + 1))
        places = clip + [1, *[0] * (cues - 1)][:cues] + clip
        return tuple(part.unflatten(1, (joined.grid[0], -1))[:, places].flatten(1, 2) for part in joined.rotary)
