"""Speed and memory, with targets: `novakit bench --suite cpu`. Medians of five, written as JSON.

Every measurement that could be spoilt by what ran before it runs in a process of its own.
Source: ours.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from novakit.errors import NovaError
from novakit.files import atomic_write_json, require_writable_folder
from novakit.paths import build, data_samples
from novakit.provenance import provenance

REPEATS = 5
SAMPLE = "red_coat_to_blue"
#: name: (what it is, unit, target, True when smaller is better)
TARGETS = {
    "import": ("import novakit", "s", 0.3, True),
    "edit": ("nano edit of one 33-frame clip, model loaded", "s", 10.0, True),
    "edit_memory": ("peak memory of that process", "MB", 1500.0, True),
    "command": ("novakit edit as a whole process", "s", 25.0, True),
    "cache": ("denoising loop, cached against recomputed", "times faster", 1.4, False),
    "clips": ("rendering training clips", "frames/s", 1000.0, False),
    "scenes": ("rendering scenes with truth and mask", "frames/s", 1000.0, False),
    "series": ("the notebook series, profile ci", "min", 15.0, True),
    "slowest_notebook": ("its slowest notebook", "min", 3.0, True),
}


def _median(measure: Callable[[], float]) -> float:
    return statistics.median(measure() for _ in range(REPEATS))


def _seconds(action: Callable[[], object]) -> float:
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def _python(code: str) -> str:
    """Run code in a fresh interpreter and return what it printed last."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    if done.returncode:
        raise NovaError(f"a measurement ended with code {done.returncode}: {done.stderr.strip()[-400:]}")
    return done.stdout.strip().splitlines()[-1]


def measure_import() -> dict[str, float]:
    """Seconds of `import novakit` in a fresh interpreter, without the interpreter's own start."""
    code = "import time; t = time.perf_counter(); import novakit; print(time.perf_counter() - t)"
    return {"import": _median(lambda: float(_python(code)))}


def measure_edit() -> dict[str, float]:
    """Median seconds of an edit with the model loaded, and the peak memory of the process that did it."""
    return json.loads(_python("from novakit.evaluation.benchmark import _edit_here; _edit_here()"))


def _edit_here() -> None:
    """Body of `measure_edit`, run in its own process; prints JSON."""
    import resource

    from novakit.editing.pipeline import NovaEditPipeline
    from novakit.video import read_clip, read_keyframes

    folder = data_samples() / SAMPLE
    pipe = NovaEditPipeline.from_preset("nano", device="cpu")
    source = read_clip(folder / "source.mp4").frames
    keyframes = read_keyframes(folder / "keyframes", 33, (64, 96))
    pipe(source, keyframes)  # the first call also warms up
    seconds = _median(lambda: _seconds(lambda: pipe(source, keyframes)))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform != "darwin" else 1024**2)
    print(json.dumps({"edit": seconds, "edit_memory": peak * 1.048576}))


def measure_command() -> dict[str, float]:
    """Seconds of `novakit edit` on a data sample, from the shell's point of view."""
    folder = data_samples() / SAMPLE
    with tempfile.TemporaryDirectory() as out:
        words = [sys.executable, "-m", "novakit", "edit", str(folder / "source.mp4")]
        words += ["--keyframes", str(folder / "keyframes"), "--out", str(Path(out) / "edit.mp4")]

        def run() -> None:
            subprocess.run(words, check=True, capture_output=True)

        return {"command": _median(lambda: _seconds(run))}


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
        return denoise(model, pipe.scheduler, noise, pipe.preset.steps, conditions, lambda i, t, now: now)

    if not torch.allclose(loop(True), loop(False), atol=1e-4):
        raise NovaError("the cached denoising loop gives another result than the recomputed one; this is a bug.")
    pairs = [(_seconds(lambda: loop(False)), _seconds(lambda: loop(True))) for _ in range(REPEATS)]  # taking turns
    recomputed, cached = (statistics.median(column) for column in zip(*pairs, strict=True))
    gain = statistics.median(slow / quick for slow, quick in pairs)  # what else runs slows down both of a pair
    return {"cache": gain, "cached_seconds": cached, "recomputed_seconds": recomputed}


def measure_rendering() -> dict[str, float]:
    """Frames per second of the renderer at nano size, batches of four."""
    from novakit.scenes import render_clips, render_scenes

    def speed(render: Callable) -> float:
        render(range(4))
        return _median(lambda: 4 * 33 / _seconds(lambda: render(range(4))))

    return {"clips": speed(render_clips), "scenes": speed(render_scenes)}


def measure_series() -> dict[str, float]:
    """Minutes of the last run of the series, read from its report; nothing when there is none."""
    report = build() / "series" / "report.json"
    if not report.exists():
        return {}
    minutes = [notebook["minutes"] or 0.0 for notebook in json.loads(report.read_text())["notebooks"]]
    return {"series": sum(minutes), "slowest_notebook": max(minutes)}


MEASUREMENTS = (measure_import, measure_edit, measure_command, measure_cache, measure_rendering, measure_series)


def bench(suite: str = "cpu", out: Path | None = None) -> dict:
    """Run a suite, print a table, write JSON.

    Args:
        suite: "cpu".
        out: JSON file, or None.

    Raises:
        NovaError: an unknown suite.
    """
    if suite != "cpu":
        raise NovaError(f"There is no suite {suite!r}; the suites are: cpu.")
    if out:
        require_writable_folder(Path(out).absolute().parent)
    numbers: dict[str, float] = {}
    for measure in MEASUREMENTS:
        numbers |= measure()
    rows = []
    for name, (what, unit, target, smaller) in TARGETS.items():
        if name in numbers:
            met = numbers[name] <= target if smaller else numbers[name] >= target
            rows.append({"what": what, "value": round(numbers[name], 3), "unit": unit, "target": target, "met": met})
            sign = "<=" if smaller else ">="
            print(f"{what:50s} {numbers[name]:9.2f} {unit:12s} target {sign} {target:g}: {'met' if met else 'NOT MET'}")
    report = {
        "suite": suite,
        "repeats": REPEATS,
        "rows": rows,
        "numbers": {name: round(value, 4) for name, value in numbers.items()},
        "load_before": os.getloadavg() if hasattr(os, "getloadavg") else None,
        **provenance(device="cpu"),
    }
    if out:
        atomic_write_json(out, report)
    return report
