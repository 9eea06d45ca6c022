"""Prompts to text tokens: UMT5 at full size, one null token where there is no text encoder."""

from typing import Any

import torch
from torch import Tensor

MAX_TOKENS = 512  # Wan's prompt length


def null_token(batch: int, text_dim: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """(B, 1, text_dim) zeros: what nano was trained with (ours)."""
    return torch.zeros(batch, 1, text_dim, device=device, dtype=dtype)


@torch.no_grad()
def encode_prompt(tokenizer: Any, text_encoder: Any, prompts: list[str], device: torch.device, dtype: torch.dtype):
    """UMT5 states of the prompts, zero behind each prompt's end: (B, 512, 4096).

    Source: Wan 2.1 through diffusers' WanVACEPipeline (`_get_t5_prompt_embeds`).
    """
    from diffusers.pipelines.wan.pipeline_wan_vace import prompt_clean

    tokens = tokenizer(
        [prompt_clean(prompt) for prompt in prompts],
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
