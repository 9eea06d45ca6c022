"""What `novakit edit` was asked to do, checked before anything is computed or created. Source: ours."""

import os
import re
from pathlib import Path
from typing import Any

from novakit.editing.inputs import notice
from novakit.editing.windows.plan import padded_length
from novakit.errors import NovaError
from novakit.files import require_writable_folder
from novakit.video import ClipInfo, Geometry, even_size, probe
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


def check_post(mask: str | Path | None, paste_back: bool, match_colour: bool) -> None:
    """Refuse a paste-back without mask; say so when a mask has nothing to do.

    Raises:
        NovaError: `paste_back` without `mask`.
    """
    if paste_back and mask is None:
        raise NovaError(
            "paste_back (--paste-back) needs a mask: white where content changes, the rest is pasted from the source. "
            "Pass --mask, or leave it out; --match-colour works without."
        )
    if mask is not None and not paste_back and not match_colour:
        notice(
            "the mask is not used: the network never sees it. Add --paste-back to keep the source outside of it, or "
            "--match-colour to measure colours there."
        )


def check_frames(frames: str | tuple[int, int] | None, info: ClipInfo) -> tuple[int, int] | None:
    """The stretch (A, B) that is to be rendered again: frames A..B-1.

    Args:
        frames: "A:B", "A:", ":B", or the two numbers; None = the whole clip.
        info: the source.

    Raises:
        NovaError: something else, or no stretch of the clip.
    """
    if frames is None:
        return None
    said = ":".join(map(str, frames)) if isinstance(frames, tuple | list) else str(frames)
    found = re.fullmatch(r"([0-9]*):([0-9]*)", said.strip())
    if found is None:
        raise NovaError(f"frames (--frames) is {said!r}; wanted A:B, e.g. 120:200 for frames 120 to 199.")
    start, stop = int(found[1] or 0), int(found[2] or info.num_frames)
    if not 0 <= start < stop <= info.num_frames:
        raise NovaError(
            f"frames (--frames) {said} is no stretch of a clip of {info.num_frames} frames; "
            f"wanted A:B with 0 <= A < B <= {info.num_frames}. It stands for frames A to B-1."
        )
    return start, stop


def check_earlier(out: Path, info: ClipInfo) -> ClipInfo:
    """The earlier edit that a stretch goes into.

    Raises:
        NovaError: there is none, or it is of another clip: other length, size or frame rate.
    """
    if not out.exists():
        raise NovaError(f"{out} does not exist; --frames puts a stretch into an earlier edit. Edit the clip first.")
    earlier = probe(out)
    came, wanted = [(clip.num_frames, even_size(clip.size), round(float(clip.fps), 2)) for clip in (earlier, info)]
    if came != wanted:
        frames, (height, width), fps = came
        raise NovaError(
            f"{out} ({frames} frames {width}x{height} at {fps:g} fps) is no edit of {info.path} ({info.num_frames} "
            f"frames {info.width}x{info.height} at {wanted[2]:g} fps). Name the earlier edit as --out."
        )
    return earlier


def notice_padding(num_frames: int) -> None:
    """Say so when the last frame is repeated up to the next 4k+1."""
    padded = padded_length(num_frames)
    if padded != num_frames:
        notice(
            f"clip has {num_frames} frames; NOVA needs 4k+1: the last frame was repeated {padded - num_frames} times "
            f"({padded} frames) and the repeats are cut off again after the edit."
        )


def notice_stretch(geometry: Geometry) -> None:
    """Say so when the source has quite another aspect than the size that it is edited at."""
    (height, width), size = geometry.source_size, geometry.size
    factor = stretch_factor(geometry.source_size, size)
    if factor > MAX_STRETCH:
        notice(
            f"the source's {width}x{height} is stretched to {size[1]}x{size[0]}, one axis {factor:.2f} times more "
            "than the other, and back after the edit. Crop the source if the edit looks distorted."
        )


def notice_interval(keyframes: str | Path, interval: int | None) -> None:
    """Say so when an interval was given for images, whose names are their frames."""
    if interval is not None and holds_images(keyframes):
        notice(f"interval {interval} (--interval) is not needed: the names of the images say which frames they are.")
