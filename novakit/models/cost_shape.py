"""The numbers that every cost formula reads: widths, layers, tokens. Source: ours."""

import math
from dataclasses import dataclass

from novakit.errors import NovaError
from novakit.presets import Preset


@dataclass(frozen=True)
class Shape:
    """A network and a clip, as numbers."""

    width: int  # D, channels of a token
    hidden: int  # channels inside the feed-forward
    head: int  # channels of one attention head
    layers: int  # blocks of the main branch
    sparse_layers: tuple[int, ...]  # main blocks that a VACE hint follows
    dense_layers: tuple[int, ...]  # main blocks that a dense cross-attention follows
    channels: int  # Z, channels of the latents
    control_channels: int  # channels of the VACE context
    patch: int  # latent positions in one token
    text_width: int  # channels of the text encoder
    time_width: int  # channels of the sinusoidal time embedding
    text_norm: bool  # a LayerNorm with weights before the text cross-attention
    grid: tuple[int, int, int]  # tokens along time, height, width
    cues: int  # keyframes, as latent frames of their own ("official" only)
    batch: int  # clips
    text: int  # L, tokens of the prompt
    window: int | None  # latent frames that a main token sees on each side; None = all

    @classmethod
    def of(
        cls, preset: Preset, clip: tuple[int, int, int], cues: int, batch: int, text: int, window: int | None
    ) -> "Shape":
        """Read a preset's configs.

        Args:
            preset: the network.
            clip: T (frames), H and W (pixels).
            cues: number of keyframes, >= 0.
            batch: clips.
            text: tokens of the prompt.
            window: see `Shape.window`.

        Raises:
            NovaError: T, H or W do not fit, or the preset adds dense features instead of querying them.
        """
        base, dense = preset.transformer, preset.dense
        if dense.get("dense_injection", "query") != "query":
            raise NovaError('the cost formulas count dense_injection="query" (the paper); pass such a preset.')
        layers = base["num_layers"]
        chosen = dense.get("dense_layers")
        given = window if window is not None else dense.get("dense_window")
        return cls(
            width=base["num_attention_heads"] * base["attention_head_dim"],
            hidden=base["ffn_dim"],
            head=base["attention_head_dim"],
            layers=layers,
            sparse_layers=tuple(base["vace_layers"]),
            dense_layers=tuple(range(layers) if chosen is None else sorted(chosen)),
            channels=base["in_channels"],
            control_channels=base["vace_in_channels"],
            patch=math.prod(base["patch_size"]),
            text_width=base["text_dim"],
            time_width=base["freq_dim"],
            text_norm=base.get("cross_attn_norm", True),
            grid=_grid(preset, clip),
            cues=cues,
            batch=batch,
            text=text,
            window=given,
        )

    @property
    def frame(self) -> int:
        """Tokens of one latent frame."""
        return self.grid[1] * self.grid[2]

    @property
    def tokens(self) -> int:
        """N, tokens of one clip."""
        return self.grid[0] * self.frame

    @property
    def joined_tokens(self) -> int:
        """Tokens of source, cues and target together, as the official scheme attends to them."""
        return (2 * self.grid[0] + self.cues) * self.frame

    @property
    def dense_keys(self) -> list[int]:
        """Keys that a main token of each latent frame sees in a dense cross-attention."""
        frames = self.grid[0]
        if self.window is None or self.window >= frames - 1:
            return [self.tokens] * frames
        seen = (min(frames, j + self.window + 1) - max(0, j - self.window) for j in range(frames))
        return [count * self.frame for count in seen]


def _grid(preset: Preset, clip: tuple[int, int, int]) -> tuple[int, int, int]:
    """Tokens along time, height and width of a clip of T frames and H x W pixels."""
    frames, height, width = clip
    temporal = preset.vae.get("scale_factor_temporal", 4)
    spatial = preset.vae.get("scale_factor_spatial", 8)
    steps = [side * spatial for side in preset.transformer["patch_size"][1:]]
    if frames < 1 or (frames - 1) % temporal or height % steps[0] or width % steps[1] or min(height, width) < 1:
        raise NovaError(
            f"a clip of {frames} frames of {width}x{height} came; {preset.name} wants {temporal}k+1 frames (81, 33, "
            f"...), a width that is a multiple of {steps[1]} and a height that is a multiple of {steps[0]}."
        )
    in_time = (1 + (frames - 1) // temporal) // preset.transformer["patch_size"][0]
    return in_time, height // steps[0], width // steps[1]
