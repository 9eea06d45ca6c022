"""`novakit edit`: a video file and keyframes go in, an edited video of the same size and length comes out."""

import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from novakit.editing.command_checks import check_length, check_numbers, check_out, notice_interval, notice_stretch
from novakit.editing.loading import check_base_and_dense
from novakit.errors import NovaNotice
from novakit.presets import Preset, get_preset
from novakit.video import even_size

if TYPE_CHECKING:
    from torch import Tensor

    from novakit.video import Clip


@dataclass(frozen=True)
class EditedFile:
    """What `edit_file` did."""

    path: Path  # the new file
    num_frames: int  # frames written, as many as the source has
    size: tuple[int, int]  # (H, W) written: the source's, odd sides one pixel longer (H.264)
    fps: Fraction  # frames per second, as the source
    steps: int  # denoising steps
    seconds: float  # wall time of the whole command
    is_nova: bool  # False: plain VACE
    post: str  # post-processing that was applied, "" for none

    def __str__(self) -> str:
        made_by = "NOVA" if self.is_nova else "plain VACE, not NOVA"
        post = f"; {self.post}" if self.post else ""
        what = f"{self.num_frames} frames {self.size[1]}x{self.size[0]} at {float(self.fps):g} fps"
        return f"{self.path}: {what}; {made_by}, {self.steps} steps, {self.seconds:.1f} s{post}"


def edit_file(
    source: str | Path,
    keyframes: str | Path,
    out: str | Path,
    *,
    mask: str | Path | None = None,
    preset: str | Preset = "nano",
    steps: int | None = None,
    seed: int = 0,
    interval: int | None = None,
    base: str | Path | None = None,
    dense: str | Path | None = None,
    pipeline: Any = None,
    quiet: bool = False,
) -> EditedFile:
    """Edit a video file.

    Args:
        source: video file; at most as many frames as the preset's T (others are padded to 4k+1 and cut back).
        keyframes: folder of images named by frame index, or a video whose frames 0, K, 2K, ... are the
            keyframes.
        out: mp4 to write, none of the files that are read; complete or not at all.
        mask: video, image or folder, white where content changes. The network never sees it: pixels outside
            it are copied from the source afterwards (ours).
        preset: name of the preset.
        steps: denoising steps; None = the preset's.
        seed: seed of the starting noise, 0 .. 2**63 - 1.
        interval: keyframe interval K >= 1 of a keyframe *video*; None = the preset's.
        base: folder or hub id of the published base, for wan-1.3b.
        dense: safetensors file of a trained dense branch, for wan-1.3b; without it the edit is plain VACE.
        pipeline: a loaded NovaEditPipeline, to edit several files; None = load the preset's.
        quiet: print nothing.

    Returns:
        EditedFile, which prints as one summary line.

    Raises:
        NovaError: anything wrong with the files or the preset, before anything is computed where possible.
    """
    started = time.perf_counter()
    preset = get_preset(preset)
    check_numbers(seed, interval)
    check_base_and_dense(preset, base, dense)
    out = check_out(out, {"source": source, "keyframes": keyframes, "mask": mask})
    with _notes(quiet):
        job = _read(source, keyframes, mask, preset, interval)
        pipeline = pipeline or _load(preset, base, dense)
        edited = _edit(pipeline, job, steps, seed)
        post = _write(out, pipeline, job, edited.frames)
    size, fps = even_size(job.clip.info.size), job.clip.info.fps
    seconds = time.perf_counter() - started
    result = EditedFile(out, job.num_frames, size, fps, edited.steps, seconds, edited.is_nova, post)
    if not quiet:
        print(f"{_where(pipeline)}\n{result}")
    return result


@dataclass(frozen=True)
class _Job:
    """The files of one edit, read at the preset's size."""

    clip: "Clip"
    frames: "Tensor"  # source (1, 3, T, H, W), T = 4k+1
    num_frames: int  # frames of the file, before padding
    keyframes: dict[int, "Tensor"]
    mask: "Tensor | None"  # (1, 1, T, H, W)


def _read(source: Any, keyframes: Any, mask: Any, preset: Preset, interval: int | None) -> _Job:
    """Read source, keyframes and mask at the size of the preset whose aspect is nearest."""
    from novakit.video import choose_size, pad_to_4k1, probe, read_clip, read_keyframes, read_mask

    info = probe(source)
    check_length(info, preset)
    clip = read_clip(info, size=choose_size(info, preset.sizes))
    notice_stretch(clip)
    count, size = clip.num_frames, clip.geometry.size
    notice_interval(keyframes, interval)
    images = read_keyframes(keyframes, count, size, interval or preset.interval, geometry=clip.geometry)
    marked = None if mask is None else read_mask(mask, count, size, geometry=clip.geometry)
    return _Job(clip, pad_to_4k1(clip.frames).clip, count, images, marked)


def _load(preset: Preset, base: Any, dense: Any) -> Any:
    from novakit.editing.pipeline import NovaEditPipeline

    return NovaEditPipeline.from_preset(preset.name, base=base, dense=dense)


def _edit(pipeline: Any, job: _Job, steps: int | None, seed: int) -> Any:
    import torch

    generator = torch.Generator("cpu").manual_seed(seed)
    return pipeline(job.frames, job.keyframes, num_inference_steps=steps, generator=generator)


def _write(out: Path, pipeline: Any, job: _Job, edited: "Tensor") -> str:
    """Bring the edit to the source's size and write it; returns what post-processing was applied."""
    from novakit.video import write_clip

    info = job.clip.info
    post = ["pixels outside the mask are the source's"] if job.mask is not None else []
    edited = edited[:, :, : job.num_frames].cpu()
    if info.size == job.clip.geometry.size:
        frames = _pasted(edited, job)
    else:
        frames = _at_source_size(pipeline, job, edited)
        post.append(f"edited at {edited.shape[4]}x{edited.shape[3]}, the difference added to the full-size source")
    write_clip(out, frames, info.fps, audio_from=info.path)
    return ", ".join(post)


def _pasted(edited: "Tensor", job: _Job) -> "Tensor":
    """With a mask: source outside of it, edit inside; without: the edit."""
    if job.mask is None:
        return edited
    return job.clip.frames + job.mask * (edited - job.clip.frames)


def _at_source_size(pipeline: Any, job: _Job, edited: "Tensor") -> Iterator["Tensor"]:
    """Full-size frames: source + upsampled (edit - VAE round trip of the source), one by one (ours).

    The round trip, not the source, is subtracted: what the VAE alone loses is then no part of the edit.
    """
    from novakit.video import frame_to_tensor, iter_frames, resize

    difference = edited - _round_trip(pipeline, job.frames)[:, :, : job.num_frames]
    if job.mask is not None:
        difference = difference * job.mask
    info, geometry = job.clip.info, job.clip.geometry
    for t, picture in enumerate(iter_frames(info, job.num_frames)):
        whole = resize(frame_to_tensor(picture), info.size)  # (3, H, W)
        yield (whole + geometry.to_source(difference[0, :, t])).clamp(-1, 1)


def _round_trip(pipeline: Any, frames: "Tensor") -> "Tensor":
    """VAE decode(encode(source)), on the CPU."""
    import torch

    from novakit.models.latents import decode_latents, encode_clip

    with torch.no_grad():
        vae = pipeline.vae
        return decode_latents(vae, encode_clip(vae, frames.to(vae.device))).cpu()


def _where(pipeline: Any) -> str:
    from novakit.device import choose_device

    choice = choose_device(pipeline.device.type)
    reason = choose_device("auto").reason if choice.device == "cpu" else choice.reason
    return f"{choice.device.upper()}: {reason}; {str(pipeline.transformer.dtype).removeprefix('torch.')}"


@contextmanager
def _notes(quiet: bool):
    """Print NovaNotices as `note: ...` lines; pass other warnings on."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", NovaNotice)
        yield
    for warning in caught:
        if not issubclass(warning.category, NovaNotice):
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
        elif not quiet:
            print(f"note: {warning.message}")
