"""What the measurements of the suite "gpu" share: the setup, networks with random weights, inputs, the clock.

Source: ours.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from novakit.errors import NovaError
from novakit.presets import Preset, get_preset

if TYPE_CHECKING:
    from torch import Tensor, nn

SCHEMES: dict[str, dict] = {
    "vace": {"scheme": "vace"},  # diffusers' plain WanVACETransformer3DModel
    "naive": {"cached": False},  # dual branch, the replica runs in every denoising step
    "cached": {},  # keys and values of the source once per edit
    "local": {"window": 0},  # the same, each main token sees the source's tokens of its own latent frame
    "official": {"scheme": "official"},  # source, cues and target joined in time (gpu_schemes.py)
}
"""Name in the tables -> fields of `novakit.models.cost.Work`."""


@dataclass(frozen=True)
class Setup:
    """Where and how the suite measures; the defaults are the suite, other values rehearse it."""

    preset: str | Preset = "wan-1.3b"
    device: str = "cuda"
    budget: float = 8.0  # seconds after which a measurement takes no further repeat
    longest: float = 20.0  # seconds that the denoising of one edit may take; fewer steps are multiplied to the whole
    repeats: int = 5  # at most; the median counts
    steps: int = 50  # denoising steps of an edit
    matmul: int = 8192  # side of the matrix product that says what the card really reaches
    compiler: str = "inductor"  # of regional compilation

    def work(self, name: str, **switches: bool):
        """The counted side of a scheme."""
        from novakit.models.cost import Work

        return Work(self.preset, **SCHEMES[name], **switches)


def build_network(setup: Setup, name: str, learning: bool = False, keep_attention: bool = False) -> nn.Module:
    """The network of a scheme with random weights, as `from_pretrained` and training hold it.

    Args:
        setup: preset and device.
        name: one of SCHEMES.
        learning: gradients, checkpointing, learning weights in float32; else everything frozen.
        keep_attention: see `novakit.models.checkpointing`.

    Returns:
        A module that is called as `gpu_schemes` says.
    """
    import torch

    from novakit.evaluation.benchmark.gpu_schemes import OfficialScheme, PlainVace
    from novakit.models import build_transformer, freeze_base
    from novakit.models.checkpointing import checkpoint_gradients

    work = setup.work(name)
    torch.manual_seed(0)
    with torch.device(setup.device):
        model = build_transformer(setup.preset, **({} if work.window is None else {"dense_window": work.window}))
        for linear in model.dense_branch.output_projections():
            torch.nn.init.normal_(linear.weight, std=0.02)  # as after training: zeros would make a card run cooler
    if work.scheme == "nova":
        freeze_base(model)
        network = model
    else:
        network = {"vace": PlainVace, "official": OfficialScheme}[work.scheme](model.base)
    if work.scheme == "official":
        del model.base.vace_blocks, model.base.vace_patch_embedding
    if not learning:
        return _halve(network, model).requires_grad_(False).eval()
    checkpoint_gradients(network, keep_attention)
    return _halve(network, model, skip_learning=True).train()


def _halve(network: nn.Module, model: nn.Module, skip_learning: bool = False) -> nn.Module:
    """bfloat16, but for the parts that diffusers keeps in float32 and, in training, the weights that learn."""
    import torch

    kept = set(model._keep_in_fp32_modules)
    for name, weight in network.named_parameters():
        if not kept & set(name.split(".")) and not (skip_learning and weight.requires_grad):
            weight.data = weight.data.to(torch.bfloat16)
    return network


@dataclass(frozen=True)
class Inputs:
    """Random inputs of the right shapes."""

    latents: Tensor  # (B, Z, t, h, w), the noisy target
    timestep: Tensor  # (B,)
    text: Tensor  # (B, L, text_dim)
    control: Tensor  # VACE context (B, 2Z + s*s, t, h, w); official: cue latents (B, Z, K, h, w)
    source: Tensor  # (B, Z, t, h, w)


def random_inputs(setup: Setup, name: str, dtype) -> Inputs:
    """Inputs of a scheme at the preset's size.

    Args:
        setup: preset and device.
        name: one of SCHEMES.
        dtype: torch dtype of all but the timestep.
    """
    import torch

    shape = setup.work(name).shape
    patch = get_preset(setup.preset).transformer["patch_size"]
    grid = tuple(tokens * step for tokens, step in zip(shape.grid, patch, strict=True))

    def draw(*sizes: int) -> Tensor:
        return torch.randn(shape.batch, *sizes, device=setup.device, dtype=dtype)

    cues = (shape.channels, shape.cues, *grid[1:])
    control = cues if name == "official" else (shape.control_channels, *grid)
    timestep = torch.full((shape.batch,), 500.0, device=setup.device)
    latents, source = draw(shape.channels, *grid), draw(shape.channels, *grid)
    return Inputs(latents, timestep, draw(shape.text, shape.text_width), draw(*control), source)


def clock(setup: Setup, action: Callable[[], object], warm: int = 1) -> float:
    """Median seconds of an action, after `warm` calls that do not count.

    On CUDA the time between two events on the stream, with the device idle before the first.
    """
    for _ in range(warm):
        action()
    started, taken = time.monotonic(), []
    while len(taken) < setup.repeats and (not taken or time.monotonic() - started < setup.budget):
        taken.append(once(setup, action))
    return statistics.median(taken)


def once(setup: Setup, action: Callable[[], object]) -> float:
    """Seconds of one call."""
    if not setup.device.startswith("cuda"):
        started = time.perf_counter()
        action()
        return time.perf_counter() - started
    import torch

    begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    torch.cuda.synchronize()
    begin.record()
    action()
    end.record()
    torch.cuda.synchronize()
    return begin.elapsed_time(end) / 1000


def forget_peak(setup: Setup) -> None:
    """Start to watch the device's memory anew."""
    if setup.device.startswith("cuda"):
        import gc

        import torch

        gc.collect()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def peak(setup: Setup) -> dict[str, float]:
    """Peak since `forget_peak`: allocated and reserved GB; on the CPU nothing, its memory is not the question."""
    if not setup.device.startswith("cuda"):
        return {}
    import torch

    reserved = torch.cuda.max_memory_reserved() / 1e9
    return {"memory_gb": torch.cuda.max_memory_allocated() / 1e9, "reserved_gb": reserved}


def require_finite(tensor: Tensor, what: str) -> None:
    """Refuse a measurement of numbers that are none.

    Raises:
        NovaError: NaN or infinity.
    """
    if not bool(tensor.isfinite().all()):
        raise NovaError(f"{what} gives NaN or infinity with random weights; its time would mean nothing.")
