"""The dense branch D: the replica's features of the source, and the cross-attention that queries them.

At every layer l of the main branch (eq. 1 of the paper)
    z_m <- z_m + S^(l)(z_m, r) + D^(l)(z_m, z_d^(l)),
    D^(l)(z_m, z_d) = W_o softmax(Q K^T / sqrt(d)) V,   Q = W_q LN(z_m),  K = W_k LN(z_d),  V = W_v LN(z_d),
where z_d^(l) is the output of block l of a frozen replica of the DiT that reads the clean source latents.
QK-norm and RoPE are Wan's own; W_o starts at zero, so that an untrained NOVA is its base.
Source: paper section 3 for the branch; ours: timestep 0 and the empty prompt for the replica, no gate, no timestep
modulation on K and V (both make K and V constant over an edit: they are computed once), frame-local windows.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from diffusers.models.attention_dispatch import dispatch_attention_fn
from diffusers.models.normalization import FP32LayerNorm
from diffusers.models.transformers.transformer_wan import WanAttention, WanAttnProcessor
from torch import Tensor, nn

from novakit.errors import NovaError
from novakit.models.attention_maps import AttentionRequest
from novakit.models.base_walk import Embedded

KeysValues = tuple[Tensor | None, Tensor]


@dataclass(frozen=True)
class DenseCache:
    """What every dense cross-attention reads, computed once per edit and read by every denoising step.

    Of each layer either K and V, each (B, N, heads, head dim) with K = None for "add"; or the dense features
    (B, N, D), half as large, from which every step projects K and V anew.
    """

    layers: dict[int, KeysValues | Tensor]
    grid: tuple[int, int, int]  # source tokens along time, height, width

    def to(self, *args, **kwargs) -> "DenseCache":
        """The same cache on another device or in another dtype, as `Tensor.to`."""

        def move(part):
            if isinstance(part, tuple):
                return tuple(move(half) for half in part)
            return None if part is None else part.to(*args, **kwargs)

        return DenseCache({layer: move(part) for layer, part in self.layers.items()}, self.grid)

    @property
    def num_bytes(self) -> int:
        """Memory of the cache in bytes (full size in bfloat16: about 6 GB, with features only 3)."""
        parts = (given if isinstance(given, tuple) else (given,) for given in self.layers.values())
        return sum(part.nbytes for pair in parts for part in pair if part is not None)


def apply_rotary(vectors: Tensor, rotary: tuple[Tensor, Tensor]) -> Tensor:
    """Rotate pairs of channels by the token's position: RoPE exactly as Wan's attention processor does it.

    Args:
        vectors: queries or keys (B, N, heads, head dim).
        rotary: cos and sin from the base's `rope`, each (1, N, 1, head dim).
    """
    first, second = vectors.unflatten(-1, (-1, 2)).unbind(-1)  # (B, N, heads, head dim / 2)
    cos, sin = rotary[0][..., 0::2], rotary[1][..., 1::2]
    turned = torch.stack([first * cos - second * sin, first * sin + second * cos], dim=-1)
    return turned.flatten(-2).type_as(vectors)  # (B, N, heads, head dim)


def attend(query: Tensor, key: Tensor, value: Tensor, grid: tuple[int, int, int], window: int | None, backend=None):
    """Attention of main tokens to dense tokens, full or frame-local.

    Args:
        query, key, value: (B, N, heads, head dim), N = t*h*w in time-major order.
        grid: (t, h, w).
        window: None = every token sees the whole source; n = a token of latent frame j sees frames j-n ..
            j+n. n = 0 is a reshape to frames and plain attention: t times fewer multiplications.

    Returns:
        (B, N, heads, head dim).
    """
    frames = grid[0]
    if window is None or window >= frames - 1:
        return dispatch_attention_fn(query, key, value, backend=backend)
    query, key, value = (part.unflatten(1, (frames, -1)) for part in (query, key, value))  # (B, t, h*w, heads, d)
    if window == 0:
        folded = (part.flatten(0, 1) for part in (query, key, value))  # (B*t, h*w, heads, d)
        return dispatch_attention_fn(*folded, backend=backend).unflatten(0, (-1, frames)).flatten(1, 2)
    read = []
    for frame in range(frames):
        near = slice(max(0, frame - window), frame + window + 1)
        parts = (query[:, frame], key[:, near].flatten(1, 2), value[:, near].flatten(1, 2))
        read.append(dispatch_attention_fn(*parts, backend=backend))  # (B, h*w, heads, d)
    return torch.cat(read, dim=1)  # (B, N, heads, d)


class DenseCrossAttention(nn.Module):
    """D^(l) of one layer: main tokens *query* dense features (dense_injection="query", the paper's way)."""

    def __init__(self, dim: int, heads: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.norm_query = FP32LayerNorm(dim, eps, elementwise_affine=True)
        self.norm_dense = FP32LayerNorm(dim, eps, elementwise_affine=True)
        self.attn = WanAttention(
            dim, heads, dim // heads, eps, cross_attention_dim_head=dim // heads, processor=WanAttnProcessor()
        )
        _zero(self.attn.to_out[0])

    def project(self, dense_features: Tensor, rotary: tuple[Tensor, Tensor]) -> KeysValues:
        """Keys (QK-norm, RoPE) and values of dense features (B, N, D); each (B, N, heads, head dim)."""
        dense = self.norm_dense(dense_features)
        heads = (self.attn.heads, -1)
        key = self.attn.norm_k(self.attn.to_k(dense)).unflatten(2, heads)  # (B, N, heads, d)
        value = self.attn.to_v(dense).unflatten(2, heads)
        return apply_rotary(key, rotary).type_as(value), value

    def forward(
        self,
        tokens: Tensor,
        keys_values: KeysValues,
        rotary: tuple[Tensor, Tensor],
        grid: tuple[int, int, int],
        window: int | None = None,
        request: AttentionRequest | None = None,
        layer: int = 0,
    ) -> Tensor:
        """D^(l)(z_m, z_d).

        Args:
            tokens: main tokens z_m (B, N, D).
            keys_values: K and V of `project`; one source (batch 1) may serve several edits.
            rotary: RoPE of the main tokens.
            grid: (t, h, w), N = t*h*w.
            window: see `attend`.
            request: attention maps to fill, with the number of this `layer`.

        Returns:
            (B, N, D).
        """
        query = self.attn.to_q(self.norm_query(tokens))
        query = apply_rotary(self.attn.norm_q(query).unflatten(2, (self.attn.heads, -1)), rotary)
        key, value = (part.expand(len(tokens), -1, -1, -1) for part in keys_values)
        query = query.type_as(value)
        if request is not None and request.wants(layer):
            request.record(layer, query, key, grid, window)
        read = attend(query, key, value, grid, window, self.attn.processor._attention_backend)
        return self.attn.to_out[0](read.flatten(2, 3))  # (B, N, D)


class DenseAddition(nn.Module):
    """The other way, dense_injection="add": W_o W_v LN(z_d), added token by token.

    For the experiment "adding overrides the edit, querying does not" (the paper says so; this form is ours).
    """

    def __init__(self, dim: int, heads: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.heads = heads
        self.norm_dense = FP32LayerNorm(dim, eps, elementwise_affine=True)
        self.to_v = nn.Linear(dim, dim)
        self.to_out = nn.Linear(dim, dim)
        _zero(self.to_out)

    def project(self, dense_features: Tensor, rotary: tuple[Tensor, Tensor]) -> KeysValues:
        """No keys, and the values W_v LN(z_d) as (B, N, heads, head dim)."""
        return None, self.to_v(self.norm_dense(dense_features)).unflatten(2, (self.heads, -1))

    def forward(self, tokens: Tensor, keys_values: KeysValues, *_unused, **_also_unused) -> Tensor:
        """The source token at the same place, whatever the main token says: (B, N, D)."""
        return self.to_out(keys_values[1].flatten(2, 3)).expand_as(tokens)


def _zero(linear: nn.Linear) -> None:
    nn.init.zeros_(linear.weight)
    nn.init.zeros_(linear.bias)


INJECTIONS = {"query": DenseCrossAttention, "add": DenseAddition}


class DenseBranch(nn.ModuleDict):
    """The learned half of the dense branch: one cross-attention per layer, keyed by the layer's number.

    The other half, the replica, has no weights of its own: it is the base's own blocks, walked a second time.
    """

    def __init__(self, base_config: dict, layers: list[int], injection: str) -> None:
        if injection not in INJECTIONS:
            raise NovaError(f"dense_injection {injection!r} does not exist; pass one of {', '.join(INJECTIONS)}.")
        heads = base_config["num_attention_heads"]
        dim = heads * base_config["attention_head_dim"]
        eps = base_config.get("eps", 1e-6)
        super().__init__({str(layer): INJECTIONS[injection](dim, heads, eps) for layer in layers})

    def output_projections(self) -> list[nn.Linear]:
        """The W_o of every layer: zero before training."""
        return [part.attn.to_out[0] if hasattr(part, "attn") else part.to_out for part in self.values()]


def dense_features(replica: nn.Module, source: Embedded, last_layer: int, learns: bool = False) -> Iterator[Tensor]:
    """z_d^(0) .. z_d^(last): outputs of the replica's blocks on the source, without hints (the plain DiT).

    Yields as it walks: who projects K and V at once need not hold all features (3 GB at full size).

    Args:
        replica: WanVACETransformer3DModel: the base itself (shared weights) or a copy of it.
        source: the embedded source at timestep 0, with the empty prompt.
        last_layer: the walk stops behind this block.
        learns: record gradients of the replica's own weights.

    Yields:
        (B, N, D) per layer.

    Source: paper section 3 (replica of the DiT); timestep 0 and shared weights are ours.
    """
    tokens = source.tokens
    for block in replica.blocks[: last_layer + 1]:
        with torch.set_grad_enabled(learns):  # around one block only: the reader between two has its own mode
            tokens = block(tokens, source.text, source.modulation, source.rotary)
        yield tokens
