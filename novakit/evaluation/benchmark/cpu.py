"""The suite "cpu": what a student waits for on a laptop. Medians of five. Source: ours."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from novakit.errors import NovaError
from novakit.evaluation.benchmark.measuring import REPEATS, Suite, Target, median, peak_megabytes, python, seconds
from novakit.paths import build, data_samples

SAMPLE = "red_coat_to_blue"
CACHE_STEPS = 8  # of the loop that shows the cache: the replica runs once, not in every step; an edit takes fewer
TARGETS = {
    "import": Target("import novakit", "s", 0.3),
    "edit": Target("nano edit of one 33-frame clip, model loaded", "s", 10.0),
    "edit_memory": Target("peak memory of that process", "MB", 1500.0),
    "command": Target("novakit edit as a whole process", "s", 25.0),
    "cache": Target(f"{CACHE_STEPS} denoising steps, cached against recomputed", "times faster", 1.4, at_least=True),
    "clips": Target("rendering training clips", "frames/s", 1000.0, at_least=True),
    "scenes": Target("rendering scenes with truth and mask", "frames/s", 1000.0, at_least=True),
    "series": Target("the notebook series, profile ci", "min", 15.0),
    "slowest_notebook": Target("its slowest notebook", "min", 3.0),
}


def measure_import() -> dict[str, float]:
    """Seconds of `import novakit` in a fresh interpreter, without the interpreter's own start."""
    code = "import time; t = time.perf_counter(); import novakit; print(time.perf_counter() - t)"
    return {"import": median(lambda: float(python(code)))}


def measure_edit() -> dict[str, float]:
    """Median seconds of an edit with the model loaded, and the peak memory of the process that did it."""
    return json.loads(python("from novakit.evaluation.benchmark.cpu import _edit_here; _edit_here()"))


def _edit_here() -> None:
    """Body of `measure_edit`, run in its own process; prints JSON."""
    from novakit.editing.pipeline import NovaEditPipeline
    from novakit.video import read_clip, read_keyframes

    folder = data_samples() / SAMPLE
    pipe = NovaEditPipeline.from_preset("nano", device="cpu")
    source = read_clip(folder / "source.mp4").frames
    keyframes = read_keyframes(folder / "keyframes", 33, (64, 96))
    pipe(source, keyframes)  # the first call also warms up
    taken = median(lambda: seconds(lambda: pipe(source, keyframes)))
    print(json.dumps({"edit": taken, "edit_memory": peak_megabytes()}))


def measure_command() -> dict[str, float]:
    """Seconds of `novakit edit` on a data sample, from the shell's point of view."""
    folder = data_samples() / SAMPLE
    with tempfile.TemporaryDirectory() as out:
        words = [sys.executable, "-m", "novakit", "edit", str(folder / "source.mp4")]
        words += ["--keyframes", str(folder / "keyframes"), "--out", str(Path(out) / "edit.mp4")]

        def run() -> None:
            subprocess.run(words, check=True, capture_output=True)

        return {"command": median(lambda: seconds(run))}


def measure_cache() -> dict[str, float]:
    """How much faster the denoising loop is with K and V of the source cached; refuses if the results differ."""
    import torch

    from novakit.editing.denoise import Conditions, denoise
    from novakit.editing.pipeline import NovaEditPipeline

    pipe = NovaEditPipeline.from_preset("nano", device="cpu")
    generator = torch.Generator().manual_seed(0)
    noise, source = torch.randn(2, 1, 48, 9, 8, 12, generator=generator)
    control = torch.randn(1, 160, 9, 8, 12, generator=generator)
    model, text = pipe.transformer, torch.zeros(1, 1, pipe.transformer.base.config.text_dim)

    @torch.no_grad()
    def loop(cached: bool) -> torch.Tensor:
        given = (None, model.encode_source(source, text)) if cached else (source, None)
        conditions = Conditions(control, *given, text, None, text)
        return denoise(model, pipe.scheduler, noise, CACHE_STEPS, conditions, lambda i, t, now: now)

    if not torch.allclose(loop(True), loop(False), atol=1e-4):
        raise NovaError("the cached denoising loop gives another result than the recomputed one; this is a bug.")
    pairs = [(seconds(lambda: loop(False)), seconds(lambda: loop(True))) for _ in range(REPEATS)]  # taking turns
    recomputed, cached = (statistics.median(column) for column in zip(*pairs, strict=True))
    gain = statistics.median(slow / quick for slow, quick in pairs)  # what else runs slows down both of a pair
    return {"cache": gain, "cached_seconds": cached, "recomputed_seconds": recomputed}


def measure_rendering() -> dict[str, float]:
    """Frames per second of the renderer at nano size, batches of four."""
    from novakit.scenes import render_clips, render_scenes

    def speed(render: Callable) -> float:
        render(range(4))
        return median(lambda: 4 * 33 / seconds(lambda: render(range(4))))

    return {"clips": speed(render_clips), "scenes": speed(render_scenes)}


def measure_series() -> dict[str, float]:
    """Minutes of the last run of the series, read from its report; nothing when there is none."""
    report = build() / "series" / "report.json"
    if not report.exists():
        return {}
    minutes = [notebook["minutes"] or 0.0 for notebook in json.loads(report.read_text())["notebooks"]]
    return {"series": sum(minutes), "slowest_notebook": max(minutes)}


SUITE = Suite(
    TARGETS,
    (measure_import, measure_edit, measure_command, measure_cache, measure_rendering, measure_series),
)
