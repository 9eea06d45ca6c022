"""A step cache for NOVA: where the first block hardly moves from one step to the next, the rest is not computed anew.

    first = block_0(z) - z                      computed in every step
    rest  = (tokens after the last block) - (tokens after block 0)

When `first` differs from that of the last computed step by less than a threshold (relative L1), its `rest` is added
again, and the VACE blocks, the other main blocks and the dense cross-attentions are skipped. The hints are part of
`rest`: diffusers' FirstBlockCache keeps only what blocks return, and Wan's VACE adds hints between blocks, so there a
skipped step adds them twice (same input, other output; a test shows it).

Source: the criterion is ParaAttention's first-block cache, as in diffusers; what is kept is ours.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from novakit.errors import NovaError


@dataclass
class StepCache:
    """The last computed step of one edit and one text; a guidance pass needs another.

    Args:
        threshold: largest relative change of the first block's residual at which a step is skipped; 0 = never.

    Attributes:
        computed, skipped: how many forward passes were.
    """

    threshold: float
    computed: int = 0
    skipped: int = 0
    _first: Tensor | None = None  # (B, N, D)
    _rest: Tensor | None = None  # (B, N, D)

    def __post_init__(self) -> None:
        if not self.threshold >= 0:
            raise NovaError(f"step cache threshold is {self.threshold}; pass 0 (never skip) or more, such as 0.05.")

    def recall(self, before: Tensor, after: Tensor) -> Tensor | None:
        """The tokens behind the last block, or None when they have to be computed (and then told to `keep`).

        Args:
            before, after: tokens (B, N, D) before and after block 0.
        """
        first = after - before
        known = self._rest is not None and self._first.shape == first.shape
        if known and (first - self._first).abs().mean() < self.threshold * self._first.abs().mean():
            self.skipped += 1
            return after + self._rest
        self._first, self._rest, self.computed = first, None, self.computed + 1
        return None

    def keep(self, after: Tensor, last: Tensor) -> None:
        """What a computed step found.

        Args:
            after: tokens (B, N, D) after block 0.
            last: tokens behind the last block.
        """
        self._rest = last - after
