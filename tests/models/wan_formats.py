"""Tiny bases in the published formats: a diffusers folder, and files under Wan's own names.

The names are spelled out from the structure of Wan's code (model.py, vace_model.py, vae.py); diffusers' converter then
says which tensor each of them is, so that a name it does not know would leave a tensor over.
"""

from dataclasses import replace
from pathlib import Path

import torch
from diffusers.loaders.single_file_utils import convert_wan_transformer_to_diffusers, convert_wan_vae_to_diffusers
from nova_tiny import BASE, tiny_nova
from safetensors.torch import save_file
from torch import nn

from novakit.presets import Preset, get_preset

VAE = {
    "base_dim": 2,
    "z_dim": 4,
    "dim_mult": [1, 2, 4, 4],
    "num_res_blocks": 2,
    "temperal_downsample": [False, True, True],
    "latents_mean": [0.1, -0.2, 0.3, 0.0],
    "latents_std": [0.5, 1.5, 1.0, 2.0],
}


def tiny_preset() -> Preset:
    """wan-1.3b with tiny models."""
    return replace(get_preset("wan-1.3b"), transformer=dict(BASE), vae=dict(VAE))


def tiny_wan_vae(seed: int = 0) -> nn.Module:
    """A VAE of Wan 2.1's structure."""
    from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan

    torch.manual_seed(seed)
    return AutoencoderKLWan(**VAE).eval()


def diffusers_folder(folder: Path, seed: int = 0) -> Path:
    """transformer/ and vae/ as save_pretrained writes them."""
    tiny_nova(seed).base.save_pretrained(folder / "transformer")
    tiny_wan_vae(seed).save_pretrained(folder / "vae")
    return folder


def original_folder(folder: Path, seed: int = 0) -> Path:
    """The same weights as in Wan's own release, with its VAE as safetensors."""
    folder.mkdir(parents=True)
    base = tiny_nova(seed).base
    tensors = under_wan_names(base.state_dict(), transformer_names(BASE), convert_wan_transformer_to_diffusers)
    save_file(tensors, str(folder / "diffusion_pytorch_model.safetensors"))
    (folder / "config.json").write_text('{"_class_name": "VaceWanModel", "_diffusers_version": "0.30.0", "dim": 24}')
    vae = tiny_wan_vae(seed).state_dict()
    save_file(
        under_wan_names(vae, vae_names(VAE), convert_wan_vae_to_diffusers), str(folder / "Wan2.1_VAE.safetensors")
    )
    return folder


def under_wan_names(state: dict, names: list[str], convert) -> dict[str, torch.Tensor]:
    """A state dict of diffusers under Wan's names; every tensor must find its place."""
    placed = {name: next(iter(convert({name: torch.empty(1)}))) for name in names}
    assert sorted(placed.values()) == sorted(state), set(placed.values()) ^ set(state)
    return {name: state[other].clone().contiguous() for name, other in placed.items()}


def _both(*stems: str) -> list[str]:
    return [f"{stem}.{kind}" for stem in stems for kind in ("weight", "bias")]


def _block(stem: str) -> list[str]:
    names = [f"{stem}.modulation", *_both(f"{stem}.norm3", f"{stem}.ffn.0", f"{stem}.ffn.2")]
    for attention in ("self_attn", "cross_attn"):
        names += _both(*(f"{stem}.{attention}.{letter}" for letter in "qkvo"))
        names += [f"{stem}.{attention}.norm_q.weight", f"{stem}.{attention}.norm_k.weight"]
    return names


def transformer_names(config: dict) -> list[str]:
    """Names of VaceWanModel's tensors."""
    stems = ("text_embedding.0", "text_embedding.2", "time_embedding.0", "time_embedding.2", "time_projection.1")
    names = _both("patch_embedding", "vace_patch_embedding", "head.head", *stems) + ["head.modulation"]
    for layer in range(config["num_layers"]):
        names += _block(f"blocks.{layer}")
    for number in range(len(config["vace_layers"])):
        names += _block(f"vace_blocks.{number}") + _both(f"vace_blocks.{number}.after_proj")
    return names + _both("vace_blocks.0.before_proj")


def _residual(stem: str, wide: bool = False) -> list[str]:
    names = [f"{stem}.residual.0.gamma", f"{stem}.residual.3.gamma"]
    return names + _both(f"{stem}.residual.2", f"{stem}.residual.6", *([f"{stem}.shortcut"] if wide else []))


def vae_names(config: dict) -> list[str]:
    """Names of WanVAE's tensors."""
    names = _both("conv1", "conv2", "encoder.conv1", "decoder.conv1", "encoder.head.2", "decoder.head.2")
    for half in ("encoder", "decoder"):
        names += [f"{half}.head.0.gamma", f"{half}.middle.1.norm.gamma"]
        names += _both(f"{half}.middle.1.to_qkv", f"{half}.middle.1.proj")
        names += _residual(f"{half}.middle.0") + _residual(f"{half}.middle.2")
    widths, times, count = config["dim_mult"], config["temperal_downsample"], config["num_res_blocks"]
    down = list(zip([1, *widths[:-1]], widths, strict=True))
    names += _levels("encoder.downsamples", down, times, count)
    up = list(zip([widths[-1], *widths[::-1][:-1]], widths[::-1], strict=True))
    halved = [(inner // 2 if level else inner, outer) for level, (inner, outer) in enumerate(up)]
    return names + _levels("decoder.upsamples", halved, times[::-1], count + 1)


def _levels(stem: str, widths: list[tuple[int, int]], times: list[bool], count: int) -> list[str]:
    names, number = [], 0
    for level, (inner, outer) in enumerate(widths):
        for each in range(count):
            names += _residual(f"{stem}.{number}", wide=each == 0 and inner != outer)
            number += 1
        if level < len(widths) - 1:
            names += _both(f"{stem}.{number}.resample.1", *([f"{stem}.{number}.time_conv"] if times[level] else []))
            number += 1
    return names
