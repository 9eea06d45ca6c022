"""A shallow replica whose features are added: the control branch of Senorita-2M's editor on our base.

NOVA's dense branch is a full frozen replica that main tokens *query*. Senorita-2M's is a ControlNet: a copy of the
first 6 of 42 blocks learns, reads the source, and each copied block's output is *added* to 7 main layers through
linear layers that start at zero. Here 2 of 8 blocks are copied and each serves 4 main layers.

Kept: shallow learning copy, zero-initialised additions at every main layer, frozen main branch.
Left out: the copy's own patch embedding (source and noisy latents live in one latent space here), and the timestep
that the ControlNet reads (the source is clean: timestep 0, so that its features are computed once per edit).
Source: Senorita-2M (`controlnet_cogvideox_transformer_3d.py`); the form on this base is ours.
"""

import copy

import torch
from torch import Tensor, nn

from novakit.errors import NovaError
from novakit.models.base_walk import Embedded, embed
from novakit.models.build import learn_only
from novakit.models.nova_transformer import NovaTransformer3DModel


class ShallowReplicaTransformer(NovaTransformer3DModel):
    """The base with a sparse branch (VACE) and a shallow learning replica that is added to every layer.

    Args:
        base_config: config of WanVACETransformer3DModel.
        depth: number of copied blocks; block l * depth // layers serves main layer l.

    Raises:
        NovaError: a depth that the base does not have.
    """

    def __init__(self, base_config: dict, depth: int = 2) -> None:
        super().__init__(base_config=base_config, dense_injection="add")
        count = self.base.config.num_layers
        if not 1 <= depth <= count:
            raise NovaError(f"depth is {depth}; the base has {count} blocks. Pass 1 to {count}.")
        self.copied_blocks = nn.ModuleList(copy.deepcopy(block) for block in self.base.blocks[:depth])

    def copy_from_base(self) -> None:
        """Make the replica equal to the base's first blocks again, after the base got its weights."""
        for copied, block in zip(self.copied_blocks, self.base.blocks, strict=False):
            copied.load_state_dict(block.state_dict())

    def learn(self) -> None:
        """The additions and the copied blocks learn; the base is frozen."""
        learn_only(self, "dense")
        self.copied_blocks.requires_grad_(True)

    def _read_source(self, latents: Tensor, timestep: Tensor, text: Tensor) -> tuple[list[Tensor], Embedded]:
        """Features (B, N, D) for every main layer: each copied block's output serves several of them."""
        with torch.no_grad():
            source = embed(self.base, latents, timestep, text)
        tokens, outputs = source.tokens, []
        for block in self.copied_blocks:
            tokens = self._run(block, tokens, source.text, source.modulation, source.rotary)
            outputs.append(tokens)
        layers = self.base.config.num_layers
        return [outputs[layer * len(outputs) // layers] for layer in range(layers)], source
