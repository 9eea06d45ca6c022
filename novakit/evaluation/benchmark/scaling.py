"""The suite "scaling": how the cost of one forward grows with frames, size and keyframes, at nano size on one core.

Cost ~ size^e: the exponent e is the slope of a straight line through log(seconds) against log(size), and, beside it,
through log(counted FLOP). Linear layers alone would give 1, full attention alone 2; a real network lies between, and
moves towards 2 as clips grow. Keyframes cost NOVA nothing (they are interpolated into one control sequence), but cost
the official scheme a latent frame each. Source: ours.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

from novakit.evaluation.benchmark.gpu_setup import Inputs, Setup
from novakit.evaluation.benchmark.measuring import Suite, Target

FRAMES = (9, 17, 33, 65, 97)
SIZES = ((32, 48), (48, 72), (64, 96), (96, 144), (112, 168))
"""Height and width in pixels at 33 frames."""
KEYFRAMES = (1, 2, 3, 5, 9)
REPEATS = 5
TARGETS = {
    "keyframes.exponent": Target("exponent of NOVA's cost in the number of keyframes", "", 0.1),
    "keyframes_official.exponent": Target("the same for the official scheme", "", 0.1, at_least=True),
}


def measure(axis: str, values: Sequence, scheme: str, setup: Callable[[object], Setup], size: Callable) -> dict:
    """Seconds and counted GFLOP at every value of one axis, and both exponents.

    Args:
        axis: prefix of the numbers.
        values: places on the axis.
        scheme: "cached" or "official".
        setup: `setup(value)`, the nano network and the clip of that value.
        size: `size(value)`, the number that the exponent refers to.

    Returns:
        "AXIS.VALUE.seconds" and "AXIS.VALUE.gflop" for each, "AXIS.exponent", "AXIS.flop_exponent".
    """
    from novakit.models.cost import Work, forward_cost

    sizes, seconds, flop, found = [], [], [], {}
    for value in values:
        cues = value if axis.startswith("keyframes") else None
        made = setup(value)
        cost = forward_cost(Work(made.preset, "official" if scheme == "official" else "nova", keyframes=cues))
        sizes.append(size(value))
        flop.append(cost.flop.forward)
        seconds.append(_seconds(made, scheme, cues))
        name = "x".join(map(str, value)) if isinstance(value, tuple) else value
        found |= {f"{axis}.{name}.seconds": seconds[-1], f"{axis}.{name}.gflop": flop[-1] / 1e9}
        print(f"  {axis} {name}: {seconds[-1]:.3f} s, {flop[-1] / 1e9:.2f} GFLOP", flush=True)
    return found | {f"{axis}.exponent": exponent(sizes, seconds), f"{axis}.flop_exponent": exponent(sizes, flop)}


def exponent(sizes: Sequence[float], costs: Sequence[float]) -> float:
    """Least-squares slope of log(cost) against log(size)."""
    x, y = ([math.log(value) for value in column] for column in (sizes, costs))
    mean_x, mean_y = sum(x) / len(x), sum(y) / len(y)
    spread = sum((a - mean_x) ** 2 for a in x)
    return sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True)) / spread


def _seconds(setup: Setup, scheme: str, cues: int | None) -> float:
    """The quickest of REPEATS forwards, in CPU seconds of one thread: what else runs on the machine counts little."""
    import torch

    from novakit.evaluation.benchmark.gpu_measure import forward_action
    from novakit.evaluation.benchmark.gpu_setup import random_inputs

    network = _network(setup, scheme)
    given = random_inputs(setup, scheme, torch.float32)
    if scheme == "official" and cues is not None:
        control = torch.randn(*given.latents.shape[:2], cues, *given.latents.shape[3:])
        given = Inputs(given.latents, given.timestep, given.text, control, given.source)
    with torch.no_grad(), one_thread():
        forward = forward_action(network, scheme, given)
        forward()
        return min(_timed(forward) for _ in range(REPEATS))


def _timed(action: Callable[[], object]) -> float:
    started = time.process_time()
    action()
    return time.process_time() - started


def _network(setup: Setup, scheme: str):
    """The nano network with random weights, float32."""
    from novakit.evaluation.benchmark.gpu_schemes import OfficialScheme
    from novakit.models import build_transformer

    model = build_transformer(setup.preset).requires_grad_(False).eval()
    return OfficialScheme(model.base).requires_grad_(False) if scheme == "official" else model


@contextmanager
def one_thread() -> Iterator[None]:
    """torch computes on one thread inside."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _setup(**clip) -> Setup:
    """Nano with another clip; RoPE's table is made long enough for it."""
    from novakit.presets import NANO

    return Setup(preset=replace(NANO, transformer={**NANO.transformer, "rope_max_seq_len": 64}, **clip), device="cpu")


def _of_frames(value: int) -> Setup:
    return _setup(num_frames=value)


def _of_size(value: tuple[int, int]) -> Setup:
    return _setup(height=value[0], width=value[1])


def _of_keyframes(_value: int) -> Setup:
    return _setup()


def measure_frames() -> dict[str, float]:
    """Against the number of latent frames, 1 + (T-1)/4."""
    return measure("frames", FRAMES, "cached", _of_frames, lambda value: 1 + (value - 1) // 4)


def measure_sizes() -> dict[str, float]:
    """Against the number of pixels of a frame."""
    return measure("pixels", SIZES, "cached", _of_size, math.prod)


def measure_keyframes(scheme: str = "cached") -> dict[str, float]:
    """Against the number of keyframes, at the preset's clip."""
    axis = "keyframes" if scheme == "cached" else "keyframes_official"
    return measure(axis, KEYFRAMES, scheme, _of_keyframes, float)


SUITE = Suite(TARGETS, (measure_frames, measure_sizes, measure_keyframes, partial(measure_keyframes, "official")))
