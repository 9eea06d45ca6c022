"""The summary that `novakit keyframes` prints at the end. Source: ours."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from novakit.video import ClipInfo

LISTED = 12  # most keyframes whose confidence the summary tells


@dataclass(frozen=True)
class KeyframeFiles:
    """What `make_keyframes` did."""

    folder: Path  # the keyframes
    info: ClipInfo  # of the source
    indices: tuple[int, ...]  # frame indices of the keyframes
    editor: str | None  # None = extracted only
    kept: int  # keyframes of an earlier run that were kept
    pages: tuple[Path, ...]  # contact sheet
    mask: Path | None  # video with a mask for every frame: the propagated one, or the one that came
    confidence: dict[int, float] = field(default_factory=dict)  # of the propagated mask, by keyframe
    seconds: float = 0.0  # wall time of the whole command

    def __str__(self) -> str:
        height, width = self.info.size
        made = f"edited by {self.editor}" if self.editor else "extracted"
        kept = f" ({self.kept} kept from an earlier run)" if self.kept else ""
        few = ", ".join(map(str, self.indices[:3])) + (", ..." if len(self.indices) > 3 else "")
        more = f" to {self.pages[-1].name}" if len(self.pages) > 1 else ""
        return (
            f"{self.folder}: {len(self.indices)} keyframes {width}x{height} (frames {few}) {made}{kept}, "
            f"{self.seconds:.1f} s\n{self._trust()}contact sheet: {self.pages[0]}{more}\nnext: {self._next()}"
        )

    def _trust(self) -> str:
        """One line on how far the mask could be followed, for at most a dozen keyframes the lowest ones."""
        if not self.confidence:
            return ""
        lowest = sorted(sorted(self.confidence, key=self.confidence.get)[:LISTED])
        what = "lowest of the mask's confidences" if len(self.confidence) > LISTED else "confidence of the mask"
        return f"{what}: " + ", ".join(f"{index}: {self.confidence[index]:.2f}" for index in lowest) + "\n"

    def _next(self) -> str:
        name = self.info.path
        if self.editor is None:
            return (
                f"edit the images in {self.folder} (same names, same size), then `novakit edit {name} --keyframes "
                f"{self.folder} --out edit.mp4`"
            )
        mask = f" --mask {self.mask} --paste-back" if self.mask else ""
        return f"`novakit edit {name} --keyframes {self.folder}{mask} --out edit.mp4`"
