"""Prompts to text tokens: UMT5 at full size, one null token where there is no text encoder."""

from typing import Any

import torch
from torch import Tensor

from novakit.editing.inputs import notice

MAX_TOKENS = 512  # Wan's prompt length


def null_token(batch: int, text_dim: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """(B, 1, text_dim) zeros: what nano was trained with (ours)."""
    return torch.zeros(batch, 1, text_dim, device=device, dtype=dtype)


def text_tokens(pipe: Any, *groups: list[str]) -> list[Tensor]:
    """Text tokens of groups of prompts, each (B, L, text_dim): the encoder is loaded once for all, if at all.

    Args:
        pipe: NovaEditPipeline: its reader of prompts, or its text encoder, or neither: the null token.
        *groups: prompts.
    """
    device, dtype, prompts = pipe._execution_device, pipe.transformer.dtype, sum(groups, [])
    if pipe.prompts is not None:
        tokens = pipe.prompts.read(prompts, device).to(device, dtype)
    elif pipe.text_encoder is not None:
        tokens = encode_prompt(pipe.tokenizer, pipe.text_encoder, prompts, device, dtype)
    else:
        if any(prompts):
            notice("this pipeline has no text encoder: the prompt is not read, the keyframes say it all.")
        tokens = null_token(len(prompts), pipe.transformer.base.config.text_dim, device, dtype)
    return list(tokens.split([len(group) for group in groups]))


@torch.no_grad()
def encode_prompt(tokenizer: Any, text_encoder: Any, prompts: list[str], device: torch.device, dtype: torch.dtype):
    """UMT5 states of the prompts, zero behind each prompt's end: (B, 512, 4096).

    Source: Wan 2.1 through diffusers' WanVACEPipeline (`_get_t5_prompt_embeds`).
    """
    tokens = tokenizer(
        [clean(prompt) for prompt in prompts],
        padding="max_length",
        max_length=MAX_TOKENS,
        truncation=True,
        add_special_tokens=True,
        return_attention_mask=True,
        return_tensors="pt",
    )
    seen = tokens.attention_mask.to(text_encoder.device)  # (B, 512)
    states = text_encoder(tokens.input_ids.to(text_encoder.device), seen).last_hidden_state  # (B, 512, 4096)
    return (states * seen[..., None]).to(device=device, dtype=dtype)


def clean(prompt: str) -> str:
    """A prompt as Wan reads it: broken characters mended (ftfy), HTML entities and white space resolved."""
    from diffusers.pipelines.wan.pipeline_wan_vace import prompt_clean

    return prompt_clean(prompt)
