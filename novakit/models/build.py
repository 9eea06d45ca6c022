"""From a preset to models with random weights, and the ways of setting them up before training."""

from torch import nn

from novakit.errors import NovaError
from novakit.models.nova_transformer import NovaTransformer3DModel
from novakit.presets import Preset, get_preset


def build_vae(preset: str | Preset = "nano") -> nn.Module:
    """AutoencoderKLWan of a preset, randomly initialised."""
    from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan

    return AutoencoderKLWan(**get_preset(preset).vae)


def build_transformer(preset: str | Preset = "nano", **dense) -> NovaTransformer3DModel:
    """NOVA of a preset, randomly initialised (its base as diffusers initialises it, its dense branch with W_o
    = 0).

    Args:
        preset: name or Preset.
        **dense: options that replace the preset's, e.g. `dense_window=0`.
    """
    preset = get_preset(preset)
    return NovaTransformer3DModel(base_config=dict(preset.transformer), **{**preset.dense, **dense})


def build_scheduler(preset: str | Preset = "nano"):
    """FlowMatchEulerDiscreteScheduler with the preset's shift."""
    from diffusers.schedulers.scheduling_flow_match_euler_discrete import FlowMatchEulerDiscreteScheduler

    return FlowMatchEulerDiscreteScheduler(num_train_timesteps=1000, shift=get_preset(preset).flow_shift)


def learn_only(model: NovaTransformer3DModel, part: str) -> list[nn.Parameter]:
    """Freeze everything but one part of the model; returns the parameters that learn.

    Args:
        part: "dense" = the dense cross-attention (NOVA's training, as in the paper); "main" = the DiT, "sparse" =
            the VACE blocks (the two stages in which the nano base begins, as VACE itself was made), "base" = both.

    Raises:
        NovaError: another part.
    """
    sparse = [*model.base.vace_blocks.parameters(), *model.base.vace_patch_embedding.parameters()]
    parts = {"dense": list(model.dense_branch.parameters()), "sparse": sparse, "base": list(model.base.parameters())}
    chosen = {id(weight) for weight in sparse}
    parts["main"] = [weight for weight in model.base.parameters() if id(weight) not in chosen]
    if part not in parts:
        raise NovaError(f"the model has no part {part!r} to learn; pass one of {', '.join(sorted(parts))}.")
    model.requires_grad_(False)
    for weight in parts[part]:
        weight.requires_grad_(True)
    return parts[part]


def freeze_base(model: NovaTransformer3DModel) -> list[nn.Parameter]:
    """Only the dense cross-attention learns, as in the paper. Returns the parameters that do."""
    return learn_only(model, "dense")


def zero_init_hints(base: nn.Module) -> None:
    """Zero the output projection of every VACE block and the input projection of the first, in place.

    The original Wan VACE does so (before_proj, after_proj); diffusers leaves them random, so that a fresh
    model would inject noise. For pretraining from scratch: the VACE blocks then start as no change to the
    DiT.
    """
    for block in base.vace_blocks:
        for linear in (block.proj_in, block.proj_out):
            if linear is not None:
                nn.init.zeros_(linear.weight)
                nn.init.zeros_(linear.bias)


def init_vace_from_main(base: nn.Module) -> None:
    """Copy main block `vace_layers[i]` into VACE block i, in place, as VACE itself was made from a trained
    DiT.

    The VACE block has the main block's parameters under the same names, plus `proj_in` and `proj_out`, which
    stay.
    """
    for layer, block in zip(base.config.vace_layers, base.vace_blocks, strict=True):
        missing, unexpected = block.load_state_dict(base.blocks[layer].state_dict(), strict=False)
        if unexpected or any(not name.startswith("proj_") for name in missing):
            raise RuntimeError(f"VACE block and main block differ: missing {missing}, unexpected {unexpected}")
