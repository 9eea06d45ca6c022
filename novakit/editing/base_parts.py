"""The parts of a base beside its transformer: where they lie, the VAE, and the reader of prompts.

Source: ours, around diffusers' loaders; VAE precision as public measurements advise (encode float32, decode bfloat16).
"""

import re
from pathlib import Path

import torch
from torch import nn

from novakit.editing.hub import cached_folder
from novakit.editing.inputs import notice
from novakit.editing.prompt_reader import PromptReader
from novakit.errors import NovaError
from novakit.models.weights_base import check_config
from novakit.models.weights_files import (
    check_finite,
    compare_shapes,
    expected_shapes,
    first_line,
    read_json,
    read_shapes,
    weight_files,
)
from novakit.models.weights_original import check_original, load_original
from novakit.presets import Preset

MEASURED = ("latents_mean", "latents_std")  # in a VAE's config, but known only once it has been trained
VAE_NAME = re.compile(r"wan[\W_]*2[\W_]*1[\W_]*vae.*\.safetensors", re.IGNORECASE)  # as Wan2.1_VAE.safetensors


def places_of(base: Path, preset: Preset) -> list[Path]:
    """Folders where the parts may lie: the base's own, then the published one in the hub's cache.

    Args:
        base: folder or file of `find_base`; of a diffusers folder also its transformer/, or the file in there.
        preset: whose `weights` are the published ones.
    """
    own, published = base if base.is_dir() else base.parent, cached_folder(preset.weights)
    own = own.parent if own.name == "transformer" else own
    return [own] if published in (None, own) else [own, published]


def part_command(preset: Preset, *parts: str) -> str:
    """The command that fetches some parts of the published base."""
    return f"hf download {preset.weights} " + " ".join(f"--include '{part}/*'" for part in parts)


def load_vae(places: list[Path], preset: Preset, dtype: torch.dtype) -> nn.Module:
    """The VAE, first found: `vae/` as diffusers has it, or a safetensors file under Wan's own names.

    Args:
        places: folders to look in; for shipped weights the preset's folder inside the package.
        preset: its `vae` is the config that the VAE must have, but for mean and std of one that ships.
        dtype: precision of the decoder; the encoder is float32.

    Raises:
        NovaError: none there, only a pickle, damaged, or another VAE.
    """
    from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan as Kind

    shipped = preset.weights == "shipped"
    fetch = f"Fetch it with `{part_command(preset, 'vae')}` (0.5 GB or less)."
    advice = "It ships with novakit: install it again." if shipped else fetch
    for folder in places:
        if (folder / "vae").is_dir():
            return decode_in(_vae_of_folder(Kind, folder / "vae", preset, advice), dtype)
        for file in sorted(file for file in folder.glob("*.safetensors") if VAE_NAME.fullmatch(file.name)):
            check_original(Kind, [file], read_shapes([file], advice), preset.vae, advice)
            vae = load_original(Kind, [file], preset.vae, advice)
            check_finite(vae.named_parameters(), file, advice)
            return decode_in(vae, dtype)
    pickled = next((file for folder in places for file in folder.glob("*VAE*.pth")), None)
    why = f" ({pickled.name} is a pickle, which may run code when read: it is never opened)" if pickled else ""
    raise NovaError(f"no VAE in {places[0]}: neither vae/ nor Wan2.1_VAE.safetensors{why}. {advice}")


def _vae_of_folder(kind: type, folder: Path, preset: Preset, advice: str) -> nn.Module:
    files, config = weight_files(folder, advice), read_json(folder / "config.json", advice)
    measured = MEASURED if preset.weights == "shipped" else ()
    check_config(config, {key: value for key, value in preset.vae.items() if key not in measured}, folder)
    expected = expected_shapes(kind, config, folder / "config.json", advice)
    compare_shapes(expected, read_shapes(files, advice), files[0], advice)
    try:
        vae = kind.from_pretrained(str(folder), dtype=torch.float32, use_safetensors=True, local_files_only=True)
    except Exception as error:  # OSError, JSON and safetensors errors have no common class
        raise NovaError(f"the VAE in {folder} cannot be read: {first_line(error)}. {advice}") from error
    check_finite(vae.named_parameters(), files[0], advice)
    return vae.eval()


def decode_in(vae: nn.Module, dtype: torch.dtype) -> nn.Module:
    """Let a float32 VAE decode in another precision, in place: encoding in bfloat16 loses detail, decoding does not.

    Everything behind the latent is cast, and the latent is on its way in.
    """
    for part in (vae.post_quant_conv, vae.decoder):
        part.to(dtype)
    vae.post_quant_conv.register_forward_pre_hook(lambda _, given: tuple(latents.to(dtype) for latents in given))
    return vae


def find_prompts(places: list[Path], preset: Preset, dtype: torch.dtype) -> PromptReader | None:
    """The reader of prompts, whose encoder is not loaded yet; None, with a notice, where there is no text encoder."""
    for folder in places:
        if (folder / "text_encoder").is_dir() and (folder / "tokenizer").is_dir():
            return PromptReader(folder, dtype)
    notice(
        f"{places[0]} has no text_encoder/ and tokenizer/: no prompt is read, a null token stands in, "
        "which the base never saw in training. Fetch them with "
        f"`{part_command(preset, 'text_encoder', 'tokenizer')}`."
    )
    return None
