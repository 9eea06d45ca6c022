"""Where in a frame does it look most like around a hole? Every place on a small picture, then finer. Source: ours."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from novakit.video.geometry import resize

Box = tuple[int, int, int, int]  # top, left, bottom, right in pixels
COARSE_SIDE = 64  # longest side of the picture on which every place is tried
FINEST_SIDE = 512  # longest side of the picture on which the best place is refined last
RING = 3  # pixels around the hole that are compared, on each of the small pictures
SMALLEST_PIECE = 1 / 6  # of the frame's longer side: smaller pieces are not cut further


def cut(image: Tensor, box: Box) -> Tensor:
    """The part (C, h, w) of an image (C, H, W) inside a box; a view."""
    return image[:, box[0] : box[2], box[1] : box[3]]


def box_of(mask: Tensor) -> Box:
    """The smallest box around the ones of a mask (1, H, W)."""
    rows, columns = mask[0].any(1).nonzero(), mask[0].any(0).nonzero()
    return int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1


def shifted(frame: Tensor, box: Box, offset: tuple[int, int]) -> Tensor:
    """What lies `offset` (down, right) from a box of the frame; rim pixels are repeated outside of it."""
    rows = (torch.arange(box[0], box[2]) + offset[0]).clamp(0, frame.shape[1] - 1)
    columns = (torch.arange(box[1], box[3]) + offset[1]).clamp(0, frame.shape[2] - 1)
    return frame[:, rows][:, :, columns]


def best_offset(frame: Tensor, mask: Tensor, piece: Box, choice: int = 0) -> tuple[int, int] | None:
    """Where to copy from, to fill a piece of a hole.

    Args:
        frame: (3, H, W), any range.
        mask: (1, H, W) in {0, 1}: the hole; nothing is copied from inside it.
        piece: the box whose part of the hole is to be filled.
        choice: 0 = the best place, 1 = the second best, ...

    Returns:
        (down, right) in pixels, or None when no place of that size is free.
    """
    part = torch.zeros_like(mask)
    cut(part, piece)[:] = cut(mask, piece)
    finest = _Small.of(frame, mask, part, FINEST_SIDE)
    small = _Small.of(finest.picture, finest.hole, finest.piece, COARSE_SIDE)
    offset = small.search(choice)
    while offset is not None and small.side < finest.side:
        side = small.side
        small = _Small.of(finest.picture, finest.hole, finest.piece, 4 * side)
        offset = small.refine(tuple(round(by * small.side / side) for by in offset))
    if offset is None:
        return None
    scale = [whole / part for whole, part in zip(frame.shape[-2:], small.picture.shape[-2:])]
    return round(offset[0] * scale[0]), round(offset[1] * scale[1])


class _Small:
    """A frame at some small size, its hole, and the ring around a piece of the hole that is compared."""

    def __init__(self, picture: Tensor, hole: Tensor, piece: Tensor) -> None:
        self.picture = picture  # (3, h, w)
        self.hole = hole  # (1, h, w) in {0, 1}: not to be copied
        self.piece = piece  # (1, h, w) in {0, 1}: to be filled
        near = F.max_pool2d(piece[None], 2 * RING + 1, stride=1, padding=RING)[0]
        self.ring = near * (1 - hole)  # (1, h, w)
        self.box = box_of(near)

    @classmethod
    def of(cls, frame: Tensor, hole: Tensor, piece: Tensor, longest: int) -> _Small:
        """Shrink to at most `longest` pixels along the longer side; a pixel is in the hole when any of it is masked."""
        by = min(1.0, longest / max(frame.shape[-2:]))
        size = tuple(max(1, round(side * by)) for side in frame.shape[-2:])
        if size == tuple(frame.shape[-2:]):
            return cls(frame, hole, piece)
        return cls(resize(frame, size), F.adaptive_max_pool2d(hole, size), F.adaptive_max_pool2d(piece, size))

    @property
    def side(self) -> int:
        """Longest side in pixels."""
        return max(self.picture.shape[-2:])

    def search(self, choice: int) -> tuple[int, int] | None:
        """Try every place; mean over the ring of (there - here)^2, by correlation."""
        here, ring, piece = (cut(image, self.box) for image in (self.picture * self.ring, self.ring, self.piece))
        cost = F.conv2d(self.picture.square()[None], ring.expand_as(here)[None])
        cost = (cost - 2 * F.conv2d(self.picture[None], here[None]))[0, 0] / ring.sum().clamp(min=1)
        cost[F.conv2d(self.hole[None], piece[None])[0, 0] > 0.5] = torch.inf
        best = None
        for _ in range(choice + 1):
            place = divmod(int(cost.argmin()), cost.shape[1])
            if not cost[place].isfinite():
                break
            best = place
            reach = [max(2, side // 6) for side in here.shape[-2:]]  # the next one lies elsewhere
            around = [slice(max(0, at - by), at + by + 1) for at, by in zip(place, reach)]
            cost[around[0], around[1]] = torch.inf
        return None if best is None else (best[0] - self.box[0], best[1] - self.box[1])

    def refine(self, offset: tuple[int, int]) -> tuple[int, int]:
        """The best of the places within 3 pixels of an offset that copy nothing of the hole."""
        here, ring, piece = (cut(image, self.box) for image in (self.picture, self.ring, self.piece))
        best, least = offset, torch.inf
        for down in range(offset[0] - 3, offset[0] + 4):
            for right in range(offset[1] - 3, offset[1] + 4):
                cost = ((shifted(self.picture, self.box, (down, right)) - here).square() * ring).sum().item()
                if cost < least and not (shifted(self.hole, self.box, (down, right)) * piece).any():
                    best, least = (down, right), cost
        return best
