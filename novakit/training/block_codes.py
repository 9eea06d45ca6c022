"""What a VAE learns first: the principal components of blocks, the best linear code of a clip of that size.

A latent of the nano VAE stands for 8 x 8 pixels of the first frame, or of four frames behind it: 192 or 768 numbers, of
which 48 are kept. Keeping the 48 directions along which blocks differ most is the best a linear code can do, and the
first nano VAE, trained from nothing, never reached it (25.3 against 26.1 dB inside edited regions, EXPERIMENTS.md): it
used about 35 of its 48 channels. So the encoder learns this code first and the decoder to undo it, each from its own
exact examples; both together only then.

Strong components are scaled down, but not to the variance of the weak ones (fourth root of the variance, half-way): a
diffusion model spends its effort evenly on whatever has unit variance. A fixed rotation then shares them out over the
channels, so that every channel has about unit variance, as the mean and std of Wan's config want it.

Source: ours; principal components of blocks are the classic transform coding (Karhunen-Loeve).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from novakit.errors import NovaError


@dataclass(frozen=True)
class Components:
    """Linear code of one kind of block: numbers of a block -> Z codes, and back."""

    mean: Tensor  # (N,) of the block's numbers
    to_codes: Tensor  # (Z, N)
    to_blocks: Tensor  # (N, Z)


@dataclass(frozen=True)
class BlockCodes:
    """Codes of clips `(B, 3, 4k+1, H, W)`; H and W are multiples of `spatial`.

    Attributes:
        first: of blocks in the first frame, 3 * spatial^2 numbers.
        later: of blocks in four frames, four times as many.
        spatial: edge of a block (pixels).
    """

    first: Components
    later: Components
    spatial: int = 8

    @classmethod
    def fit(cls, clips: Iterable[Tensor], num_codes: int, spatial: int = 8) -> BlockCodes:
        """Principal components of all blocks in batches of clips (B, 3, 4k+1, H, W) in [-1, 1], k >= 1.

        Raises:
            NovaError: no clip, or more codes than a block of the first frame has numbers.
        """
        size = 3 * spatial**2
        if not 1 <= num_codes <= size:
            raise NovaError(
                f"num_codes is {num_codes}; a block of the first frame has {size} numbers, pass 1 to {size}."
            )
        sums = [_Moments(size), _Moments(4 * size)]
        for clip in clips:
            for moments, blocks in zip(sums, _cut(clip, spatial), strict=True):
                moments.add(blocks.movedim(1, -1).flatten(0, -2))
        if not sums[0].count:
            raise NovaError("there is no clip to take components from; pass at least one batch.")
        turn = torch.linalg.qr(torch.randn(num_codes, num_codes, generator=torch.Generator().manual_seed(0)))[0]
        return cls(*(moments.components(turn) for moments in sums), spatial)

    def encode(self, clip: Tensor) -> Tensor:
        """Codes (B, Z, t, h, w) of clips; as a VAE's latents, frame 0 alone and then four frames each."""
        parts = zip(_cut(clip, self.spatial), (self.first, self.later), strict=True)
        coded = (
            torch.einsum("bnthw,zn->bzthw", blocks - kind.mean[:, None, None, None], kind.to_codes)
            for blocks, kind in parts
        )
        return torch.cat(list(coded), dim=2)

    def decode(self, codes: Tensor) -> Tensor:
        """The clips that codes stand for: what of `encode`'s input lies along the kept components."""
        halves = ((codes[:, :, :1], self.first, 1), (codes[:, :, 1:], self.later, 4))
        return torch.cat([_join(part, kind, frames, self.spatial) for part, kind, frames in halves], dim=2)


class _Moments:
    """Count, sum and products of blocks, added up batch by batch in double precision."""

    def __init__(self, size: int) -> None:
        self.count, self.sum, self.products = 0, torch.zeros(size).double(), torch.zeros(size, size).double()

    def add(self, blocks: Tensor) -> None:
        """Blocks (M, N)."""
        blocks = blocks.double().cpu()
        self.count, self.sum = self.count + len(blocks), self.sum + blocks.sum(0)
        self.products += blocks.T @ blocks

    def components(self, turn: Tensor) -> Components:
        """The strongest components, scaled by the fourth root of their variance, of mean variance 1, and turned."""
        mean = self.sum / self.count
        variances, directions = torch.linalg.eigh(self.products / self.count - mean.outer(mean))
        kept = len(turn)
        variances, directions = variances[-kept:].clamp_min(1e-8), directions[:, -kept:]
        scale = variances.pow(0.25) * variances.sqrt().mean().sqrt()  # code = component / scale
        turn = turn.double()
        return Components(
            mean.float(), (turn @ (directions / scale).T).float(), ((directions * scale) @ turn.T).float()
        )


def _cut(clip: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Blocks of the first frame (B, 3*size*size, 1, h, w) and of the others, by four (B, 4*3*size*size, t-1, h, w)."""
    if clip.shape[2] % 4 != 1 or clip.shape[3] % size or clip.shape[4] % size:
        raise NovaError(
            f"clips of shape {list(clip.shape)} cannot be cut into blocks; they need 4k+1 frames, and height and width "
            f"that are multiples of {size}."
        )

    def blocks(part: Tensor, frames: int) -> Tensor:
        split = part.unflatten(4, (-1, size)).unflatten(3, (-1, size)).unflatten(2, (-1, frames))  # B 3 t f h s w s
        return split.permute(0, 1, 3, 5, 7, 2, 4, 6).flatten(1, 4)

    return blocks(clip[:, :, :1], 1), blocks(clip[:, :, 1:], 4)


def _join(codes: Tensor, kind: Components, frames: int, size: int) -> Tensor:
    """The inverse of `_cut` and of the linear code, for one kind of block."""
    blocks = torch.einsum("bzthw,nz->bnthw", codes, kind.to_blocks) + kind.mean[:, None, None, None]
    split = blocks.unflatten(1, (3, frames, size, size)).permute(0, 1, 5, 2, 6, 3, 7, 4)  # B 3 t f h s w s
    return split.flatten(6, 7).flatten(4, 5).flatten(2, 3)
