"""TC, FC and BC: three ways to pair the features of a clip's frames. None of them sees a source, a mask or a truth.

Public definitions differ in encoder and pairing, and the paper does not say which ones it used; so every number is
printed with both (`TC[clip-vit-b32, adjacent]`). A clip that never moves scores 1 in all three.
"""

from __future__ import annotations

import torch
from torch import Tensor

from novakit.errors import NovaError
from novakit.evaluation.encoders.protocol import Encoder
from novakit.evaluation.metrics.clip_checks import check_clip

PAIRINGS = {"TC": "adjacent", "FC": "all pairs", "BC": "adjacent and first"}


@torch.no_grad()
def clip_features(clip: Tensor, encoder: Encoder) -> Tensor:
    """Features of every frame.

    Args:
        clip: `(B, 3, T, H, W)` in [-1, 1].
        encoder: of `get_encoder`.

    Returns:
        `(B, T, D)`, each of length 1.

    Raises:
        NovaError: no clip, or the encoder broke its promise.
    """
    check_clip(clip, "clip")
    frames = clip.transpose(1, 2).flatten(0, 1)  # (B*T, 3, H, W)
    features = encoder.encode(frames)
    if features.ndim != 2 or len(features) != len(frames):
        raise NovaError(
            f"encoder {encoder.name} gave {tuple(features.shape)} for {len(frames)} frames; wanted ({len(frames)}, D)."
        )
    return features.float().unflatten(0, (clip.shape[0], clip.shape[2]))  # (B, T, D)


def _check(features: Tensor) -> None:
    if features.ndim != 3 or features.shape[1] < 2:
        raise NovaError(f"features have shape {tuple(features.shape)}; wanted (B, T, D) of at least two frames.")


def temporal_consistency(features: Tensor) -> Tensor:
    """TC: mean over t of max(0, cos(f_t, f_(t-1))): does a frame look like the one before it?

    Args:
        features: `(B, T, D)` of length 1, of `clip_features`; T >= 2.

    Returns:
        `(B,)` in [0, 1].

    Raises:
        NovaError: fewer than two frames.

    Source: the paper gives no recipe; this is EditVerse's (CLIP ViT-L/14 and DINOv2) and VideoPainter's (ViT-B/32).
    """
    _check(features)
    return (features[:, 1:] * features[:, :-1]).sum(dim=2).clamp_min(0.0).mean(dim=1)


def frame_consistency(features: Tensor) -> Tensor:
    """FC: mean of cos(f_s, f_t) over all pairs s < t: does the clip show one thing throughout?

    The order of the frames plays no part, so a clip with its frames shuffled has the same FC. With all pairs FC lies
    below TC, as in the paper's table; with adjacent pairs it would be TC.

    Args:
        features: `(B, T, D)` of length 1, of `clip_features`; T >= 2.

    Returns:
        `(B,)` in [-1, 1].

    Raises:
        NovaError: fewer than two frames.

    Source: the paper gives no recipe; this is the one of LOVEU-TGVE 2023 (there with CLIP).
    """
    _check(features)
    count = features.shape[1]
    total = features.sum(dim=1).square().sum(dim=1)  # of all T*T cosines, the T ones of a frame with itself included
    itself = features.square().sum(dim=(1, 2))
    return (total - itself) / (count * (count - 1))


def background_consistency(features: Tensor) -> Tensor:
    """BC: mean over t >= 1 of (max(0, cos(f_t, f_(t-1))) + max(0, cos(f_t, f_0))) / 2.

    "Background" is a name only: whole frames are encoded and no mask plays a part.

    Args:
        features: `(B, T, D)` of length 1, of `clip_features`; T >= 2.

    Returns:
        `(B,)` in [0, 1].

    Raises:
        NovaError: fewer than two frames.

    Source: VBench, background_consistency.py (there with CLIP ViT-B/32).
    """
    _check(features)
    adjacent = (features[:, 1:] * features[:, :-1]).sum(dim=2).clamp_min(0.0)
    first = (features[:, 1:] * features[:, :1]).sum(dim=2).clamp_min(0.0)
    return ((adjacent + first) / 2.0).mean(dim=1)
