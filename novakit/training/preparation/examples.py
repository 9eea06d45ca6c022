"""One real clip to its variants in pixels: pseudo sources (eq. 3) and control sequences (eq. 2).

The mixture is that of the nano world (`novakit.training.pseudo_sources`), with one difference: real footage comes
without the matte of its objects, so a drawn silhouette on a smooth path, with a soft edge, stands in for it. Then
"placed" (a stranger where the clip's own object is) is the same as "stranger", and its share goes there.

    patches .30   one to three drawn patches of another clip, or none: the paper's cut-and-paste
    stranger .40  one silhouette cut out of another clip, which moves with its content (remove, replace)
    recolour .20  the clip's own content in other colours under a silhouette (recolour)
    hide .10      the clip's own content from another place under a silhouette (add)

Source: eq. 2 and eq. 3 of the paper; mixture and silhouettes are ours.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from novakit.degradation import (
    CutAndPasteConfig,
    anchored_control,
    cut_and_paste,
    from_elsewhere,
    interpolate_keyframes,
    other_colours,
    paste_matte,
    sample_keyframe_indices,
    widen,
)
from novakit.errors import NovaError
from novakit.training.makers import CONTROL
from novakit.training.preparation.plan import Item
from novakit.training.pseudo_sources import MIXTURE, PATCHES
from novakit.video import Geometry, frame_to_tensor, iter_frames, probe

Size = tuple[int, int]
SILHOUETTE = CutAndPasteConfig(
    patches=(1, 1), empty_prob=0.0, kinds=("sprite",), area=(0.02, 0.18), hue_jitter=0.0, gain_jitter=0.0, feather=2.0
)
SHARES = {
    "patches": MIXTURE["patches"],
    "stranger": MIXTURE["stranger"] + MIXTURE["placed"],
    "recolour": MIXTURE["recolour"],
    "hide": MIXTURE["hide"],
}
FOREIGN = ("patches", "stranger")  # kinds that show another clip's content


def read_window(path: str, item: Item, num_frames: int, size: Size) -> Tensor:
    """T frames of a file, from the item's first frame on and at its stride, cropped and scaled.

    Returns:
        (1, 3, T, H, W) float32 in [-1, 1].

    Raises:
        NovaError: the file cannot be read, or has too few frames.
    """
    info, start, stride = probe(path), item.candidate.start, item.candidate.stride
    needed = (num_frames - 1) * stride + 1
    if start + needed > info.num_frames:
        raise NovaError(f"{path} has {info.num_frames} frames; {start + needed} are needed. Has it changed?")
    geometry = Geometry.between(info.size, size, "crop")
    clip = torch.empty(1, 3, num_frames, *size)  # (1, 3, T, H, W)
    for t, picture in enumerate(islice(iter_frames(info, needed, start=start), 0, None, stride)):
        clip[0, :, t] = frame_to_tensor(picture, geometry)
    return clip


def draw_kind(generator: torch.Generator) -> str:
    """A kind of pseudo source out of SHARES."""
    names, weights = list(SHARES), torch.tensor(list(SHARES.values()))
    return names[int(torch.multinomial(weights, 1, generator=generator))]


def pseudo_source(kind: str, target: Tensor, other: Tensor | None, generator: torch.Generator) -> Tensor:
    """Eq. 3 on one clip.

    Args:
        kind: one of SHARES.
        target: clean clip x, (1, 3, T, H, W) in [-1, 1].
        other: another clip y of the same shape, for the kinds in FOREIGN.
        generator: where every random choice comes from.

    Returns:
        (1, 3, T, H, W) in [-1, 1].
    """
    return _MAKERS[kind](target, other, generator)


def _silhouette(target: Tensor, generator: torch.Generator) -> Tensor:
    """A soft moving matte (1, 1, T, H, W) in [0, 1]."""
    mask = cut_and_paste(target, target, generator, SILHOUETTE).mask
    return avg_pool2d(mask[:, 0], 3, stride=1, padding=1)[:, None]  # channels = frames


_MAKERS: dict[str, Callable[[Tensor, Tensor | None, torch.Generator], Tensor]] = {
    "patches": lambda x, y, g: cut_and_paste(x, y, g, PATCHES).pseudo_source,
    "stranger": lambda x, y, g: cut_and_paste(x, y, g, SILHOUETTE).pseudo_source,
    "recolour": lambda x, y, g: paste_matte(x, other_colours(x, g), _silhouette(x, g)),
    "hide": lambda x, y, g: paste_matte(x, from_elsewhere(x, g), widen(_silhouette(x, g), 1)),
}


def degraded_control(target: Tensor, interval: int, generator: torch.Generator) -> Tensor:
    """Eq. 2 on one clip: keyframes `interval` frames apart, spoilt, interpolated; (1, 3, T, H, W)."""
    indices = sample_keyframe_indices(target.shape[2], interval, generator)
    return anchored_control(target, indices, generator, CONTROL).control


def given_control(frames: Tensor, interval: int) -> Tensor:
    """Keyframes as they came in a file, `interval` frames apart, interpolated; (1, 3, T, H, W)."""
    indices = list(range(0, frames.shape[2], interval))
    return interpolate_keyframes(frames[:, :, indices], indices, frames.shape[2])
