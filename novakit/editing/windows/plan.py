"""A long clip as overlapping windows of the preset's T: where they lie, how they fade, and their noise.

    frames   0 ........ 32
                    24 ........ 56          windows of 33 frames, 24 apart
    edit     00000000////////1111111..      in the overlap one window fades into the next

Windows start at multiples of 4 frames, so the latents of two windows describe the same four frames and can start
from the same noise. Source: ours.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

OVERLAP = 9
"""Least number of frames that neighbouring windows share."""
FADE = 9
"""Frames in the middle of an overlap over which one window fades into the next; shorter fades show (EXPERIMENTS.md)."""
STEP = 4
"""Frames of one latent: windows start at its multiples."""


@dataclass(frozen=True)
class Window:
    """Frames start..stop-1 of a clip; frames fade_in..fade_in+fade-1 come in over the window before."""

    start: int
    stop: int
    fade_in: int  # first frame in which this window counts; `start` for the first window
    fade: int  # frames of the fade, 0 for the first window

    @property
    def num_frames(self) -> int:
        """T of the window, 4k+1."""
        return self.stop - self.start

    @property
    def end_of_fade(self) -> int:
        """The first frame in which the window before has no say."""
        return self.fade_in + self.fade

    def weight(self, t: int) -> float:
        """Share of this window in frame t up to the end of its fade; the window before has the rest."""
        return max(0, t - self.fade_in + 1) / (self.fade + 1)


def padded_length(num_frames: int) -> int:
    """The next 4k+1."""
    return num_frames + (1 - num_frames) % STEP


def plan_windows(num_frames: int, longest: int, overlap: int = OVERLAP, fade: int = FADE) -> list[Window]:
    """Cover a clip with as few windows as the overlap allows, evenly.

    Args:
        num_frames: length of the clip; the last window ends at the next 4k+1.
        longest: T of a window, 4k+1 and at least 5.
        overlap: least number of frames that neighbours share.
        fade: frames of a cross-fade, at most `overlap`.

    Returns:
        One window of the clip's own (padded) length when that is at most `longest`, else windows of `longest` frames.
    """
    whole = padded_length(num_frames)
    if whole <= longest:
        return [Window(0, whole, 0, 0)]
    stride = max(STEP, (longest - overlap) // STEP * STEP)
    count = -(-(whole - longest) // stride)  # windows behind the first
    places = (whole - longest) // STEP
    starts = [STEP * (i * places // count) for i in range(count + 1)]
    windows = [Window(0, longest, 0, 0)]
    for start in starts[1:]:
        last = windows[-1]
        middle = start + max(0, last.stop - start - fade) // 2
        fade_in = max(middle, last.end_of_fade)  # one fade at a time
        windows.append(Window(start, start + longest, fade_in, min(fade, last.stop - fade_in)))
    return windows


def cross_fade(windows: list[Window], edits: Iterable[Tensor]) -> Iterator[Tensor]:
    """The frames of a clip from its windows, one by one, two windows in memory.

    Args:
        windows: neighbours, in order.
        edits: the window's frames (3, T, H, W), one tensor per window.

    Yields:
        (3, H, W), from the first window's start to the last one's end.
    """
    done, last, before = windows[0].start, windows[0], None
    for window, edit in zip(windows, edits, strict=True):
        if before is not None:
            for t in range(done, window.end_of_fade):
                old, weight = before[:, t - last.start], window.weight(t)
                yield torch.lerp(old, edit[:, t - window.start], weight) if weight else old
            done = window.end_of_fade
        last, before = window, edit
    for t in range(done, last.stop):
        yield before[:, t - last.start]


def windows_of(windows: list[Window], start: int, stop: int) -> list[Window]:
    """The windows that have a say in frames start..stop-1."""
    ends = [after.end_of_fade for after in windows[1:]] + [windows[-1].stop]
    return [window for window, end in zip(windows, ends) if window.fade_in < stop and end > start]


def window_noise(window: Window, shape: tuple[int, ...], seed: int) -> Tensor:
    """Starting noise of a window, the same for the same four frames in whichever window.

    The first T frames get what `NovaEditPipeline` draws from a generator of that seed, so a clip of one window is
    one plain call; every latent frame behind them has a generator of its own.

    Args:
        window: starts at a multiple of 4.
        shape: (1, Z, t, h, w).
        seed: 0 .. 2**63 - 1.

    Returns:
        (1, Z, t, h, w) float32, standard normal.
    """
    first = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    begin, count = window.start // STEP, shape[2]
    later = [_latent_noise(g, shape, seed) for g in range(max(begin, count), begin + count)]
    return torch.cat([first[:, :, begin:], *later], dim=2)  # (1, Z, t, h, w)


def _latent_noise(g: int, shape: tuple[int, ...], seed: int) -> Tensor:
    """Noise (1, Z, 1, h, w) of latent frame g of the clip."""
    generator = torch.Generator().manual_seed((seed * 1_000_003 + g) % 2**63)
    return torch.randn((*shape[:2], 1, *shape[3:]), generator=generator)
