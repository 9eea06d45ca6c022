"""`novakit edit`: a video file and keyframes go in, an edited video of the same size and length comes out."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from novakit.editing.command_checks import (
    check_earlier,
    check_frames,
    check_numbers,
    check_out,
    check_post,
    notice_interval,
    notice_padding,
    notice_stretch,
)
from novakit.editing.loading import check_base_and_dense
from novakit.editing.options import check_cache, check_steps
from novakit.errors import NovaError, printed_notices
from novakit.presets import Preset, get_preset
from novakit.video import even_size

if TYPE_CHECKING:
    from novakit.editing.windows.edit import EditJob
    from novakit.editing.windows.store import WindowStore
    from novakit.video import ClipInfo


@dataclass(frozen=True)
class EditedFile:
    """What `edit_file` did."""

    path: Path  # the new file
    num_frames: int  # frames in it, as many as the source has
    size: tuple[int, int]  # (H, W) written: the source's, odd sides one pixel longer (H.264)
    fps: Fraction  # frames per second, as the source
    steps: int  # denoising steps
    seconds: float  # wall time of the whole command
    is_nova: bool  # False: plain VACE
    post: str  # post-processing that was applied, "" for none
    windows: int = 1  # overlapping windows that the clip, or the stretch of it, was edited in

    def __str__(self) -> str:
        made_by = "NOVA" if self.is_nova else "plain VACE, not NOVA"
        windows = f"; {self.windows} windows" if self.windows > 1 else ""
        post = f"; {self.post}" if self.post else ""
        what = f"{self.num_frames} frames {self.size[1]}x{self.size[0]} at {float(self.fps):g} fps"
        return f"{self.path}: {what}; {made_by}, {self.steps} steps, {self.seconds:.1f} s{windows}{post}"


def edit_file(
    source: str | Path,
    keyframes: str | Path,
    out: str | Path,
    *,
    mask: str | Path | None = None,
    paste_back: bool = False,
    match_colour: bool = False,
    frames: str | tuple[int, int] | None = None,
    preset: str | Preset = "nano",
    steps: int | None = None,
    seed: int = 0,
    interval: int | None = None,
    base: str | Path | None = None,
    dense: str | Path | None = None,
    prompt: str = "",
    use_cache: bool | str = True,
    step_cache: float = 0.0,
    pipeline: Any = None,
    quiet: bool = False,
    **loading: Any,
) -> EditedFile:
    """Edit a video file of any length and size.

    A clip longer than the preset's T is edited in overlapping windows that fade into each other; memory does not
    grow with its length. Finished windows of a long clip are kept in `OUT.work` until the file is complete: when the
    run breaks off (disk full, Ctrl-C), the same command goes on from there.

    Args:
        source: video file.
        keyframes: folder of images named by frame index, or a video whose frames 0, K, 2K, ... are the
            keyframes.
        out: mp4 to write, none of the files that are read; complete or not at all.
        mask: video, image or folder, white where content changes, for the two switches below. The network never
            sees it.
        paste_back: pixels outside the mask are the source's, with a feathered edge inside of it (ours).
        match_colour: give the edit the source's mean and contrast per channel, measured outside the mask, or
            without one on the half of the pixels that changed least (ours).
        frames: render only this stretch again, "A:B" or (A, B) for frames A..B-1, and put it into the earlier
            edit `out`; it fades in and out over 4 frames, and the packets of the rest are copied.
        preset: name of the preset.
        steps: denoising steps; None = the preset's.
        seed: seed of the starting noise, 0 .. 2**63 - 1.
        interval: keyframe interval K >= 1 of a keyframe *video*; None = the preset's.
        base: for wan-1.3b: folder, safetensors file or hub id of the published base.
        dense: for wan-1.3b: safetensors file or hub id of a trained dense branch; without it the edit is plain VACE.
        prompt: what the clip shows, for wan-1.3b; empty in the paper.
        use_cache: how the source is kept between steps, see `NovaEditPipeline`.
        step_cache: threshold below which most of a step is skipped; 0 = never.
        pipeline: a loaded NovaEditPipeline, to edit several files; None = load the preset's.
        quiet: print nothing.
        **loading: of `NovaEditPipeline.from_preset`: download, offload, attention, compile, tiling.

    Returns:
        EditedFile, which prints as one summary line.

    Raises:
        NovaError: anything wrong with the files or the preset, before anything is computed where possible.
    """
    started = time.perf_counter()
    preset = get_preset(preset)
    check_numbers(seed, interval)
    steps = check_steps(steps, preset, "clip")
    check_cache(use_cache, step_cache)
    check_base_and_dense(preset, base, dense)
    out = check_out(out, {"source": source, "keyframes": keyframes, "mask": mask})
    with printed_notices(quiet):
        check_post(mask, paste_back, match_colour)
        job = _read(source, keyframes, mask, preset, interval)
        stretch = check_frames(frames, job.info)
        earlier = None if stretch is None else check_earlier(out, job.info)
        switches = {"match_colour": match_colour, "paste_back": paste_back, "quiet": quiet}
        switches |= {"steps": steps, "seed": seed, "prompt": prompt, "use_cache": use_cache, "step_cache": step_cache}
        pipeline = pipeline or _load(preset, base=base, dense=dense, **loading)
        job = replace(job, pipeline=pipeline, **switches)
        windows, post = _render(job, out, preset.num_frames, stretch, earlier)
    seconds = time.perf_counter() - started
    info, nova = job.info, job.pipeline.is_nova
    result = EditedFile(out, info.num_frames, even_size(info.size), info.fps, steps, seconds, nova, post, windows)
    if not quiet:
        print(f"{_where(job.pipeline)}\n{result}")
    return result


def _read(source: Any, keyframes: Any, mask: Any, preset: Preset, interval: int | None) -> "EditJob":
    """Look at source, keyframes and mask, at the size of the preset whose aspect is nearest; no pipeline yet."""
    from novakit.editing.windows.edit import EditJob
    from novakit.video import Geometry, KeyframeStore, check_mask_file, choose_size, probe

    info = probe(source)
    geometry = Geometry.between(info.size, choose_size(info, preset.sizes))
    count, size = info.num_frames, geometry.size
    notice_stretch(geometry)
    notice_interval(keyframes, interval)
    images = KeyframeStore(keyframes, count, size, interval or preset.interval, geometry=geometry)
    images.check()
    if mask is not None:
        check_mask_file(mask, count, size, geometry=geometry)
    notice_padding(count)
    return EditJob(info, geometry, images, mask and Path(mask))


def _load(preset: Preset, **loading: Any) -> Any:
    from novakit.editing.pipeline import NovaEditPipeline

    return NovaEditPipeline.from_preset(preset.name, **loading)


def _render(
    job: "EditJob", out: Path, longest: int, stretch: tuple[int, int] | None, earlier: "ClipInfo | None"
) -> tuple[int, str]:
    """Edit the clip, or the stretch, and write it; returns the number of windows and what was done afterwards."""
    from novakit.editing.windows.full_size import finished_frames
    from novakit.editing.windows.plan import plan_windows, windows_of
    from novakit.editing.windows.store import WindowStore
    from novakit.editing.windows.stretch import render_stretch
    from novakit.video import GROUP, write_clip

    windows, info, post = plan_windows(job.info.num_frames, longest), job.info, _post(job)
    store = WindowStore(out) if len(windows) > 1 else None
    with _kept(store):
        if stretch is None:
            frames = finished_frames(job, windows, 0, info.num_frames, store)
            write_clip(out, frames, info.fps, audio_from=info.path, longest_group=GROUP)
        else:
            first, end = render_stretch(job, windows, earlier, stretch, store)
            again = "the rest is untouched" if (first, end) == stretch else f"encoded again: {first} to {end - 1}"
            post.append(f"frames {stretch[0]} to {stretch[1] - 1} rendered again, {again}")
    if store:
        store.clear()
    return len(windows_of(windows, *(stretch or (0, info.num_frames)))), ", ".join(post)


def _post(job: "EditJob") -> list[str]:
    """Post-processing in words."""
    height, width = job.geometry.size
    where = "outside the mask" if job.mask else "where the edit changed least"
    said = {
        f"edited at {width}x{height}, the difference added to the full-size source": job.scaled,
        f"colours matched to the source, measured {where}": job.match_colour,
        "pixels outside the mask are the source's": job.paste_back,
    }
    return [text for text, done in said.items() if done]


@contextmanager
def _kept(store: "WindowStore | None") -> Iterator[None]:
    """Add to an error which finished windows it leaves behind."""
    try:
        yield
    except NovaError as error:
        raise NovaError(f"{error}{store or ''}") from error.__cause__


def _where(pipeline: Any) -> str:
    from novakit.device import choose_device

    choice = choose_device(pipeline._execution_device.type)
    reason = choose_device("auto").reason if choice.device == "cpu" else choice.reason
    return f"{choice.device.upper()}: {reason}; {str(pipeline.transformer.dtype).removeprefix('torch.')}"
