"""What is known of each video: looked at once, remembered beside the cache, looked at again when a file changes.

Source: ours.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import Any

from novakit.errors import NovaError
from novakit.files import atomic_write_json
from novakit.training.preparation.cutting import Candidate, Cutting
from novakit.training.preparation.listing import Video
from novakit.training.preparation.manifest import read_json

Survey = Callable[[dict[str, Any], dict[str, Any]], list[dict[str, Any]]]


class Seen:
    """The records of videos, one small file each.

    Args:
        folder: where they lie.
        cutting: how clips are cut; a record made otherwise does not count.
    """

    def __init__(self, folder: Path, cutting: Cutting) -> None:
        self.folder, self.cutting = folder, cutting

    def look(self, video: Video, survey: Survey) -> None:
        """Survey a video and remember what was found, or what is wrong with it; nothing if it vanished meanwhile."""
        with suppress(OSError):
            record = self._stamp(video)
            try:
                record["clips"] = survey(asdict(video), asdict(self.cutting))
            except NovaError as error:
                record["problem"] = str(error).replace(video.path, Path(video.path).name)
            atomic_write_json(self._path(video), record)

    def find(self, video: Video) -> list[Candidate] | str | None:
        """The candidates of a video, or what is wrong with it; None when that is not known."""
        try:
            record, stamp = read_json(self._path(video)), self._stamp(video)
        except (NovaError, OSError):
            return None
        if any(record.get(name) != value for name, value in stamp.items()):
            return None
        if "problem" in record:
            return record["problem"]
        return [Candidate(**{**clip, "size": tuple(clip["size"])}) for clip in record["clips"]]

    def _path(self, video: Video) -> Path:
        return self.folder / f"{sha256('/'.join(video.files).encode()).hexdigest()[:16]}.json"

    def _stamp(self, video: Video) -> dict[str, Any]:
        """What a survey depends on: the files, by size and time, and how they are cut."""
        stats = [os.stat(path) for path in video.files]
        return {"files": [[stat.st_size, stat.st_mtime_ns] for stat in stats], "cutting": asdict(self.cutting)}
