"""Source fidelity (eq. 3) with the outline of a real object: soft mattes instead of drawn shapes.

A patch with a hard, drawn edge gives itself away: a model that learns on such patches alone distrusts *edges*, not
contradictions, and lets a real object of the source shine through the edit. Here m_t is a matte, of an object that was
cut out of another clip or of an object of the clip itself, and y_t is what to see there instead.

Source: eq. 3 of the paper; mattes are ours (the nano world renders them, on real footage a segmenter gives them).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import max_pool2d

from novakit.errors import NovaError

from .draws import chance, check_clip, check_generator, uniform

LUMA = (0.299, 0.587, 0.114)


def paste_matte(target: Tensor, content: Tensor, matte: Tensor) -> Tensor:
    """Eq. 3 with a soft mask: x̃_t = m_t ⊙ y_t + (1 - m_t) ⊙ x_t.

    Args:
        target: clean clip x, (B, 3, T, H, W) in [-1, 1].
        content: what to see under the matte, y, of the same shape.
        matte: m_t, (B, 1, T, H, W) in [0, 1].

    Returns:
        The pseudo source, (B, 3, T, H, W); the target itself where the matte is 0.

    Raises:
        NovaError: shapes that do not fit.
    """
    check_clip("target", target)
    if content.shape != target.shape or matte.shape != target[:, :1].shape:
        raise NovaError(
            f"content is {tuple(content.shape)} and matte {tuple(matte.shape)}; the target {tuple(target.shape)} "
            f"wants content of its own shape and a matte {tuple(target[:, :1].shape)}."
        )
    return torch.where(matte > 0, torch.lerp(target, content, matte), target)


def widen(matte: Tensor, pixels: int = 2) -> Tensor:
    """Grow a matte (B, 1, T, H, W) by some pixels on every side, so that no rim of the object stays to be seen."""
    planes = matte.transpose(1, 2).flatten(0, 1)  # (B*T, 1, H, W)
    grown = max_pool2d(planes, 2 * pixels + 1, stride=1, padding=pixels)
    return grown.unflatten(0, (len(matte), -1)).transpose(1, 2)


def other_colours(clips: Tensor, generator: torch.Generator) -> Tensor:
    """The same clips in other colours, clearly: half of them with their channels mixed anew, half as one tint.

    Args:
        clips: (B, 3, T, H, W) in [-1, 1].
        generator: where every random choice comes from.

    Returns:
        (B, 3, T, H, W) in [-1, 1].
    """
    check_generator(generator)
    batch, colours = len(clips), clips.add(1).div(2)
    turned = torch.where(chance(generator, (batch, 1), 0.5), torch.tensor([1, 2, 0]), torch.tensor([2, 0, 1]))  # (B, 3)
    mixing = torch.eye(3)[turned]  # (B, 3, 3)
    tint = uniform(generator, (batch, 3, 1), 0.0, 1.0)
    tint = tint / tint.amax(1, keepdim=True)  # (B, 3, 1)
    single = 1.2 * tint * torch.tensor(LUMA) + 0.15 * tint / 3  # (B, 3, 3): luma, tinted
    matrix = torch.where(chance(generator, (batch, 1, 1), 0.5), single, mixing).to(clips)
    changed = torch.einsum("bij,bjthw->bithw", matrix, colours)
    return changed.clamp(0, 1).mul(2).sub(1)


def from_elsewhere(clips: Tensor, generator: torch.Generator) -> Tensor:
    """The clips' own content from another place of the frame, at least a quarter of the frame away.

    Args and Returns as `other_colours`.
    """
    check_generator(generator)
    height, width = clips.shape[-2:]
    moves = uniform(generator, (len(clips), 2), 0.25, 0.75) * torch.tensor([height, width])
    return torch.stack(
        [clip.roll(tuple(int(step) for step in move), dims=(-2, -1)) for clip, move in zip(clips, moves, strict=True)]
    )
