"""From what was seen in all videos to what is encoded: filters, near-duplicates, and whose content is pasted where.

Source: ours.
"""

from __future__ import annotations

import bisect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256

from novakit.training.preparation.cutting import Candidate
from novakit.training.preparation.filters import Limits, Looks, reason_against
from novakit.training.preparation.listing import Dropped, Video


@dataclass(frozen=True)
class Item:
    """One clip to encode."""

    video: Video
    candidate: Candidate

    @property
    def key(self) -> str:
        """Its identity, a function of the files' content and the first frame."""
        return self.candidate.key

    @property
    def name(self) -> str:
        """For messages."""
        return f"{self.video.name}, frame {self.candidate.start}"


def choose(
    videos: Sequence[Video], seen: Mapping[Video, list[Candidate] | str | None], limits: Limits
) -> tuple[list[Item], list[Dropped]]:
    """Sort candidates into kept and dropped; of near-duplicates the first in the order of the list is kept.

    A video with a source or keyframes of its own (CSV) may come twice: its companions make the difference.

    Args:
        videos: in the order of the list.
        seen: of each video its candidates, or what is wrong with it; None = it changed while it was looked at.
        limits: thresholds.
    """
    kept, dropped, looks, keys = [], [], Looks(), set()
    for video in videos:
        found = seen[video]
        if not isinstance(found, list):
            reason = f"bad file: {found}" if found else "changed while it was looked at: run the command again"
            dropped.append(Dropped(video.name, reason))
            continue
        for candidate in found:
            twin = None if len(video.files) > 1 else looks.twin(candidate.look, limits.alike)
            reason = reason_against(candidate, limits) or (f"near-duplicate: looks like {twin}" if twin else None)
            if reason is None and candidate.key not in keys:
                item = Item(video, candidate)
                kept.append(item), looks.add(item.name, candidate.look), keys.add(item.key)
            else:
                dropped.append(Dropped(video.name, reason or "listed twice", candidate.start, candidate.thumbnail))
    return kept, dropped


class Elsewhere:
    """Which other clip lends its content y_t to a clip: a function of (seed, clip, variant), hardly of the rest.

    All clips lie on a ring at places drawn from their keys; a variant draws a place and takes the next clip of another
    video. A clip that joins or leaves the folder changes only the variants that meet it.
    """

    def __init__(self, items: Sequence[Item]) -> None:
        self._ring = sorted((_place(item.key), index) for index, item in enumerate(items))
        self._items = items

    def of(self, item: Item, variant: int, seed: int) -> Item | None:
        """Another clip, of another video if there is one; None when this is the only clip."""
        first = bisect.bisect(self._ring, (_place(f"{seed}/{item.key}/{variant}"), 0))
        around = [self._items[index] for _, index in self._ring[first:] + self._ring[:first]]
        others = [other for other in around if other.key != item.key]
        return next((other for other in others if other.video.path != item.video.path), others[0] if others else None)


def _place(text: str) -> int:
    return int.from_bytes(sha256(text.encode()).digest()[:8], "big")
