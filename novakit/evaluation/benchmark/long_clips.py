"""Clips of any length and size that are made for a measurement: a rendered scene that plays forwards and backwards.

Source: ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from novakit.video import GROUP, write_clip
from novakit.video.geometry import Size

INTERVAL = 8
FPS = 30


@dataclass(frozen=True)
class LongClip:
    """Files of one clip."""

    source: Path  # video
    mask: Path  # video, white where content changes
    keyframes: Path  # folder of true edited keyframes, one every INTERVAL frames


def make_long_clip(folder: Path, num_frames: int, size: Size = (64, 96)) -> LongClip:
    """Write a clip, its mask and its edited keyframes.

    Args:
        folder: where the files go; exists.
        num_frames: of the clip.
        size: height and width in pixels.
    """
    from novakit.editing.contact_sheet import save_png
    from novakit.scenes import render_scenes
    from novakit.show import to_image

    scene = render_scenes([0], split="test", size=size, num_frames=33)
    last = scene.source.shape[2] - 1

    def place(t: int) -> int:
        """Frame of the scene that frame t of the clip shows: 0, 1, ..., last, last-1, ..., 0, 1, ..."""
        return last - abs(last - t % (2 * last))

    frames = (scene.source[0, :, place(t)] for t in range(num_frames))
    source = write_clip(folder / "source.mp4", frames, FPS, longest_group=GROUP)
    masks = ((2 * scene.mask[0, :, place(t)] - 1).expand(3, -1, -1) for t in range(num_frames))
    mask = write_clip(folder / "mask.mp4", masks, FPS)
    keyframes = folder / "keyframes"
    keyframes.mkdir()
    for k in range(0, num_frames, INTERVAL):
        save_png(keyframes / f"{k:05d}.png", to_image(scene.truth[0, :, place(k)]))
    return LongClip(source, mask, keyframes)
