"""Anchored control (eq. 2): sparse keyframes, spoilt inside random regions, interpolated in time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from novakit.errors import NovaError

from .augment import OPERATIONS, AugmentLimits, augment
from .draws import (
    chance,
    check_clip,
    check_generator,
    check_names,
    check_probabilities,
    check_range,
    integers,
    uniform,
)
from .indices import check_indices, sample_keyframe_indices
from .regions import RegionConfig, Regions, random_regions

__all__ = [
    "AnchoredControl",
    "AnchoredControlConfig",
    "Degradation",
    "anchored_control",
    "check_indices",
    "interpolate_keyframes",
    "sample_keyframe_indices",
]


@dataclass(frozen=True)
class AnchoredControlConfig:
    """How keyframes are spoilt for training."""

    ops: tuple[str, ...] = tuple(OPERATIONS)  # operations of D_aug to choose from
    strength: tuple[float, float] = (0.1, 1.0)  # range of the strength, drawn per keyframe
    clean_clip_prob: float = 0.1  # chance that no keyframe of a clip is touched
    clean_keyframe_prob: float = 0.15  # chance that one keyframe is left clean in a clip that is touched
    shared_op_prob: float = 0.6  # chance that all keyframes of a clip get the same operation (one editor)
    second_op_prob: float = 0.25  # chance that a keyframe gets another operation on top
    regions: RegionConfig = field(default_factory=RegionConfig)  # the masks b_k
    limits: AugmentLimits = field(default_factory=AugmentLimits)  # what strength 1 means for each operation

    def __post_init__(self) -> None:
        check_names("AnchoredControlConfig.ops", self.ops, tuple(OPERATIONS))
        check_range("AnchoredControlConfig.strength", self.strength, 0.0, 1.0)
        names = ("clean_clip_prob", "clean_keyframe_prob", "shared_op_prob", "second_op_prob")
        check_probabilities(self, names)


@dataclass(frozen=True)
class Degradation:
    """One operation that was applied to one keyframe."""

    clip: int  # place in the batch
    keyframe: int  # place in the list of keyframes
    frame: int  # frame index k_i in the clip
    op: str  # name of the operation
    strength: float  # 0 none ... 1 the limit
    parameters: dict[str, float]  # what was drawn, in the operation's own units

    def __str__(self) -> str:
        drawn = ", ".join(f"{name} {value:.3g}" for name, value in self.parameters.items())
        return f"clip {self.clip} frame {self.frame}: {self.op} at {self.strength:.2f} ({drawn})"


@dataclass(frozen=True)
class AnchoredControl:
    """The control sequence r of a batch and every random choice behind it."""

    control: Tensor  # (B, 3, T, H, W) in [-1, 1]: the degraded keyframes, interpolated
    keyframes: Tensor  # (B, 3, K, H, W): degraded keyframes
    clean_keyframes: Tensor  # (B, 3, K, H, W): the target's own frames
    regions: Tensor  # (B, 1, K, H, W): b_k in {0, 1}
    indices: tuple[int, ...]  # K frame indices, ascending
    drawn_regions: Regions  # outlines, areas and places of b_k
    choices: tuple[Degradation, ...]  # operations in the order of application; clean keyframes have none


def interpolate_keyframes(keyframes: Tensor, indices: Sequence[int], num_frames: int) -> Tensor:
    """Fill all frames from sparse keyframes: r_t = (1-w) x_left + w x_right, with w linear in time.

    Before the first and after the last keyframe the nearest keyframe is held.

    Args:
        keyframes: (B, C, K, H, W), any range.
        indices: K ascending frame indices.
        num_frames: T.

    Returns:
        (B, C, T, H, W); at the indices exactly the keyframes.

    Raises:
        NovaError: wrong shape, or indices that do not fit.

    Source: paper (linear interpolation); holding the nearest keyframe outside is ours.
    """
    places = check_indices(indices, num_frames)
    if keyframes.ndim != 5 or keyframes.shape[2] != len(places):
        raise NovaError(
            f"keyframes are {tuple(keyframes.shape)} for {len(places)} indices; "
            f"(B, C, {len(places)}, H, W) was wanted: one picture for each index."
        )
    pictures = keyframes.unbind(2)  # K times (B, C, H, W)
    frames = []
    for t in range(num_frames):
        right = next((i for i, place in enumerate(places) if place >= t), len(places) - 1)
        left = max(right - 1, 0) if places[right] > t else right
        span = places[right] - places[left]
        weight = (t - places[left]) / span if span else 0.0
        frames.append(torch.lerp(pictures[left], pictures[right], weight))
    return torch.stack(frames, 2)  # (B, C, T, H, W)


def anchored_control(
    target: Tensor,
    indices: Sequence[int],
    generator: torch.Generator,
    config: AnchoredControlConfig | None = None,
) -> AnchoredControl:
    """Make the control sequence r of a training clip from the clip itself.

    Eq. 2: x̂_k = (1 - b_k) ⊙ x_k + b_k ⊙ D_aug(x_k), then linear interpolation over all T frames.

    Args:
        target: clean clip x, (B, 3, T, H, W) in [-1, 1], any device.
        indices: K ascending frame indices, the same for the whole batch.
        generator: where every random choice comes from.
        config: what to draw; the defaults of AnchoredControlConfig if None.

    Returns:
        AnchoredControl on the target's device.

    Raises:
        NovaError: wrong shape, or indices that do not fit.

    Source: paper, eq. 2; which operations and how strong is ours.
    """
    config = config or AnchoredControlConfig()
    check_generator(generator)
    check_clip("target", target)
    places = check_indices(indices, target.shape[2])
    clean = target[:, :, list(places)]  # (B, 3, K, H, W)
    batch, _, count, height, width = clean.shape
    drawn = random_regions(batch, count, height, width, generator, config.regions, target.device)
    spoilt, choices = _degrade(clean, places, generator, config)
    keyframes = torch.where(drawn.masks.bool(), spoilt, clean)
    control = interpolate_keyframes(keyframes, places, target.shape[2])
    regions = drawn.masks.to(target.dtype)
    return AnchoredControl(control, keyframes, clean, regions, places, drawn, tuple(choices))


def _draw_ops(batch: int, count: int, generator: torch.Generator, config: AnchoredControlConfig) -> Tensor:
    """Which operation each keyframe gets in each of two rounds, (2, B, K); -1 = none."""
    last = len(config.ops) - 1
    ops = integers(generator, (2, batch, count), 0, last)
    shared = chance(generator, (batch, 1), config.shared_op_prob)
    ops[0] = torch.where(shared, ops[0, :, :1].expand(batch, count), ops[0])
    clean = chance(generator, (batch, 1), config.clean_clip_prob)
    clean = clean | chance(generator, (batch, count), config.clean_keyframe_prob)
    ops[:, clean] = -1
    ops[1, ~chance(generator, (batch, count), config.second_op_prob)] = -1
    return ops


def _degrade(
    clean: Tensor, places: tuple[int, ...], generator: torch.Generator, config: AnchoredControlConfig
) -> tuple[Tensor, list[Degradation]]:
    """D_aug on whole keyframes (B, 3, K, H, W); each operation runs only on the keyframes that drew it."""
    batch, _, count, height, width = clean.shape
    ops = _draw_ops(batch, count, generator, config).flatten(1)  # (2, B*K)
    strengths = uniform(generator, ops.shape, *config.strength)
    images = clean.transpose(1, 2).flatten(0, 1).float().add(1).div(2).clamp(0, 1)  # (B*K, 3, H, W) in [0, 1]
    choices = []
    for chosen, strength in zip(ops, strengths, strict=True):
        for number, name in enumerate(config.ops):
            rows = (chosen == number).nonzero().flatten()
            if len(rows):
                there = rows.to(images.device)
                result = augment(images[there], name, strength[rows], generator, config.limits)
                images[there] = result.images
                choices += _describe(rows.tolist(), places, name, strength[rows].tolist(), result.parameters)
    spoilt = images.mul(2).sub(1).view(batch, count, 3, height, width).transpose(1, 2)
    untouched = (ops < 0).all(0).view(batch, 1, count, 1, 1).to(clean.device)
    return torch.where(untouched, clean, spoilt.to(clean.dtype)), choices


def _describe(
    rows: list[int], places: tuple[int, ...], name: str, strengths: list[float], parameters: dict[str, Tensor]
) -> list[Degradation]:
    """One record for each keyframe in ``rows`` (places in the flattened B*K)."""
    table = {key: values.tolist() for key, values in parameters.items()}
    records = []
    for i, row in enumerate(rows):
        clip, keyframe = divmod(row, len(places))
        drawn = {key: values[i] for key, values in table.items()}
        records.append(Degradation(clip, keyframe, places[keyframe], name, strengths[i], drawn))
    return records
