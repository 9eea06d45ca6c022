"""NovaTransformer3DModel: eq. 1 of the paper around diffusers' Wan VACE transformer.

    z_m <- z_m + S^(l)(z_m, r) + D^(l)(z_m, z_d^(l))

The base (main branch and VACE blocks) is diffusers' own module; NOVA walks its blocks and adds the dense branch.
Ours: S^(l) is VACE's hint (computed from the initial tokens, at `vace_layers`), D^(l) reads block l's output before
the hint is added, then both are added.
"""

import copy
import inspect
from collections.abc import Iterator
from pathlib import Path

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.attention import AttentionMixin
from diffusers.models.modeling_outputs import Transformer2DModelOutput
from diffusers.models.modeling_utils import ModelMixin
from diffusers.models.transformers.transformer_wan_vace import WanVACETransformer3DModel
from torch import Tensor, nn

from novakit.errors import NovaError
from novakit.models.attention_maps import AttentionRequest
from novakit.models.base_walk import Embedded, embed, unpatchify, vace_hints
from novakit.models.dense_branch import DenseBranch, DenseCache, dense_features
from novakit.models.step_cache import StepCache

DENSE_TIMESTEPS = ("zero", "shared")


class NovaTransformer3DModel(ModelMixin, ConfigMixin, AttentionMixin):
    """NOVA: the base with a sparse branch (VACE) and a dense branch (replica + cross-attention).

    Args:
        base_config: of WanVACETransformer3DModel (diffusers would read an entry `base` in place of the submodule).
        dense_layers: layers with a dense cross-attention; None = all (paper).
        dense_window: None = full attention; n = own latent frame +- n.
        dense_timestep: "zero" = the replica reads the source at timestep 0 (cacheable, ours); "shared" = at the
            timestep of the denoising step (recomputed every step, for the ablation).
        dense_injection: "query" = cross-attention (paper); "add" = plain addition (the experiment of claim C6).

    Raises:
        NovaError: an unknown config key or value.
    """

    _supports_gradient_checkpointing = True
    # An outer ModelMixin does not inherit these from its submodule; the last two norms are the dense branch's own.
    _keep_in_fp32_modules = [*WanVACETransformer3DModel._keep_in_fp32_modules, "norm_query", "norm_dense"]
    _skip_layerwise_casting_patterns = WanVACETransformer3DModel._skip_layerwise_casting_patterns
    _keys_to_ignore_on_load_unexpected = WanVACETransformer3DModel._keys_to_ignore_on_load_unexpected
    _no_split_modules = [*WanVACETransformer3DModel._no_split_modules, "DenseCrossAttention", "DenseAddition"]
    _repeated_blocks = [*WanVACETransformer3DModel._repeated_blocks, "DenseCrossAttention", "DenseAddition"]

    @register_to_config
    def __init__(
        self,
        base_config: dict,
        dense_layers: list[int] | None = None,
        dense_window: int | None = None,
        dense_timestep: str = "zero",
        dense_injection: str = "query",
    ) -> None:
        super().__init__()
        _check_config(base_config, dense_layers, dense_window, dense_timestep)
        self.base = WanVACETransformer3DModel(**base_config)
        layers = range(self.base.config.num_layers) if dense_layers is None else dense_layers
        self.dense_branch = DenseBranch(self.base.config, list(layers), dense_injection)
        self.gradient_checkpointing = False

    @property
    def replica(self) -> nn.Module:
        """The network that reads the source: the base itself, unless `unshare_replica` was called."""
        return self.__dict__.get("_unshared_replica", self.base)

    def unshare_replica(self) -> None:
        """Walk a deep copy of the base instead of the base (for the test that both give the same numbers).

        The copy is no submodule: it has no parameters here, is not saved and does not move with `.to`.
        """
        self.__dict__["_unshared_replica"] = copy.deepcopy(self.base).requires_grad_(False)

    @property
    def is_nova(self) -> bool:
        """True once a dense cross-attention has learned anything: before, its output projections are zero."""
        return any(bool(linear.weight.any() or linear.bias.any()) for linear in self.dense_branch.output_projections())

    def save_dense(self, path: str | Path) -> Path:
        """Write the dense branch as one safetensors file (`novakit.models.weights.save_dense`)."""
        from novakit.models import weights

        return weights.save_dense(self, path)

    def load_dense(self, path: str | Path) -> "NovaTransformer3DModel":
        """Read a file of `save_dense`; strict (`novakit.models.weights.load_dense`)."""
        from novakit.models import weights

        return weights.load_dense(self, path)

    def encode_source(
        self, source_latents: Tensor, encoder_hidden_states: Tensor, features_only: bool = False
    ) -> DenseCache:
        """Read the source once per edit: K and V of every dense cross-attention.

        Args:
            source_latents: (B, Z, t, h, w), clean and normalised; B may be 1 for a batch of edits of one source.
            encoder_hidden_states: the *empty* prompt (B, L, text_dim).
            features_only: keep the dense features, half as much memory; every step then projects K and V anew
                (at full size 1.5 % more FLOP in a forward). The numbers are the same.

        Raises:
            NovaError: dense_timestep is "shared", whose features change with every step.
        """
        if self.config.dense_timestep != "zero":
            raise NovaError(
                'dense_timestep is "shared": its features change with every step and cannot be cached. '
                "Pass source_latents to forward (use_cache=False in the pipeline), "
                'or build with dense_timestep="zero".'
            )
        timestep = torch.zeros(len(source_latents), device=source_latents.device)
        features, source = self._read_source(source_latents, timestep, encoder_hidden_states)
        kept = {}
        for layer, read in enumerate(features):
            if str(layer) in self.dense_branch:
                kept[layer] = read if features_only else self.dense_branch[str(layer)].project(read, source.rotary)
        return DenseCache(kept, source.grid)

    def _read_source(self, latents: Tensor, timestep: Tensor, text: Tensor) -> tuple[Iterator[Tensor], Embedded]:
        """The replica's walk, one layer's features after the other; no gradients as long as the base is frozen."""
        learns = torch.is_grad_enabled() and any(p.requires_grad for p in self.replica.parameters())
        with torch.set_grad_enabled(learns):
            source = embed(self.replica, latents, timestep, text)
        last = max(int(layer) for layer in self.dense_branch)
        return dense_features(self.replica, source, last, learns), source

    def forward(
        self,
        hidden_states: Tensor,
        timestep: Tensor,
        encoder_hidden_states: Tensor,
        control_hidden_states: Tensor | None = None,
        source_latents: Tensor | None = None,
        dense_cache: DenseCache | None = None,
        sparse_scale: float | list[float] = 1.0,
        dense_scale: float = 1.0,
        empty_hidden_states: Tensor | None = None,
        attention_request: AttentionRequest | None = None,
        step_cache: StepCache | None = None,
        return_dict: bool = True,
    ) -> Transformer2DModelOutput | tuple[Tensor]:
        """Predict the velocity v = noise - latents.

        Args:
            hidden_states: noisy latents (B, Z, t, h, w).
            timestep: (B,) in [0, 1000].
            encoder_hidden_states: text (B, L, text_dim).
            control_hidden_states: VACE context of `prepare_control`; None switches the sparse branch off.
            source_latents: clean latents of the source, read anew by the replica (training, ablations).
            dense_cache: what `encode_source` returned; neither of the two = dense branch off.
            sparse_scale: factor of all hints, or one per VACE layer; 0 skips the VACE blocks.
            dense_scale: factor of the dense terms; 0 skips them.
            empty_hidden_states: the empty prompt, for `source_latents` when the main branch reads another one.
            attention_request: filled with attention maps when given.
            step_cache: skips most of the pass where its first block hardly changed since an earlier step.
            return_dict: as in diffusers.

        Returns:
            velocity (B, Z, t, h, w), as `.sample` or in a tuple.

        Raises:
            NovaError: shapes that do not go together.
        """
        main = embed(self.base, hidden_states, timestep, encoder_hidden_states)
        tokens = self._run(self.base.blocks[0], main.tokens, main.text, main.modulation, main.rotary)
        recalled = step_cache.recall(main.tokens, tokens) if step_cache else None
        if recalled is not None:
            return self._velocity(recalled, main, return_dict)
        first = tokens if step_cache else None
        hints = self._hints(main, control_hidden_states, sparse_scale)
        text = encoder_hidden_states if empty_hidden_states is None else empty_hidden_states
        dense = self._dense_inputs(main, timestep, text, source_latents, dense_cache, dense_scale)
        for layer, block in enumerate(self.base.blocks):
            if layer:
                tokens = self._run(block, tokens, main.text, main.modulation, main.rotary)
            read = None
            if layer in dense:  # D^(l) reads block l's output before the hint is added
                read = self._run(self._dense_term, layer, tokens, dense[layer], main, attention_request)
            if layer in hints:
                tokens = tokens + hints[layer]
            if read is not None:
                tokens = tokens + read * dense_scale
        if step_cache:
            step_cache.keep(first, tokens)
        return self._velocity(tokens, main, return_dict)

    def _velocity(self, tokens: Tensor, main: Embedded, return_dict: bool) -> Transformer2DModelOutput | tuple[Tensor]:
        velocity = unpatchify(self.base, tokens, main)
        return Transformer2DModelOutput(sample=velocity) if return_dict else (velocity,)

    def _hints(self, main: Embedded, control: Tensor | None, scale: float | list[float]) -> dict[int, Tensor]:
        """Scaled hints S^(l) by layer; empty when the sparse branch is off."""
        layers = self.base.config.vace_layers
        scales = [float(s) for s in scale] if isinstance(scale, list | tuple | Tensor) else [float(scale)] * len(layers)
        if len(scales) != len(layers):
            raise NovaError(
                f"sparse_scale has {len(scales)} values; this base has {len(layers)} VACE layers. "
                "Pass as many, or one number."
            )
        if control is None or not any(scales):
            return {}
        learns = torch.is_grad_enabled() and (
            main.tokens.requires_grad or any(p.requires_grad for p in self.base.vace_blocks.parameters())
        )
        with torch.set_grad_enabled(learns):
            hints = vace_hints(self.base, main, control, self._run)
        return {layer: hint * factor for layer, hint, factor in zip(layers, hints, scales, strict=True)}

    def _dense_inputs(self, main, timestep, text, source_latents, cache, scale) -> dict:
        """What each dense cross-attention reads, by layer: raw features (tensor) or cached K, V (tuple)."""
        if not scale or (source_latents is None and cache is None):
            return {}
        if cache is None:
            shared = self.config.dense_timestep == "shared"
            when = timestep if shared else torch.zeros(len(source_latents), device=source_latents.device)
            features, source = self._read_source(source_latents, when, text)
            grid, inputs = source.grid, {n: read for n, read in enumerate(features) if str(n) in self.dense_branch}
        else:
            grid, inputs = cache.grid, cache.layers
        if tuple(grid) != tuple(main.grid):
            raise NovaError(
                f"the source has the token grid {tuple(grid)}, the clip to denoise {tuple(main.grid)}; "
                "they must be of one length and size. Encode a source of the same size."
            )
        return inputs

    def _dense_term(
        self, layer: int, tokens: Tensor, given, main: Embedded, request: AttentionRequest | None
    ) -> Tensor:
        """D^(l)(z_m, z_d^(l)); K and V without a cache are projected here, where checkpointing sees it."""
        part = self.dense_branch[str(layer)]
        keys_values = part.project(given, main.rotary) if isinstance(given, Tensor) else given
        return part(tokens, keys_values, main.rotary, main.grid, self.config.dense_window, request, layer)

    def _run(self, function, *inputs):
        """Call, with gradient checkpointing when it is on and gradients are recorded."""
        if self.gradient_checkpointing and torch.is_grad_enabled():
            return self._gradient_checkpointing_func(function, *inputs)
        return function(*inputs)


def _check_config(base: dict, layers: list[int] | None, window: int | None, timestep: str) -> None:
    """Refuse unknown keys and values before diffusers meets them."""
    known = set(inspect.signature(WanVACETransformer3DModel.__init__).parameters) - {"self"}
    unknown = sorted(key for key in set(base) - known if not key.startswith("_"))
    if unknown:
        raise NovaError(f"base config has unknown keys {unknown}; known: {', '.join(sorted(known))}.")
    if timestep not in DENSE_TIMESTEPS:
        raise NovaError(f"dense_timestep {timestep!r} does not exist; pass one of {', '.join(DENSE_TIMESTEPS)}.")
    if window is not None and window < 0:
        raise NovaError(f"dense_window is {window}; pass None (full attention) or a number of latent frames >= 0.")
    count = base.get("num_layers", 40)
    if layers is not None and (not layers or any(not 0 <= layer < count for layer in layers)):
        raise NovaError(f"dense_layers is {layers}; pass None (all) or layers between 0 and {count - 1}.")
