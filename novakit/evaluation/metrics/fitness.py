"""Is an encoder fit for TC, FC and BC? Measured on scenes whose truth is known. Source: ours."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from novakit.evaluation.encoders.protocol import Encoder
from novakit.evaluation.metrics.breaking import flickering, shuffled_between_clips
from novakit.evaluation.metrics.consistency import (
    background_consistency,
    clip_features,
    frame_consistency,
    temporal_consistency,
)

CONSISTENCIES = {"TC": temporal_consistency, "FC": frame_consistency, "BC": background_consistency}
ENOUGH = 0.9  # share of clips on which every ordering must hold
GAP = 0.02  # smallest difference of means between two neighbours of the ranking


@dataclass(frozen=True)
class Fitness:
    """What `encoder_fitness` found.

    Attributes:
        means: {"TC": {"truth", "flicker", "shuffled"}}: means over clips.
        shares: {"TC": (share of clips with truth > flicker, with flicker > shuffled)}.
        noticed: share of clips whose wrong object is further from the truth than the VAE round trip.
        ratio: median of (distance of the wrong object) / (distance of the round trip).
        unrelated: mean cosine of frames of different scenes.
    """

    means: dict[str, dict[str, float]] = field(default_factory=dict)
    shares: dict[str, tuple[float, float]] = field(default_factory=dict)
    noticed: float = 0.0
    ratio: float = 0.0
    unrelated: float = 1.0

    @property
    def faults(self) -> list[str]:
        """Why the encoder is not fit, in words; empty = fit."""
        found = [] if self.means else ["nothing was measured"]
        for name, mean in self.means.items():
            gaps = (mean["truth"] - mean["flicker"], mean["flicker"] - mean["shuffled"])
            for what, gap, share in zip(("truth > flicker", "flicker > shuffled"), gaps, self.shares[name]):
                if gap < GAP or share < ENOUGH:
                    found.append(f"{name}: {what} by {gap:.4f} on average, on {share:.0%} of the clips")
        if self.noticed < ENOUGH:
            found.append(f"wrong object noticed in {self.noticed:.0%} of the clips")
        return found


@torch.no_grad()
def encoder_fitness(encoder: Encoder, truth: Tensor, wrong: Tensor, round_trip: Tensor) -> Fitness:
    """Measure an encoder.

    Truth against the truth flickering (whole frames, see `flickering`) and against frames shuffled between the clips,
    since FC does not see the order of frames within a clip; then the distance 1 - cos to the truth of a wrong object
    and of the VAE round trip.

    Args:
        encoder: to be judged.
        truth: clips `(B, 3, T, H, W)` in [-1, 1] of B different scenes.
        wrong: the truths of other edits of the same scenes: another object, the same background.
        round_trip: the truths through the VAE: the right object, some detail lost.
    """
    clips = {"truth": truth, "flicker": flickering(truth), "shuffled": shuffled_between_clips(truth)}
    features = {name: clip_features(clip, encoder) for name, clip in clips.items()}
    scores = {name: {kind: score(f) for kind, f in features.items()} for name, score in CONSISTENCIES.items()}
    means = {name: {kind: float(values.mean()) for kind, values in by.items()} for name, by in scores.items()}
    shares = {
        name: (_share(by["truth"], by["flicker"]), _share(by["flicker"], by["shuffled"])) for name, by in scores.items()
    }
    apart = [1.0 - (clip_features(clip, encoder) * features["truth"]).sum(2).mean(1) for clip in (wrong, round_trip)]
    first = features["truth"][:, 0]  # (B, D)
    cosines = (first @ first.T)[~torch.eye(len(first), dtype=torch.bool)]
    ratio = (apart[0] / apart[1].clamp_min(1e-9)).median()
    return Fitness(means, shares, _share(*apart), float(ratio), float(cosines.mean()))


def _share(larger: Tensor, smaller: Tensor) -> float:
    return float((larger > smaller).float().mean())
