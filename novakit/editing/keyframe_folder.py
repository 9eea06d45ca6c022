"""The folder that `novakit keyframes` writes and `novakit edit` reads: 000.png, 008.png, ... Source: ours.

Beside the images it holds keyframes.json, which says how they were made, and the folder contact_sheet. With the record
a run that was cut short goes on where it stopped, and no run writes over another one's keyframes.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from torch import Tensor

from novakit.editing.contact_sheet import save_png
from novakit.errors import NovaError
from novakit.files import atomic_write_json, require_writable_folder
from novakit.show import to_image
from novakit.video.geometry import frame_to_tensor
from novakit.video.keyframe_files import read_image

RECORD = "keyframes.json"
SHEETS = "contact_sheet"


class KeyframeFolder:
    """A folder of keyframes and the record of what they are.

    Args:
        folder: the folder; made when the first keyframe is written.
        request: all that decides what the keyframes look like, as JSON.
        num_frames: frames of the source; decides how many digits a name has (at least 3).
        keep: True keeps the keyframes that an earlier run with the same request left; False writes them again.

    Raises:
        NovaError: a file is in the way, the folder cannot be written, or it holds something else: nothing is lost.
    """

    def __init__(self, folder: str | Path, request: dict[str, Any], num_frames: int, keep: bool = True) -> None:
        self.folder, self.request, self.keep = Path(folder), request, keep
        self.digits = max(3, len(str(num_frames - 1)))
        _check_free(self.folder, request)

    @property
    def sheets(self) -> Path:
        """Where the contact sheets go."""
        return self.folder / SHEETS

    def path(self, index: int) -> Path:
        """The image of a keyframe."""
        return self.folder / f"{index:0{self.digits}d}.png"

    def has(self, index: int) -> bool:
        """True when an earlier run has done this keyframe, and it is kept."""
        return self.keep and self.path(index).exists()

    def read(self, index: int, size: tuple[int, int]) -> Tensor:
        """A keyframe that is done, (3, H, W) in [-1, 1].

        Raises:
            NovaError: not an image any more, or of another size than the source's frames.
        """
        picture = read_image(self.path(index))
        if picture.shape[:2] != tuple(size):
            came, wanted = f"{picture.shape[1]}x{picture.shape[0]}", f"{size[1]}x{size[0]}"
            raise NovaError(
                f"{self.path(index)} is {came} pixels, the source {wanted}. Delete it, then it is made again."
            )
        return frame_to_tensor(picture).contiguous()

    def write(self, index: int, frame: Tensor) -> None:
        """Write a keyframe (3, H, W) in [-1, 1]; the first one writes the record too."""
        if not (self.folder / RECORD).exists():
            atomic_write_json(self.folder / RECORD, self.request)
        save_png(self.path(index), to_image(frame))


def _check_free(folder: Path, request: dict[str, Any]) -> None:
    """The folder is new, empty, or of the same request."""
    if folder.exists() and not folder.is_dir():
        raise NovaError(f"out {folder} is a file; a folder for the keyframes was wanted. Choose another name.")
    require_writable_folder(next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists()))
    there = sorted(path.name for path in folder.glob("[!.]*")) if folder.exists() else []
    if not there:
        return
    if RECORD not in there:
        raise NovaError(
            f"out {folder} is not empty (it holds {there[0]}) and was not made by `novakit keyframes`. "
            "Choose another folder: nothing is written over."
        )
    differs = _differences(_read_record(folder / RECORD), request)
    if differs:
        raise NovaError(
            f"out {folder} holds the keyframes of another run ({'; '.join(differs)}). Choose another folder, or "
            "delete this one: nothing is written over."
        )


def _read_record(path: Path) -> dict[str, Any]:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise NovaError(f"{path} cannot be read ({error}). Choose another folder (--out).") from None
    if not isinstance(record, dict):
        raise NovaError(f"{path} is no record of `novakit keyframes`. Choose another folder (--out).")
    return record


def _differences(record: dict[str, Any], request: dict[str, Any]) -> list[str]:
    """What differs between two requests, in words."""
    names = [name for name in {**record, **request} if record.get(name) != request.get(name)]
    return [f"{name}: {record.get(name)} there, {request.get(name)} now" for name in names]
