"""Asking the dense branch where it looks: which source tokens does this edited token read? (ours)"""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from novakit.errors import NovaError


@dataclass
class AttentionRequest:
    """A question to the dense cross-attention, answered in `maps` during a forward pass.

    Only the rows of the asked query tokens are computed, never the whole N x N matrix.
    """

    queries: list[int]  # token numbers of the main branch, 0 .. N-1, time-major
    layers: tuple[int, ...] | None = None  # layers to look at; None = all
    per_head: bool = False  # True keeps the heads apart, False averages them
    step: int = -1  # denoising step of the pipeline in which to look, counted from 0; -1 = the last
    maps: dict[int, Tensor] = field(default_factory=dict)  # layer -> (B, Q, t, h, w) or (B, heads, Q, t, h, w)

    def wants(self, layer: int) -> bool:
        """Whether this layer was asked for."""
        return self.layers is None or layer in self.layers

    @torch.no_grad()
    def record(self, layer: int, query: Tensor, key: Tensor, grid: tuple[int, int, int], window: int | None) -> None:
        """Store softmax(q K^T / sqrt(d)) of the asked tokens; query and key are (B, N, heads, head dim)."""
        num_tokens = query.shape[1]
        wrong = [number for number in self.queries if not 0 <= number < num_tokens]
        if wrong or not self.queries:
            raise NovaError(
                f"query tokens {wrong or 'missing'}: this clip has tokens 0..{num_tokens - 1}. Ask for those."
            )
        index = torch.tensor(self.queries, device=query.device)
        asked = query[:, index].float() * query.shape[-1] ** -0.5
        scores = torch.einsum("bqhd,bnhd->bhqn", asked, key.float())  # (B, heads, Q, N)
        if window is not None:
            per_frame = num_tokens // grid[0]
            frame = torch.arange(num_tokens, device=query.device) // per_frame
            far = (frame[index][:, None] - frame[None, :]).abs() > window  # (Q, N)
            scores = scores.masked_fill(far, float("-inf"))
        probabilities = scores.softmax(dim=-1).unflatten(-1, grid)  # (B, heads, Q, t, h, w)
        self.maps[layer] = probabilities if self.per_head else probabilities.mean(dim=1)


def token_at(frame: int, row: int, column: int, grid: tuple[int, int, int], pixels: int = 8) -> int:
    """Number of the token that holds a pixel.

    Args:
        frame: frame index in the clip (frame 0 is latent frame 0; frames 4j-3 .. 4j are latent frame j).
        row, column: pixel position.
        grid: tokens along (t, h, w).
        pixels: pixels per token in each direction (8 for nano, 16 for wan-1.3b).

    Raises:
        NovaError: the pixel lies outside the clip.
    """
    place = ((frame + 3) // 4, row // pixels, column // pixels)
    if any(not 0 <= where < size for where, size in zip(place, grid, strict=True)):
        raise NovaError(f"frame {frame}, pixel ({row}, {column}) lies outside a clip with the token grid {grid}.")
    return (place[0] * grid[1] + place[1]) * grid[2] + place[2]
