"""Temporal concatenation: [source | cues | target] in one self-attention, the scheme of the official release.

    tokens = [source (t h w) | cues (K h w) | target (t h w)]    ->    blocks of the plain DiT    ->    target part

No dense branch and no VACE hints; the self-attention of every block learns, the rest of the base is frozen.

What every token is told:
    RoPE       source and target share their time indices 0 .. t-1, as in the release. A cue has the index of the
               latent frame that holds its keyframe (release: the first cue 1, all others 0, so that a later keyframe
               has no place in time; ours is in the scheme's favour).
    timestep   the target's own; source and cues are clean and are told 0 (release: one timestep for all; ours, since
               the base has learned what a clean token looks like at timestep 0, and Wan 2.2 mixes timesteps likewise).
    role       one learned vector for source tokens and one for cues, both zero at first (release: the time index).

Source: official release (train_nova.py, wan_video_dit.py), after ReCamMaster; differences as said above.
"""

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from novakit.errors import NovaError
from novakit.models.base_walk import Embedded, embed, unpatchify
from novakit.models.latents import encode_clip

Rotary = tuple[Tensor, Tensor]


def latent_place(frame: int, scale: int = 4) -> int:
    """The latent frame that holds a frame: Wan's VAE makes frame 0 the first, then groups of `scale`."""
    return -(-frame // scale)


@torch.no_grad()
def encode_cues(vae: nn.Module, keyframes: Tensor) -> Tensor:
    """Every keyframe as a clip of one frame.

    Args:
        vae: AutoencoderKLWan.
        keyframes: (B, 3, K, H, W) in [-1, 1].

    Returns:
        Latents (B, Z, K, h, w), normalised.

    Source: official release (it repeats each keyframe four times first, which the VAE does not notice).
    """
    single = keyframes.transpose(1, 2).flatten(0, 1).unsqueeze(2)  # (B*K, 3, 1, H, W)
    latents = encode_clip(vae, single)  # (B*K, Z, 1, h, w)
    return latents.squeeze(2).unflatten(0, (len(keyframes), -1)).transpose(1, 2)  # (B, Z, K, h, w)


class TokenConcatTransformer(nn.Module):
    """The plain DiT of a base, with clean source and cue tokens in front of the noisy target tokens.

    Args:
        base: WanVACETransformer3DModel; copied, since its self-attention learns. Its VACE blocks are not used.
    """

    is_nova = False  # no dense branch

    def __init__(self, base: nn.Module) -> None:
        super().__init__()
        self.base = copy.deepcopy(base)
        width = base.config.num_attention_heads * base.config.attention_head_dim
        self.source_role = nn.Parameter(torch.zeros(width))
        self.cue_role = nn.Parameter(torch.zeros(width))

    @property
    def dtype(self) -> torch.dtype:
        """Precision of the base's weights."""
        return self.base.dtype

    @property
    def device(self) -> torch.device:
        """Where the weights lie."""
        return self.base.device

    def learn(self) -> None:
        """Self-attention (queries, keys, values, output, QK-norm) and the two role vectors learn, nothing else."""
        self.requires_grad_(False)
        for block in self.base.blocks:
            block.attn1.requires_grad_(True)
        self.source_role.requires_grad_(True), self.cue_role.requires_grad_(True)

    def forward(
        self,
        hidden_states: Tensor,
        timestep: Tensor,
        encoder_hidden_states: Tensor,
        source_latents: Tensor | None = None,
        cue_latents: Tensor | None = None,
        cue_places: Sequence[int] = (),
    ) -> Tensor:
        """Predict the velocity of the target.

        Args:
            hidden_states: noisy target latents (B, Z, t, h, w).
            timestep: (B,) in [0, 1000].
            encoder_hidden_states: text (B, L, text_dim).
            source_latents: clean source (B, Z, t, h, w); None = no source tokens.
            cue_latents: clean keyframes (B, Z, K, h, w) of `encode_cues`; None = no cue tokens.
            cue_places: latent frame of each cue, see `latent_place`.

        Returns:
            velocity (B, Z, t, h, w).

        Raises:
            NovaError: as many places as cues were wanted, all inside the clip.
        """
        target = embed(self.base, hidden_states, timestep, encoder_hidden_states)
        parts, turns = [], []
        for latents, role, places in (
            (source_latents, self.source_role, range(target.grid[0])),
            (cue_latents, self.cue_role, cue_places),
        ):
            if latents is not None:
                clean = embed(self.base, latents, torch.zeros_like(timestep), encoder_hidden_states)
                parts.append((clean.tokens + role, clean.modulation))
                turns.append(_rotary_at(target, clean.grid[0], places))
        tokens, modulation, rotary = _join(target, parts, turns)
        for block in self.base.blocks:
            tokens = block(tokens, target.text, modulation, rotary)
        return unpatchify(self.base, tokens[:, -target.tokens.shape[1] :], target)


def _rotary_at(target: Embedded, count: int, places: Sequence[int]) -> Rotary:
    """RoPE of `count` latent frames that lie at `places` of the target's time axis; each (1, count*h*w, 1, d)."""
    frames, places = target.grid[0], list(places)
    if len(places) != count or any(not 0 <= place < frames for place in places):
        raise NovaError(
            f"{count} latent frames with the places {places} came for a target of {frames} latent frames; "
            f"wanted one place for each, from 0 to {frames - 1}. Use latent_place(frame index)."
        )
    return tuple(part.unflatten(1, (frames, -1))[:, places].flatten(1, 2) for part in target.rotary)


def _join(target: Embedded, parts: list, turns: list[Rotary]) -> tuple[Tensor, Tensor, Rotary]:
    """One sequence: tokens (B, N', D), modulation of every token (B, N', 6, D), RoPE (1, N', 1, d)."""
    if not parts:
        return target.tokens, target.modulation, target.rotary
    parts, turns = [*parts, (target.tokens, target.modulation)], [*turns, target.rotary]
    tokens = torch.cat([each for each, _ in parts], dim=1)  # (B, N', D)
    spread = [modulation.unsqueeze(1).expand(-1, each.shape[1], -1, -1) for each, modulation in parts]
    rotary = tuple(torch.cat(halves, dim=1) for halves in zip(*turns, strict=True))
    return tokens, torch.cat(spread, dim=1), rotary
