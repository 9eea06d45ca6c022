"""An edit by the pipeline itself while its parts wait in main memory: how little of a card is enough. Source: ours."""

from __future__ import annotations

from novakit.evaluation.benchmark.gpu_edit import random_clip, random_vae, steps_within
from novakit.evaluation.benchmark.gpu_measure import Numbers, quickest_attention
from novakit.evaluation.benchmark.gpu_setup import Setup, build_network, clock, forget_peak, peak, require_finite
from novakit.presets import get_preset


def measure_offload(setup: Setup, known: Numbers, offload: str) -> Numbers:
    """Seconds and peak memory of `novakit edit --offload OFFLOAD --tiling --features-cache`, for a small card.

    Args:
        setup: preset, device and number of steps.
        known: numbers so far (the quickest attention, the forward's seconds).
        offload: one of `novakit.editing.running.OFFLOADS`.

    Returns:
        "seconds" of one edit of "steps_measured" steps, loading of the parts included, and peak memory.
    """
    import torch

    from novakit.editing.base_parts import decode_in
    from novakit.editing.pipeline import NovaEditPipeline
    from novakit.editing.running import Running
    from novakit.models import build_scheduler

    network, preset = build_network(setup, "cached").cpu(), get_preset(setup.preset)
    attention = quickest_attention(known)
    how = Running(offload, None if attention == "native" else attention, tiling=True)
    parts = {"vae": decode_in(random_vae(setup).cpu(), torch.bfloat16), "transformer": network}
    pipe = NovaEditPipeline(**parts, scheduler=build_scheduler(preset))
    pipe = how.apply(pipe, torch.device(setup.device))
    clip = random_clip(setup).cpu()
    keyframes = {k: clip[0, :, k] for k in range(0, preset.num_frames, preset.interval)}
    forget_peak(setup)
    steps = min(4, steps_within(setup, known, "cached"))

    def edit() -> None:
        frames = pipe(clip, keyframes, num_inference_steps=steps, use_cache="features").frames
        require_finite(frames, f"the edit with offload={offload}")

    taken = clock(setup, edit, warm=0)
    return {"seconds": taken, "steps_measured": float(steps)} | peak(setup)
