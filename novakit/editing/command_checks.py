"""What `novakit edit` was asked to do, checked before anything is computed or created. Source: ours."""

import os
from pathlib import Path
from typing import Any

from novakit.editing.inputs import notice
from novakit.errors import NovaError
from novakit.files import require_writable_folder
from novakit.presets import Preset
from novakit.video import Clip, ClipInfo
from novakit.video.geometry import stretch_factor
from novakit.video.keyframe_files import holds_images

MAX_STRETCH = 1.1  # one axis scaled this much more than the other is worth a notice


def check_numbers(seed: Any, interval: Any) -> None:
    """Refuse a seed outside 0 .. 2**63 - 1 and a keyframe interval below 1 frame.

    Raises:
        NovaError: either of them, or something that is no whole number.
    """
    if not isinstance(seed, int) or not 0 <= seed < 2**63:
        raise NovaError(f"seed (--seed) is {seed!r}; wanted a whole number from 0 to 2**63 - 1. Pass e.g. 0.")
    if interval is not None and (not isinstance(interval, int) or interval < 1):
        raise NovaError(
            f"interval (--interval) is {interval!r}; wanted a whole number of frames, 1 or more. "
            "Pass e.g. 8, or leave it out for the preset's own."
        )


def check_out(out: str | Path, inputs: dict[str, str | Path | None]) -> Path:
    """Refuse an output that cannot be written or is one of the inputs; nothing is created.

    Args:
        out: the file to write; folders above it may be missing, they are made when the edit is done.
        inputs: what each file is -> its path or None.

    Returns:
        `out` as a Path.

    Raises:
        NovaError: no mp4, a folder, one of the inputs (also through a link), or a place that cannot be written.
    """
    out = Path(out)
    if out.suffix.lower() != ".mp4":
        raise NovaError(f"out is {out}; the edited clip is written as mp4. Give it a name that ends in .mp4.")
    if out.is_dir():
        raise NovaError(f"out {out} is a folder; a file was wanted, e.g. {out / 'edit.mp4'}.")
    for what, path in inputs.items():
        if path is not None and os.path.exists(path) and os.path.exists(out) and os.path.samefile(out, path):
            raise NovaError(f"out {out} is the {what} itself, which would be lost; choose another name.")
    require_writable_folder(next(folder for folder in out.absolute().parents if os.path.lexists(folder)))
    return out


def check_length(info: ClipInfo, preset: Preset) -> None:
    """Refuse a source that is longer than the preset's T.

    Raises:
        NovaError: too many frames; names the number that fits and the command that cuts.
    """
    if info.num_frames > preset.num_frames:
        raise NovaError(
            f"{info.path} has {info.num_frames} frames; {preset.name} edits at most {preset.num_frames}. "
            f"Cut it first, e.g. `ffmpeg -i {info.path.name} -frames:v {preset.num_frames} short.mp4`."
        )


def notice_stretch(clip: Clip) -> None:
    """Say so when the source has quite another aspect than the size that it is edited at."""
    (height, width), size = clip.info.size, clip.geometry.size
    factor = stretch_factor(clip.info.size, size)
    if factor > MAX_STRETCH:
        notice(
            f"the source's {width}x{height} is stretched to {size[1]}x{size[0]}, one axis {factor:.2f} times more "
            "than the other, and back after the edit. Crop the source if the edit looks distorted."
        )


def notice_interval(keyframes: str | Path, interval: int | None) -> None:
    """Say so when an interval was given for images, whose names are their frames."""
    if interval is not None and holds_images(keyframes):
        notice(f"interval {interval} (--interval) is not needed: the names of the images say which frames they are.")
