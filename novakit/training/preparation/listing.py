"""Which videos: a folder, or the CSV of the official release.

Where clips come from. The paper trained on 5,000 clips of Pexels. novakit downloads nothing: you bring the files and
the right to train on them. Pexels' licence (pexels.com/license) lets anyone use and change its clips for free, but its
terms forbid collecting them in bulk, by the API too, to build data sets or train models without Pexels' permission
(help.pexels.com, "What are the Terms and Conditions", read in 2026): ask first. With permission the API lists clips as
JSON with a link per size (`GET /v1/videos/search?query=...&per_page=80`, key in the header `Authorization`); keep id,
page and author of each as your record. No permission is needed for your own footage, nor for collections whose
licence allows training (CC0 and CC BY clips of Wikimedia Commons and the Internet Archive; check each clip's page).
To list what you have:  find FOLDER -name '*.mp4' | wc -l ;  novakit prepare FOLDER --out CACHE

Source: the CSV is the official release's (`video,prompt,vace_video,src_video`, paths relative to the CSV).
"""

from __future__ import annotations

import csv
import os
from dataclasses import dataclass
from pathlib import Path

from novakit.errors import NovaError

SUFFIXES = {".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi", ".gif"}
COLUMNS = ("video", "prompt", "vace_video", "src_video")


@dataclass(frozen=True)
class Video:
    """One file to cut clips from, with what the CSV says of it."""

    name: str  # relative to the folder or the CSV, as messages show it
    path: str  # the real file
    prompt: str = ""  # kept in the manifest; the paper's training reads the empty prompt
    source: str | None = None  # file of a ready pseudo source (`src_video`), frame by frame beside the video
    control: str | None = None  # file whose frames are the keyframes (`vace_video`)

    @property
    def files(self) -> list[str]:
        """All files that belong to it, the video first."""
        return [path for path in (self.path, self.source, self.control) if path]


@dataclass(frozen=True)
class Dropped:
    """What is not trained on, and why."""

    name: str  # of the video
    reason: str
    start: int | None = None  # first frame of the clip; None = the whole file
    thumbnail: str = ""  # JPEG in base64


def list_videos(place: str | Path) -> tuple[list[Video], list[Dropped]]:
    """The videos of a folder and its subfolders, or of a CSV, in a fixed order.

    Args:
        place: folder, or a .csv file.

    Returns:
        The videos, and what was refused by its name alone: paths and links that leave the folder, names that are no
        text, files that are missing.

    Raises:
        NovaError: no such place, no videos in it, or a CSV without the column `video`.
    """
    place = Path(place)
    if place.is_dir():
        names = _files_below(place)
        found = [_entry(place, {"video": name}) for name in names]
    elif place.is_file() and place.suffix.lower() == ".csv":
        found = [_entry(place.parent, row) for row in _rows(place)]
    else:
        raise NovaError(f"{place} is neither a folder nor a .csv file. Pass a folder of videos, or metadata.csv.")
    videos = [entry for entry in found if isinstance(entry, Video)]
    if not videos:
        more = f" ({len(found)} were refused; first: {found[0].reason})" if found else ""
        raise NovaError(f"{place} holds no videos{more}. Wanted: {', '.join(sorted(SUFFIXES))}.")
    return videos, [entry for entry in found if isinstance(entry, Dropped)]


def _files_below(folder: Path) -> list[str]:
    """Names of video files relative to the folder, sorted; linked folders are not followed, hidden ones are skipped."""
    names = []
    for home, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        names += [os.path.relpath(os.path.join(home, name), folder) for name in files if not name.startswith(".")]
    return sorted(name for name in names if Path(name).suffix.lower() in SUFFIXES)


def _rows(path: Path) -> list[dict[str, str]]:
    """Rows of the CSV; a byte-order mark is skipped.

    Raises:
        NovaError: not UTF-8, no CSV, or the column `video` is missing.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream)
            rows, columns = list(reader), reader.fieldnames or []
    except (csv.Error, UnicodeDecodeError) as error:
        raise NovaError(f"{path} is not a CSV in UTF-8: {error}. Save it again as UTF-8.") from None
    if "video" not in columns:
        raise NovaError(
            f"{path} has the columns {', '.join(map(str, columns)) or 'none'}; `video` (the clean target clips) is "
            f"needed. The official layout is {','.join(COLUMNS)}; only `video` must be filled in."
        )
    return rows


def _entry(root: Path, row: dict[str, str | None]) -> Video | Dropped:
    """One video, or the reason against it."""
    cells = {column: (row.get(column) or "").strip() for column in COLUMNS if column != "video"}
    name = row.get("video") or ""
    shown = name.encode("utf-8", "backslashreplace").decode()
    try:
        if shown != name:
            raise NovaError("its name is not UTF-8 text; rename it")
        path, source, control = (inside(root, cell) for cell in (name, cells["src_video"], cells["vace_video"]))
        if path is None:
            raise NovaError("the row names no video")
    except NovaError as error:
        return Dropped(shown, str(error))
    return Video(name, path, cells["prompt"], source, control)


def inside(root: Path, name: str) -> str | None:
    """The real path of a file named relative to `root`; None for an empty name.

    Raises:
        NovaError: the name or a link leads out of the folder, or there is no such file.
    """
    if not name:
        return None
    home = root.resolve()
    try:
        path = (home / name).resolve(strict=True)
    except (OSError, ValueError, RuntimeError):  # missing, too long, a NUL byte, a loop of links
        raise NovaError(f"there is no file {name!r}") from None
    if home not in path.parents:
        raise NovaError(f"{name!r} leads out of the folder; put the file inside it")
    return str(path)
