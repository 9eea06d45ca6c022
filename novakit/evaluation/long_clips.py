"""Memory of `novakit edit` against the length of the clip: each length in a process of its own. Source: ours."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from novakit.errors import NovaError

LENGTHS = (81, 810, 8100)
"""Frames: ten times as many each time; the last one takes half an hour of two cores at 8 steps, ten minutes at 1."""
INTERVAL = 8


def measure_long_clip(num_frames: int, steps: int = 1) -> dict[str, float]:
    """Edit a clip of the nano world of any length and watch the process that does it.

    Args:
        num_frames: of the clip.
        steps: denoising steps; memory does not depend on them.

    Returns:
        "megabytes" (peak of the process, its imports included) and "seconds" of the edit.

    Raises:
        NovaError: the process failed; with what it said last.
    """
    with tempfile.TemporaryDirectory() as folder:
        source, keyframes = make_long_clip(Path(folder), num_frames)
        words = [str(source), str(keyframes), str(Path(folder) / "edit.mp4"), str(steps)]
        code = "import sys; from novakit.evaluation.long_clips import _edit_here; _edit_here(*sys.argv[1:])"
        done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False)
        if done.returncode:
            last = done.stderr.strip().splitlines()[-1:]
            raise NovaError(f"editing {num_frames} frames ended with {done.returncode}: {' '.join(last)}")
        return json.loads(done.stdout.strip().splitlines()[-1])


def make_long_clip(folder: Path, num_frames: int) -> tuple[Path, Path]:
    """Write a clip and its edited keyframes: a rendered scene that plays forwards and backwards.

    Returns:
        The video file and the folder of keyframes, one every 8 frames.
    """
    from PIL import Image

    from novakit.scenes import render_scenes
    from novakit.video import write_clip
    from novakit.video.encode import frame_to_uint8

    scene = render_scenes([0], split="test")
    last = scene.source.shape[2] - 1

    def place(t: int) -> int:
        """Frame of the scene that frame t of the clip shows: 0, 1, ..., last, last-1, ..., 0, 1, ..."""
        return last - abs(last - t % (2 * last))

    source = write_clip(folder / "source.mp4", (scene.source[0, :, place(t)] for t in range(num_frames)), 12)
    keyframes = folder / "keyframes"
    keyframes.mkdir()
    for k in range(0, num_frames, INTERVAL):
        Image.fromarray(frame_to_uint8(scene.truth[0, :, place(k)])).save(keyframes / f"{k:05d}.png")
    return source, keyframes


def _edit_here(source: str, keyframes: str, out: str, steps: str) -> None:
    """Body of `measure_long_clip`, run in its own process; prints JSON."""
    import resource

    from novakit.editing.command import edit_file

    started = time.perf_counter()
    edit_file(source, keyframes, out, steps=int(steps), quiet=True)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    print(json.dumps({"megabytes": peak / 1e6, "seconds": time.perf_counter() - started}))
