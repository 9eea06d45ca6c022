"""The windows of a long clip, edited one after the other: source, control and noise of each, and what comes out.

    file -> frames at the preset's size -> window -> NovaEditPipeline -> latents (kept on disk) -> frames
    keyframe store -> keyframes of the window, and the control at its borders ---^

Only two windows are ever in memory, however long the clip is. Source: ours.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm.auto import tqdm

from novakit.editing.postprocess import match_colour
from novakit.editing.windows.plan import STEP, Window, window_noise
from novakit.editing.windows.store import WindowStore, weights_key, window_key
from novakit.models.latents import decode_latents, encode_clip, vae_scale
from novakit.video import ClipInfo, Geometry, KeyframeStore, frame_to_tensor, iter_frames, iter_mask


@dataclass(frozen=True)
class EditJob:
    """One edit: what it reads and how it is made."""

    info: ClipInfo  # the source file
    geometry: Geometry  # from its size to the preset's
    keyframes: KeyframeStore  # at the preset's size
    mask: Path | None  # where content changes; for post-processing only, the network never sees it
    pipeline: Any = None  # NovaEditPipeline
    steps: int | None = None  # denoising steps; None = the preset's
    seed: int = 0  # of the starting noise
    prompt: str = ""  # for presets with a text encoder
    use_cache: bool | str = True  # as in NovaEditPipeline; the frames are the same
    step_cache: float = 0.0  # threshold of the step cache; 0 = every step is computed
    match_colour: bool = False
    paste_back: bool = False
    quiet: bool = False  # no progress bar

    @property
    def scaled(self) -> bool:
        """True when the source has another size than the edit: the edit's difference is then added to it."""
        return self.info.size != self.geometry.size


def edit_windows(job: EditJob, windows: list[Window], store: WindowStore | None = None) -> Iterator[Tensor]:
    """Edit neighbouring windows.

    Args:
        job: what to edit and how.
        windows: in order, from `plan_windows`.
        store: where finished windows are kept and found; None = nowhere.

    Yields:
        (3, T, h, w) per window, on the CPU at the preset's size: the edited frames or, when the job is `scaled`,
        their difference to the VAE round trip of the source (what the VAE alone loses is no part of the edit).
    """
    weights = weights_key(job.pipeline.vae, job.pipeline.transformer) if store else ""
    bar = tqdm(windows, desc="windows", disable=True if job.quiet or len(windows) == 1 else None)
    with _without_inner_bar(job.pipeline, len(windows) > 1):
        for window, source, outside in zip(bar, _sources(job, windows), _outsides(job, windows)):
            latents = _latents(job, window, source, store, weights)
            yield _frames(job, latents, source, outside)


@contextmanager
def _without_inner_bar(pipeline: Any, many: bool) -> Iterator[None]:
    """One progress bar over the windows instead of one in each."""
    before = pipeline._progress_bar_config
    if many:
        pipeline.set_progress_bar_config(disable=True)
    try:
        yield
    finally:
        pipeline.set_progress_bar_config(**before)


def window_keyframes(keyframes: KeyframeStore, window: Window) -> dict[int, Tensor]:
    """Keyframes of a window, counted from its start; at its borders the control of the whole clip.

    Interpolated and held as in `interpolate_keyframes`, they give exactly the whole clip's control, cut.
    """
    inside = [k for k in keyframes.indices if window.start <= k < window.stop]
    borders = [t for t in (window.start, window.stop - 1) if t not in inside]
    return {t - window.start: control_at(keyframes, t) for t in sorted([*inside, *borders])}


def control_at(keyframes: KeyframeStore, t: int) -> Tensor:
    """Frame t of the control sequence (3, h, w): between two keyframes interpolated, outside of all the nearest."""
    left = max((k for k in keyframes.indices if k <= t), default=keyframes.indices[0])
    right = min((k for k in keyframes.indices if k >= t), default=keyframes.indices[-1])
    if left >= right:  # on a keyframe, or outside of all
        return keyframes[left]
    return torch.lerp(keyframes[left], keyframes[right], (t - left) / (right - left))


def sliding(frames: Iterable[Tensor], windows: list[Window]) -> Iterator[Tensor]:
    """Cut a stream of frames into windows; the last frame is repeated where the last window reaches further.

    Args:
        frames: (C, h, w) each, the first one that of the first window's start.
        windows: in order.

    Yields:
        (C, T, h, w) per window.
    """
    stream, held, begin = iter(frames), [], windows[0].start
    for window in windows:
        held, begin = held[window.start - begin :], window.start
        while len(held) < window.num_frames:
            held.append(next(stream, held[-1] if held else None))
        yield torch.stack(held[: window.num_frames], dim=1)


def _sources(job: EditJob, windows: list[Window]) -> Iterator[Tensor]:
    """Source (3, T, h, w) of every window."""
    start, stop = windows[0].start, min(windows[-1].stop, job.info.num_frames)
    pictures = iter_frames(job.info, stop - start, start=start)
    return sliding((frame_to_tensor(picture, job.geometry) for picture in pictures), windows)


def _outsides(job: EditJob, windows: list[Window]) -> Iterator[Tensor | None]:
    """Where nothing is edited, (1, T, h, w) of every window; None where that is not known or not needed."""
    if job.mask is None or not job.match_colour:
        return iter([None] * len(windows))
    size, count = job.geometry.size, job.info.num_frames
    masks = iter_mask(job.mask, count, size, geometry=job.geometry, start=windows[0].start)
    return sliding((1 - mask for mask in masks), windows)


def _latents(job: EditJob, window: Window, source: Tensor, store: WindowStore | None, weights: str) -> Tensor:
    """Latents (1, Z, t, h, w) of a window: found in the store, or made and put there."""
    keyframes = window_keyframes(job.keyframes, window)
    spatial = vae_scale(job.pipeline.vae)[1]
    grid = (1 + (window.num_frames - 1) // STEP, *(side // spatial for side in job.geometry.size))
    noise = window_noise(window, (1, job.pipeline.vae.config.z_dim, *grid), job.seed)
    key = window_key(source, *keyframes, *keyframes.values(), noise, job.steps, job.prompt, job.step_cache, weights)
    latents = store.get(window.start, key) if store else None
    if latents is None:
        options = {"num_inference_steps": job.steps, "prompt": job.prompt, "step_cache": job.step_cache}
        options["use_cache"] = job.use_cache
        latents = job.pipeline(source[None], keyframes, latents=noise, output_type="latent", **options).frames
        if store:
            store.put(window.start, key, latents)
    return latents


@torch.no_grad()
def _frames(job: EditJob, latents: Tensor, source: Tensor, outside: Tensor | None) -> Tensor:
    """What `edit_windows` yields, of one window."""
    vae, device = job.pipeline.vae, job.pipeline._execution_device  # an offloaded VAE waits on the CPU
    edit, reference = decode_latents(vae, latents.to(device))[0].cpu(), source
    if job.scaled:
        reference = decode_latents(vae, encode_clip(vae, source[None].to(device)))[0].cpu()
    if job.match_colour:
        edit = match_colour(edit, reference, outside)
    return edit - reference if job.scaled else edit
