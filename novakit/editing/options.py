"""The switches of one pipeline call, checked before anything is computed. Source: ours."""

import math
from collections.abc import Mapping
from numbers import Real
from typing import Any

import torch
from torch import Tensor

from novakit.errors import NovaError
from novakit.presets import Preset

OUTPUT_TYPES = ("clip", "latent", "pil", "np")


def check_steps(steps: Any, preset: Preset | None, output_type: Any) -> int:
    """Number of denoising steps: as asked for, or the preset's.

    Raises:
        NovaError: a number outside 1..1000, or an output type that does not exist.
    """
    if output_type not in OUTPUT_TYPES:
        raise NovaError(f"output_type {output_type!r} does not exist; pass one of {', '.join(OUTPUT_TYPES)}.")
    steps = steps if steps is not None else (preset.steps if preset else 50)
    if not isinstance(steps, int) or not 1 <= steps <= 1000:
        raise NovaError(f"num_inference_steps (--steps) is {steps!r}; pass a whole number from 1 to 1000.")
    return steps


def check_scales(scales: Mapping[str, Any]) -> None:
    """Refuse a scale that is no finite number.

    Args:
        scales: name -> number; "sparse_scale" may be a list of numbers, one per VACE layer.

    Raises:
        NovaError: text, None, NaN, infinity, or a list where one number is wanted.
    """
    for name, value in scales.items():
        many = name == "sparse_scale" and isinstance(value, list | tuple) and len(value) > 0
        for number in value if many else [value]:
            if not isinstance(number, Real) or not math.isfinite(number):
                raise NovaError(f"{name} is {value!r}; wanted a finite number. Pass 1.0 for the default.")


def check_cache(use_cache: Any, step_cache: Any) -> None:
    """Refuse a way of caching that does not exist.

    Raises:
        NovaError: `use_cache` is none of True, False and "features", or the threshold `step_cache` no number >= 0.
    """
    if use_cache not in (True, False, "features"):
        raise NovaError(f'use_cache is {use_cache!r}; pass True, False or "features".')
    check_scales({"step_cache": step_cache})
    if step_cache < 0:
        raise NovaError(f"step_cache is {step_cache}; pass 0 (compute every step) or more, such as 0.05.")


def check_prompts(prompt: Any, batch: int) -> list[str]:
    """One prompt per edit, from one text or a list of `batch` texts.

    Raises:
        NovaError: something else than text, or another number of prompts.
    """
    prompts = [prompt] * batch if isinstance(prompt, str) else prompt
    if not isinstance(prompts, list | tuple) or not all(isinstance(text, str) for text in prompts):
        raise NovaError(f'prompt is {prompt!r}; wanted text or a list of texts. Pass "" for no prompt.')
    if len(prompts) != batch:
        raise NovaError(f"{len(prompts)} prompts for {batch} edits; pass one, or one per edit.")
    return list(prompts)


def check_noise_source(generator: Any, latents: Any, shape: tuple[int, ...]) -> None:
    """Refuse what cannot give or be the starting noise.

    Args:
        generator: None, a torch.Generator, or a list of B of them.
        latents: None, or the noise itself, of `shape`.
        shape: (B, Z, t, h, w).

    Raises:
        NovaError: another type, number or shape, or NaN.
    """
    generators = generator if isinstance(generator, list | tuple) else [generator] * shape[0]
    if not all(each is None or isinstance(each, torch.Generator) for each in generators):
        raise NovaError(f"generator is {generator!r}; wanted torch.Generator().manual_seed(0), or one per edit.")
    if len(generators) != shape[0]:
        raise NovaError(f"{len(generators)} generators for {shape[0]} edits; pass one, or one per edit.")
    if latents is None:
        return
    if not isinstance(latents, Tensor) or tuple(latents.shape) != shape:
        came = f"have shape {tuple(latents.shape)}" if isinstance(latents, Tensor) else f"are {type(latents).__name__}"
        raise NovaError(f"latents {came}; wanted a tensor of shape {shape}. Leave them out to draw them.")
    if not latents.isfinite().all():
        raise NovaError("latents hold NaN or infinite values; wanted standard normal noise. Draw them again.")
