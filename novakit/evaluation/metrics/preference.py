"""SR for real clips, which have no truth: does CLIP think that the frame shows what was asked for?"""

from __future__ import annotations

import torch
from torch import Tensor

from novakit.errors import NovaError
from novakit.evaluation.metrics.consistency import clip_features


@torch.no_grad()
def clip_preference(output: Tensor, source_prompt: str | list[str], target_prompt: str | list[str], encoder) -> Tensor:
    """SR by text: share of frames whose softmax over (target prompt, source prompt) is above 1/2 for the target.

    Two prompts only, so this is the share of frames nearer to the target prompt. It says nothing of the background.
    Label: `SR[clip-vit-b32, text preference]`.

    Args:
        output: clip `(B, 3, T, H, W)` in [-1, 1].
        source_prompt: what the source shows, "a man in a red coat"; one for all clips or B of them.
        target_prompt: what the edit was to show, "a man in a blue coat".
        encoder: a CLIP of `get_encoder`.

    Returns:
        `(B,)` in [0, 1]; a table's SR is the mean.

    Raises:
        NovaError: an encoder that reads no text, equal or empty prompts, or their number.

    Source: EditBoard, success_rate.py (there with CLIP ViT-B/32).
    """
    if not hasattr(encoder, "encode_text"):
        raise NovaError(f"{encoder.name} reads no text. Use get_encoder('clip-vit-b32') or let people rate the clips.")
    sources, targets = (_prompts(p, len(output)) for p in (source_prompt, target_prompt))
    same = [target for source, target in zip(sources, targets, strict=True) if source.strip() == target.strip()]
    if same:
        raise NovaError(
            f"source and target prompt are both {same[0]!r}; nothing can be preferred. Say what was edited."
        )
    frames = clip_features(output, encoder)  # (B, T, D)
    texts = torch.stack([encoder.encode_text(targets), encoder.encode_text(sources)], dim=1).to(frames.device)
    cosines = frames @ texts.transpose(1, 2)  # (B, T, 2)
    return ((encoder.logit_scale * cosines).softmax(dim=2)[..., 0] > 0.5).float().mean(dim=1)


def _prompts(prompt: str | list[str], count: int) -> list[str]:
    prompts = [prompt] * count if isinstance(prompt, str) else list(prompt)
    if len(prompts) != count or not all(text.strip() for text in prompts):
        raise NovaError(
            f"got {len(prompts)} prompt(s) for {count} clip(s), or an empty one; pass one, or one per clip."
        )
    return prompts
