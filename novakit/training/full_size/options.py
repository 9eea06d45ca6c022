"""From the options of `novakit train` to a Recipe and to the plan of its cost, and the check of memory that follows.

Source: ours.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import Any

import torch

from novakit.errors import NovaError, NovaNotice
from novakit.presets import Preset
from novakit.training.distributed.processes import Processes
from novakit.training.distributed.task import Share
from novakit.training.full_size.gpus import Gpu
from novakit.training.full_size.plan import Plan, plan
from novakit.training.full_size.train import Recipe


def read_recipe(options: dict[str, Any], settings: Sequence[str] = ()) -> Recipe:
    """The recipe that options and "name=value" settings describe.

    Raises:
        NovaError: an unknown name, a value of another kind, an impossible value.
    """
    given = {name: value for name, value in options.items() if value is not None}
    for setting in settings:
        name, equals, text = setting.partition("=")
        if not equals:
            raise NovaError(f"--set {setting} came; wanted name=value, for example --set warmup=500.")
        given[name.strip()] = _value(name.strip(), text.strip())
    recipe = Recipe.from_dict(given)
    recipe.loop(), recipe.noise()
    return recipe


def _value(name: str, text: str) -> Any:
    """`text` as what the field `name` of Recipe holds; unknown names are left to `Recipe.from_dict`."""
    kind = {field.name: str(field.type) for field in fields(Recipe)}.get(name, "str").partition(" ")[0]
    try:
        if kind == "bool":
            return {"true": True, "false": False}[text.lower()]
        return {"int": int, "float": float, "str": str}[kind](text)
    except (KeyError, ValueError):
        raise NovaError(
            f"--set {name}={text} came; {name} wants {'true or false' if kind == 'bool' else kind}."
        ) from None


def plan_run(
    preset: Preset,
    recipe: Recipe,
    gpu: str | Gpu,
    gpus: int,
    price: float | None = None,
    **work: int,
) -> Plan:
    """The plan of a recipe on `gpus` devices.

    Args:
        preset: network.
        recipe: what `train` gets.
        gpu, gpus, price: as in `plan`.
        **work: frames, height and width of the clips; the preset's by default.

    Raises:
        NovaError: an unknown GPU, a batch that cannot be divided, or what the formulas do not count.
    """
    if not _is_counted(recipe):
        raise NovaError(
            f"a plan counts learn=dense in bf16; {recipe.learn} in {recipe.precision} came. Leave them out."
        )
    several = Processes()
    several.count = gpus
    clips = len(Share(recipe.batch, recipe.accumulation).rows(several, 0))
    switches = {"checkpointing": recipe.gradient_checkpointing, "keep_attention": recipe.keep_attention}
    switches |= {"offload": recipe.activation_offload, "window": recipe.window}
    return plan(
        preset,
        gpus,
        gpu,
        clips,
        sharding="fsdp" if recipe.fsdp else "ddp",
        accumulate=recipe.accumulation,
        steps=recipe.steps,
        price=price,
        **switches,
        **work,
    )


def _is_counted(recipe: Recipe) -> bool:
    return recipe.learn == "dense" and recipe.precision == "bf16"


def check_memory(
    preset: Preset,
    recipe: Recipe,
    team: Processes,
    clip_size: dict[str, int],
    free: Callable[[], int] | None = None,
) -> None:
    """Compare what a run on a GPU needs with what is free there, before a weight is loaded; nothing on a CPU.

    Args:
        preset, recipe, team: of the run.
        clip_size: frames, height and width of the clips.
        free: the free bytes of this process's device; None = ask CUDA, where there is one.

    Raises:
        NovaError: too little; says how much is needed and which switches would make it fit.
    """
    if free is None and team.device.type != "cuda":
        return
    if not _is_counted(recipe):
        told = (
            f"memory is counted for learn=dense in bf16, so it is not checked for {recipe.learn}, {recipe.precision}."
        )
        return warnings.warn(told, NovaNotice, stacklevel=2)
    there = free() if free else torch.cuda.mem_get_info(team.device)[0]
    device = Gpu(f"free on {team.device}", float("nan"), there / 1e9)
    made = plan_run(preset, recipe, device, team.count, **clip_size)
    team.together(made.require_fit)
