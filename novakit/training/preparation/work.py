"""The phases of `novakit prepare`, and how its processes stop together. Source: ours."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import Tensor
from tqdm.auto import tqdm

from novakit.errors import NovaError
from novakit.files import atomic_write_json, size_text
from novakit.models.latents import vae_scale
from novakit.provenance import provenance
from novakit.training.distributed.processes import Processes
from novakit.training.preparation.child import Child
from novakit.training.preparation.cutting import Cutting, survey
from novakit.training.preparation.encoding import CONSTANTS, Encoder, encode_constants, encode_item, lent
from novakit.training.preparation.examples import read_window
from novakit.training.preparation.filters import Limits
from novakit.training.preparation.listing import Dropped, Video
from novakit.training.preparation.looking import Seen
from novakit.training.preparation.manifest import Settings, read_json
from novakit.training.preparation.plan import Elsewhere, Item, choose
from novakit.training.preparation.report import write_report
from novakit.training.preparation.shards import ShardWriter, check_space, records
from novakit.training.run_folder import StopSignals


class Work:
    """One process's part of a run. The folder is what all processes share, so a file in it tells them to stop.

    Args:
        folder: the cache.
        cutting: how clips are cut.
        settings: of the cache.
        team: who else is there.
        signals: asked for Ctrl-C and SIGTERM.
        encoder: what encodes.
        progress: show progress bars.
    """

    def __init__(
        self,
        folder: Path,
        cutting: Cutting,
        settings: Settings,
        team: Processes,
        signals: StopSignals,
        encoder: Encoder,
        progress: bool,
    ) -> None:
        self.folder, self.settings, self.team = folder, settings, team
        self.signals, self.encoder, self.progress = signals, encoder, progress
        self.seen = Seen(folder / "seen", cutting)
        self.dropped: list[Dropped] = []  # known to the main process

    def phase(self, function: Callable[[], None]) -> None:
        """Do a part in every process; an error or a signal in one of them stops all of them after the clip at hand.

        Raises:
            NovaError: of any process.
            SystemExit, KeyboardInterrupt: as the signal asked.
        """
        self.team.together(lambda: self._or_stop(function))
        caught = int(self.team.largest(self.signals.caught or 0))
        if caught:
            self.signals.caught = caught
            self.signals.reraise()

    def _or_stop(self, function: Callable[[], None]) -> None:
        try:
            function()
        except NovaError:
            self._ask_to_stop()
            raise

    def _ask_to_stop(self) -> None:
        with suppress(OSError):  # a full disk
            (self.folder / "stop").touch()

    def _going_on(self, items: Iterable[Any], what: str, total: int) -> Iterator[Any]:
        """The items, until some process is asked to stop."""
        bar = tqdm(items, desc=what, total=total, disable=not (self.progress and self.team.is_main))
        for item in bar:
            if self.signals.caught:
                self._ask_to_stop()
            if self.signals.caught or (self.folder / "stop").exists():
                return
            yield item

    def _mine(self, items: Sequence[Any]) -> Sequence[Any]:
        return items[self.team.rank :: self.team.count]

    def look(self, videos: list[Video], deadline: float | None) -> None:
        """Survey this process's videos; those seen before, unchanged, are skipped.

        Args:
            videos: all of them.
            deadline: seconds for one in a child process; None = in this process.
        """
        new = [video for video in self._mine(videos) if self.seen.find(video) is None]
        with Child(deadline) if deadline else nullcontext() as child:
            for video in self._going_on(new, "looking", len(new)):
                self.seen.look(video, child.survey if child else survey)

    def choose(self, videos: list[Video], refused: list[Dropped], limits: Limits) -> list[Item]:
        """The clips to encode; the rest goes into the report (main process).

        Raises:
            NovaError: no clips, or a single one that has nobody's content to be covered with.
        """
        kept, dropped = choose(videos, {video: self.seen.find(video) for video in videos}, limits)
        bad = self._quarantined()
        self.dropped = [*refused, *dropped, *bad.values()]
        kept = [item for item in kept if item.key not in bad]
        alone = len(kept) == 1 and not kept[0].video.source
        if not kept or alone:
            path = write_report(self.folder, kept, self.dropped, {})
            why = Counter(entry.reason.partition(":")[0] for entry in self.dropped).most_common(3)
            told = "; ".join(f"{reason} ({count})" for reason, count in why)
            what = "one clip was kept, and it needs content of another one (eq. 3)" if alone else "no clip was kept"
            raise NovaError(
                f"{what}. Dropped: {told or 'nothing'}. Pictures and reasons: {path}. Add videos"
                f"{' or loosen what dropped them (--limit motion=0.2, ...)' if told else ''}, then run the same again."
            )
        return kept

    def _quarantined(self) -> dict[str, Dropped]:
        """Clips that could not be encoded, by key."""
        paths = sorted((self.folder / "quarantine").glob("*.json"))
        return {path.stem: Dropped(**read_json(path)) for path in paths}

    def make_room(self, items: list[Item], shape: tuple[int, int, int]) -> list[Item]:
        """Write what all clips share, and see that the disk can hold the rest (main process).

        Returns:
            The clips that are missing.

        Raises:
            NovaError: too little space.
        """
        done, shards = records(self.folder / "shards"), self.folder / "shards"
        if CONSTANTS not in done:
            writer = ShardWriter(shards)
            writer.add(CONSTANTS, encode_constants(self.encoder, shape), {})
            writer.flush()
        missing = [item for item in items if item.key not in done]
        temporal, spatial = vae_scale(self.encoder.vae)
        numbers = (1 + (shape[0] - 1) // temporal) * (shape[1] // spatial) * (shape[2] // spatial)
        clip = 2 * self.encoder.vae.config.z_dim * numbers * (1 + 2 * self.settings.variants)  # bytes
        check_space(self.folder, clip * len(missing))
        return missing

    def encode(self, items: list[Item], missing: list[Item], shard_bytes: int) -> None:
        """Encode this process's share of the missing clips; one that fails is quarantined.

        Raises:
            DiskError: a shard cannot be written.
        """
        mine, elsewhere = self._mine(missing), Elsewhere(items)
        writer = ShardWriter(self.folder / "shards", shard_bytes)
        pixels = _ahead(mine, lambda item: self._read(item, elsewhere))
        for item, read in self._going_on(pixels, "encoding", len(mine)):
            self._encode(item, read, writer)
        writer.flush()

    def _encode(self, item: Item, pixels: Future, writer: ShardWriter) -> None:
        s = self.settings
        try:
            clips, others = pixels.result()
            options = {"variants": s.variants, "interval": s.interval, "seed": s.seed}
            encoded = encode_item(self.encoder, item, clips, others, **options)
        except NovaError as error:
            about = Dropped(item.video.name, str(error), item.candidate.start, item.candidate.thumbnail)
            atomic_write_json(self.folder / "quarantine" / f"{item.key}.json", asdict(about))
            return
        writer.add(item.key, encoded.tensors, {"variants": encoded.variants})

    def _read(self, item: Item, elsewhere: Elsewhere) -> tuple[dict[str, Tensor], dict[int, tuple[str, Tensor]]]:
        """Pixels of a clip, and of those that lend it their content; runs one clip ahead, in a thread."""
        s = self.settings
        size, video = (s.height, s.width), item.video
        paths = {"target": video.path, "source": video.source, "control": video.control}
        clips = {name: read_window(path, item, s.num_frames, size) for name, path in paths.items() if path}
        others = {}
        for v in lent(item, s.variants, s.seed):
            other = elsewhere.of(item, v, s.seed)
            others[v] = other.key, read_window(other.video.path, other, s.num_frames, size)
        return clips, others

    def finish(self, items: list[Item]) -> str:
        """Write the manifest and the report (main process); returns what to say.

        Raises:
            NovaError: no clip could be encoded.
        """
        done, bad = records(self.folder / "shards"), self._quarantined()
        self.dropped += [entry for entry in bad.values() if entry not in self.dropped]
        kept = [item for item in items if item.key in done and item.key not in bad]
        shards = {done[item.key]["shard"]: done[item.key]["bytes"] for item in kept}
        manifest = {
            "settings": asdict(self.settings),
            "made": provenance(self.settings.seed, self.team.device.type),
            "constants": done[CONSTANTS],
            "shards": shards,
            "items": [_entry(item, done[item.key]) for item in kept],
            "dropped": [{"name": e.name, "start": e.start, "reason": e.reason} for e in self.dropped],
        }
        s, size = self.settings, f"{size_text(sum(shards.values()))} in {len(shards)} shards"
        facts = {"preset": s.preset, "clips": f"{s.num_frames} frames, {s.width}x{s.height}", "size": size}
        report = write_report(self.folder, kept, self.dropped, {**facts, "variants": f"{s.variants} x {s.variants}"})
        if not kept:
            raise NovaError(
                f"none of {len(items)} clips could be encoded. Pictures and reasons: {report}. Add other videos, or "
                f"delete {self.folder / 'quarantine'} to have these tried again."
            )
        atomic_write_json(self.folder / "manifest.json", manifest)
        return f"{self.folder}: {len(kept)} clips kept ({size}), {len(self.dropped)} dropped; see {report}"


def _entry(item: Item, record: dict[str, Any]) -> dict[str, Any]:
    """A clip in the manifest: its record, and where it comes from."""
    about = {"start": item.candidate.start, "stride": item.candidate.stride, "prompt": item.video.prompt}
    return {**record, "name": item.name, "video": item.video.name, **about}


def _ahead(items: Iterable[Item], read: Callable[[Item], Any]) -> Iterator[tuple[Item, Future]]:
    """Each item with the future of `read(item)`; while one is encoded the next is read."""
    with ThreadPoolExecutor(1, thread_name_prefix="pixels") as reader:
        waiting: list[tuple[Item, Future]] = []
        for item in items:
            waiting.append((item, reader.submit(read, item)))
            if len(waiting) == 2:
                yield waiting.pop(0)
        yield from waiting
