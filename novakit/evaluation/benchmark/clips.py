"""The suite "clips": keyframes, masks, long and large clips, each in a process of its own. About a quarter of an hour.

Rates are frames by the wall time of whole calls, decoding and writing included. Source: ours.
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from pathlib import Path

from novakit.evaluation.benchmark.long_clips import INTERVAL, LongClip, make_long_clip
from novakit.evaluation.benchmark.measuring import Suite, Target, peak_megabytes, python
from novakit.video.geometry import Size

FULL_HD = (1080, 1920)
LENGTHS = (81, 810, 8100)
"""Frames of the clips whose memory is compared; one denoising step, on which memory does not depend."""
TARGETS = {
    "keyframes_nano": Target("novakit keyframes, NanoEditor, 96x64", "keyframes/s", 20.0, at_least=True),
    "keyframes_hd": Target("novakit keyframes, NanoEditor, 1920x1080", "keyframes/s", 2.0, at_least=True),
    "masks": Target("a drawn mask carried by optical flow, 832x480, one thread", "frames/s", 15.0, at_least=True),
    "hd_edit": Target("editing 300 frames of 1920x1080 at 8 steps", "min", 4.0),
    "hd_memory": Target("peak memory of that process", "MB", 2000.0),
    **{f"memory_{n}": Target(f"peak memory of editing {n} frames", "MB", 2000.0) for n in LENGTHS},
}


def measure_keyframes() -> dict[str, float]:
    """Keyframes per second at both sizes: 102 small ones, 17 large ones."""
    with tempfile.TemporaryDirectory() as folder:
        small, large = Path(folder) / "small", Path(folder) / "large"
        return {
            "keyframes_nano": _rate_of_keyframes(small, 8 * 101 + 1, (64, 96)),
            "keyframes_hd": _rate_of_keyframes(large, 8 * 16 + 1, FULL_HD),
        }


def _rate_of_keyframes(folder: Path, num_frames: int, size: Size) -> float:
    folder.mkdir()
    clip = make_long_clip(folder, num_frames, size)
    code = "import sys; from novakit.evaluation.benchmark.clips import _keyframes_here; _keyframes_here(*sys.argv[1:])"
    return float(python(code, str(clip.source), str(clip.mask), str(folder)))


def _keyframes_here(source: str, mask: str, folder: str) -> None:
    """Median of three calls after one that warms up; prints keyframes per second."""
    from novakit.editing.keyframes_command import make_keyframes
    from novakit.editing.keyframes_options import Choice

    choice = Choice("nano", edit="recolour", colour="teal")
    rates = []
    for attempt in range(4):
        made = make_keyframes(source, INTERVAL, Path(folder) / f"keys_{attempt}", choice, mask=mask, quiet=True)
        rates.append(len(made.indices) / made.seconds)
    print(statistics.median(rates[1:]))


def measure_masks() -> dict[str, float]:
    """Frames per second of `propagate_mask` at 832x480 with one thread."""
    return {"masks": float(python("from novakit.evaluation.benchmark.clips import _masks_here; _masks_here()"))}


def _masks_here() -> None:
    """Median of three passes over 33 frames; prints frames per second."""
    import cv2
    import torch

    from novakit.editing.masks import propagate_mask
    from novakit.scenes import render_scenes

    scene = render_scenes([5], split="val", size=(480, 832), edit="remove", walker=False)
    torch.set_num_threads(1), cv2.setNumThreads(1)
    rates = []
    for _ in range(3):
        started = time.perf_counter()
        propagate_mask(scene.source, scene.mask[0, :, 0])
        rates.append(scene.source.shape[2] / (time.perf_counter() - started))
    print(statistics.median(rates))


def measure_large_clip() -> dict[str, float]:
    """Ten seconds of full HD, from the file to the edited file."""
    measured = measure_edit(300, size=FULL_HD, steps=8)
    return {"hd_edit": measured["seconds"] / 60, "hd_memory": measured["megabytes"]}


def measure_memory() -> dict[str, float]:
    """Peak memory for every one of LENGTHS."""
    measured = {n: measure_edit(n) for n in LENGTHS}
    memory = {f"memory_{n}": numbers["megabytes"] for n, numbers in measured.items()}
    return memory | {f"seconds_{n}": numbers["seconds"] for n, numbers in measured.items()}


def measure_edit(num_frames: int, size: Size = (64, 96), steps: int = 1) -> dict[str, float]:
    """Edit a made clip through `edit_file` and watch the process that does it.

    Args:
        num_frames: of the clip.
        size: height and width in pixels.
        steps: denoising steps.

    Returns:
        "megabytes" (peak of the process, its imports included) and "seconds" of the edit.

    Raises:
        NovaError: the process failed; with what it said last.
    """
    with tempfile.TemporaryDirectory() as folder:
        clip = make_long_clip(Path(folder), num_frames, size)
        return edit_and_watch(clip, Path(folder) / "edit.mp4", steps)


def edit_and_watch(clip: LongClip, out: Path, steps: int) -> dict[str, float]:
    """The part of `measure_edit` after the clip is made."""
    code = "import sys; from novakit.evaluation.benchmark.clips import _edit_here; _edit_here(*sys.argv[1:])"
    return json.loads(python(code, str(clip.source), str(clip.keyframes), str(out), str(steps)))


def _edit_here(source: str, keyframes: str, out: str, steps: str) -> None:
    """Body of `edit_and_watch`, run in its own process; prints JSON."""
    from novakit.editing.command import edit_file

    started = time.perf_counter()
    edit_file(source, keyframes, out, steps=int(steps), quiet=True)
    print(json.dumps({"megabytes": peak_megabytes(), "seconds": time.perf_counter() - started}))


SUITE = Suite(TARGETS, (measure_keyframes, measure_masks, measure_large_clip, measure_memory))
