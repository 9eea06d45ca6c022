"""NOVA's networks: the sparse branch, the dense branch, and the transformer that joins them (eq. 1)."""

from novakit.models.attention_maps import AttentionRequest, token_at
from novakit.models.build import (
    build_scheduler,
    build_transformer,
    build_vae,
    freeze_base,
    init_vace_from_main,
    learn_only,
    zero_init_hints,
)
from novakit.models.dense_branch import DenseCache, DenseCrossAttention
from novakit.models.latents import decode_latents, encode_clip, latent_shape, vae_scale
from novakit.models.nova_transformer import NovaTransformer3DModel
from novakit.models.sparse_branch import prepare_control
from novakit.models.weights import load_base, load_dense, save_dense

__all__ = [
    "AttentionRequest",
    "DenseCache",
    "DenseCrossAttention",
    "NovaTransformer3DModel",
    "build_scheduler",
    "build_transformer",
    "build_vae",
    "decode_latents",
    "encode_clip",
    "freeze_base",
    "init_vace_from_main",
    "latent_shape",
    "learn_only",
    "load_base",
    "load_dense",
    "prepare_control",
    "save_dense",
    "token_at",
    "vae_scale",
    "zero_init_hints",
]
