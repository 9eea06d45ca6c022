"""`novakit prepare`: any folder of videos to a latent cache that training reads, resumable at every moment.

    look      each process decodes its share of the videos once: scenes, measures, thumbnails   -> seen/
    choose    the main process filters, finds near-duplicates and numbers what is kept
    encode    each process makes the missing clips of its share, whole shards at a time         -> shards/
    finish    the main process writes manifest.json and report.html

Process r of n takes the videos, then the missing clips, number r, r + n, r + 2n, ... (`accelerate launch`; machines
share the folder). What a clip becomes is a function of (seed, its content), never of the process.

Source: ours.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from novakit.editing.inputs import notice
from novakit.errors import NovaError
from novakit.files import require_writable_folder
from novakit.presets import Preset, get_preset
from novakit.training.distributed.processes import Processes
from novakit.training.preparation.cutting import Cutting, require_scenedetect
from novakit.training.preparation.encoding import VARIANTS, load_encoder
from novakit.training.preparation.filters import Limits, read_limits
from novakit.training.preparation.listing import list_videos
from novakit.training.preparation.manifest import Settings, check_settings
from novakit.training.preparation.shards import SHARD_BYTES, tidy
from novakit.training.preparation.work import Work
from novakit.training.run_folder import RunLock, StopSignals

PATIENCE = 48 * 3600.0  # seconds that a process waits for the slowest; a launcher ends all when one dies


def prepare(
    videos: str | Path,
    out: str | Path,
    *,
    preset: str | Preset = "wan-1.3b",
    base: str | Path | None = None,
    variants: int = VARIANTS,
    seed: int = 0,
    size: tuple[int, int] | None = None,
    interval: int | None = None,
    clips_per_video: int = 4,
    limits: Sequence[str] = (),
    deadline: float = 600.0,
    download: bool = False,
    isolate: bool = True,
    shard_bytes: int = SHARD_BYTES,
    device: str = "auto",
    progress: bool = True,
    processes: Processes | None = None,
) -> Path:
    """Cut, filter and encode videos; a second call does only what is missing.

    Args:
        videos: folder of videos, or a CSV in the official release's layout.
        out: the cache's folder; runs into one folder must share preset, size, variants, interval, seed and encoder.
        preset: "wan-1.3b" or "nano".
        base: folder or hub id of the published base (wan-1.3b); None = the hub's cache.
        variants: V, sources and controls stored of each clip; see `novakit.training.preparation.encoding`.
        seed: of masks, degradations and of whose content is pasted where.
        size: (H, W), one of the preset's; None = its first.
        interval: keyframe interval in frames, 1 .. T - 1; None = the preset's (paper: 10).
        clips_per_video: most clips cut from one video.
        limits: thresholds of the filters that differ from `Limits`, as "name=value".
        deadline: seconds that looking at one video may take, more than 0.
        download: fetch what is missing of the base, after a notice with licence and size.
        isolate: look at videos in a child process that can be killed; False decodes in this one.
        shard_bytes: a shard is closed above this size.
        device: "auto", "cpu" or "cuda".
        progress: show progress bars and a last line.
        processes: None = those that the launcher started.

    Returns:
        The cache's folder.

    Raises:
        NovaError: senseless options, no videos, no base: before anything is written; none worth keeping, other
            settings than the folder's, a full disk.
        SystemExit, KeyboardInterrupt: after saving, when SIGTERM or Ctrl-C came to any process.
    """
    preset, folder = get_preset(preset), Path(out)
    size = _checked(preset, size, variants, interval, clips_per_video, deadline)
    cutting = Cutting(preset.num_frames, clips_per_video=clips_per_video)
    bounds = Limits(preset.num_frames, size, **read_limits(limits))
    with _processes(processes, device) as team:
        if team.device.type == "cpu" and preset.weights != "shipped":
            notice(
                f"encoding at {preset.name}'s size on a CPU takes minutes for each of {1 + 2 * variants} passes a clip."
            )
        listed, refused = team.share(team.on_main(lambda: (require_scenedetect(), list_videos(videos))[1]))
        encoder = team.together(lambda: load_encoder(preset, base, team.device, download))
        team.on_main(lambda: require_writable_folder(folder))
        with _locked(folder, team), StopSignals() as signals:
            interval, shape = interval or preset.interval, (preset.num_frames, *size)
            settings = Settings(preset.name, *size, preset.num_frames, variants, interval, seed, encoder.fingerprint)
            team.on_main(lambda: _begin(folder, settings))
            work = Work(folder, cutting, settings, team, signals, encoder, progress)
            work.phase(lambda: work.look(listed, deadline if isolate else None))
            items = team.share(team.on_main(lambda: work.choose(listed, refused, bounds)))
            missing = team.share(team.on_main(lambda: work.make_room(items, shape)))
            work.phase(lambda: work.encode(items, missing, shard_bytes))
            said = team.on_main(lambda: work.finish(items))
        if progress and team.is_main:
            print(said)
    return folder


@contextmanager
def _processes(given: Processes | None, device: str) -> Iterator[Processes]:
    """The processes of the run; those that were started here are closed here."""
    if given is not None:
        yield given
        return
    with Processes.start(device, patience=PATIENCE).closing() as team:
        yield team


def _checked(
    preset: Preset, size: tuple[int, int] | None, variants: int, interval: int | None, clips: int, deadline: float
) -> tuple[int, int]:
    """The size, after all numbers were checked.

    Raises:
        NovaError: a number that makes no sense.
    """
    size = tuple(size or preset.sizes[0])
    if size not in preset.sizes:
        known = ", ".join(f"{h}x{w}" for h, w in preset.sizes)
        raise NovaError(f"size {size[0]}x{size[1]} (height x width) is none of {preset.name}'s: {known}.")
    for name, value in {"variants": variants, "interval": interval or 1, "clips_per_video": clips}.items():
        if value < 1:
            raise NovaError(f"{name} is {value}; pass 1 or more.")
    if interval and interval >= preset.num_frames:
        raise NovaError(
            f"interval is {interval}: a clip of {preset.num_frames} frames has no second keyframe then. Pass at most "
            f"{preset.num_frames - 1} (the preset's: {preset.interval})."
        )
    if not 0 < deadline <= PATIENCE:
        raise NovaError(f"deadline is {deadline:g} s; pass more than 0 and at most {PATIENCE:g}, e.g. 600.")
    return size


def _begin(folder: Path, settings: Settings) -> None:
    """Check that the folder is ours to go on with, and clear what a killed run left.

    Raises:
        NovaError: other settings.
    """
    check_settings(folder, settings)
    for name in ("seen", "shards", "quarantine"):
        require_writable_folder(folder / name)
    (folder / "stop").unlink(missing_ok=True)
    tidy(folder / "shards")


@contextmanager
def _locked(folder: Path, team: Processes) -> Iterator[None]:
    """Keep a second run out of the folder."""
    lock = RunLock(folder)
    team.on_main(lock.__enter__)
    try:
        yield
    finally:
        if team.is_main:
            lock.__exit__(None, None, None)
