"""Presets: the two named sizes of NOVA, as pure data. Nothing here builds a model or imports torch.

`nano` runs on a laptop CPU with weights that ship inside the package (ours); `wan-1.3b` is the paper's size,
built on the published Wan 2.1 VACE 1.3B. Both use the same classes: `novakit.models.build_vae` and
`build_transformer` turn a preset into models, `NovaEditPipeline.from_preset` into a pipeline with weights.
"""

from dataclasses import dataclass, field
from typing import Any

from novakit.errors import NovaError


@dataclass(frozen=True)
class Preset:
    """A named size.

    Source: the field values say for themselves whether they are the paper's, the official release's or ours.
    """

    name: str  # what the user types
    num_frames: int  # T of the clips it was trained on, 4k+1 (frames)
    height: int  # default H (pixels)
    width: int  # default W (pixels)
    sizes: tuple[tuple[int, int], ...]  # allowed (H, W), the first one is the default
    interval: int  # default keyframe interval (frames)
    steps: int  # default denoising steps
    flow_shift: float  # flow-matching time shift: sigma -> shift*sigma / (1 + (shift-1)*sigma)
    vae: dict[str, Any]  # config of diffusers' AutoencoderKLWan
    transformer: dict[str, Any]  # config of diffusers' WanVACETransformer3DModel (the base)
    dense: dict[str, Any] = field(default_factory=dict)  # options of the dense branch
    weights: str = "shipped"  # "shipped" inside the package, or a hub id
    text: bool = False  # True when prompts are read by a text encoder; False: one null token
    download_gb: float = 0.0  # size of the base weights to fetch (GB), 0 when shipped


# Dense branch as the paper draws it: a term at every layer (None), full attention (None), source at timestep
# 0 (ours: makes the keys and values independent of the denoising step), main tokens *query* the dense
# features.
DENSE = {"dense_layers": None, "dense_window": None, "dense_timestep": "zero", "dense_injection": "query"}

NANO = Preset(
    name="nano",
    num_frames=33,
    height=64,
    width=96,
    sizes=((64, 96), (96, 64), (80, 80)),
    interval=8,
    steps=4,
    flow_shift=3.0,
    vae={
        # The Wan 2.2 recipe (pixel-unshuffle by 2, residual down/up blocks, 48 channels), made narrow: 8x in
        # space, 4x in time. latents_mean and latents_std are measured in training and live in the weights'
        # own config.
        "base_dim": 24,
        "decoder_base_dim": 32,
        "z_dim": 48,
        # The last two agree: the residual VAE's shortcut cannot widen without downsampling.
        "dim_mult": [1, 2, 2],
        "num_res_blocks": 1,
        "temperal_downsample": [True, True],
        "is_residual": True,
        "in_channels": 12,
        "out_channels": 12,
        "patch_size": 2,
        "scale_factor_spatial": 8,
        "scale_factor_temporal": 4,
        "latents_mean": [0.0] * 48,
        "latents_std": [1.0] * 48,
    },
    transformer={
        "patch_size": [1, 1, 1],
        "num_attention_heads": 5,
        "attention_head_dim": 32,
        "in_channels": 48,
        "out_channels": 48,
        "text_dim": 32,
        "freq_dim": 64,
        "ffn_dim": 480,
        "num_layers": 8,
        "cross_attn_norm": True,
        "qk_norm": "rms_norm_across_heads",
        "rope_max_seq_len": 64,
        "vace_layers": [0, 2, 4, 6],
        "vace_in_channels": 2 * 48 + 8 * 8,
    },
    dense=DENSE,
)

WAN_1_3B = Preset(
    name="wan-1.3b",
    num_frames=81,  # paper
    height=480,  # paper: 832x480
    width=832,
    sizes=((480, 832), (832, 480)),
    interval=10,  # paper
    steps=50,  # official release
    flow_shift=3.0,  # diffusers' VACE conversion, for 480p (the official release and DiffSynth use 5)
    vae={  # AutoencoderKLWan's own defaults, which are Wan 2.1's; its mean and std too
        "base_dim": 96,
        "z_dim": 16,
        "dim_mult": [1, 2, 4, 4],
        "num_res_blocks": 2,
        "temperal_downsample": [False, True, True],
    },
    transformer={  # the published Wan-AI/Wan2.1-VACE-1.3B-diffusers config
        "patch_size": [1, 2, 2],
        "num_attention_heads": 12,
        "attention_head_dim": 128,
        "in_channels": 16,
        "out_channels": 16,
        "text_dim": 4096,
        "freq_dim": 256,
        "ffn_dim": 8960,
        "num_layers": 30,
        "cross_attn_norm": True,
        "qk_norm": "rms_norm_across_heads",
        "eps": 1e-6,
        "rope_max_seq_len": 1024,
        "vace_layers": list(range(0, 30, 2)),
        "vace_in_channels": 2 * 16 + 8 * 8,
    },
    dense=DENSE,
    weights="Wan-AI/Wan2.1-VACE-1.3B-diffusers",
    text=True,
)

PRESETS: dict[str, Preset] = {preset.name: preset for preset in (NANO, WAN_1_3B)}


def get_preset(name: str | Preset) -> Preset:
    """The preset called `name` (a Preset passes through unchanged).

    Raises:
        NovaError: no preset has that name; the message lists those that exist.
    """
    if isinstance(name, Preset):
        return name
    if name not in PRESETS:
        known = ", ".join(PRESETS)
        raise NovaError(f"preset {name!r} does not exist; the presets are: {known}. Pass one of these names.")
    return PRESETS[name]
