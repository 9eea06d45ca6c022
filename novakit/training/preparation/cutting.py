"""Look at one video once: where its scenes end, and which stretch of each could be a clip.

Frames are decoded by novakit.video (containers sniffed, playlists refused, "decoded n of m" never silent), shrunk, and
handed one by one to PySceneDetect; nothing else opens the file. Hard cuts are found; dissolves mostly are not.

Source: PySceneDetect's AdaptiveDetector with its own defaults (a fast pan is no cut); the measures are ours.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from hashlib import sha256 as hash_of
from itertools import islice
from typing import Any

import numpy as np
import torch
from PIL import Image

from novakit.errors import NovaError
from novakit.files import sha256
from novakit.training.preparation.listing import Video
from novakit.video import ClipInfo, iter_frames, probe, resize

WIDTH = 160  # pixels of the small frames that all measures and thumbnails come from
LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)


@dataclass(frozen=True)
class Cutting:
    """How clips are cut out of a video."""

    num_frames: int  # T, frames of a clip
    clips_per_video: int = 4  # most clips of one video: its longest scenes
    look_at: int = 3000  # most frames of a video that are looked at, from its start
    margin: int = 2  # frames left out beside a cut, where encoders mix both scenes
    max_fps: float = 30.0  # a faster video is thinned to at most this: 60 frames/s become 30, 50 become 25


@dataclass(frozen=True)
class Candidate:
    """A stretch of one scene, as long as a clip where the scene is long enough, and what was measured on it."""

    key: str  # 16 hex digits out of the files' content, the first frame and the stride: the clip's identity
    start: int  # first frame in the file
    stride: int  # every how manyth frame
    frames: int  # frames that the scene has at that stride
    size: tuple[int, int]  # (H, W) of the video, upright
    motion: float  # mean change of a pixel from frame to frame, grey levels (0 .. 255)
    contrast: float  # mean standard deviation within a frame, grey levels
    look: str  # 48 hex digits: difference hashes of the first, middle and last frame
    thumbnail: str  # three frames in a row, JPEG in base64


def survey(video: dict[str, Any], cutting: dict[str, Any]) -> list[dict[str, Any]]:
    """All candidates of one video, as plain values: this runs in a child process.

    Args:
        video: fields of a Video.
        cutting: fields of a Cutting.

    Returns:
        Fields of Candidates; a scene that is too short for a clip is among them, with `frames` < T.

    Raises:
        NovaError: a file that cannot be decoded throughout, or with a varying frame rate.
    """
    torch.set_num_threads(1)
    entry, how = Video(**video), Cutting(**cutting)
    info = _probe_all(entry, how)
    stride = stride_of(info, how)
    count = min(info.num_frames, how.look_at)
    frames, cuts = watch(info, count)
    edges = [0, *cuts, count]
    scenes = [(a + how.margin * (a > 0), b - how.margin * (b < count)) for a, b in zip(edges[:-1], edges[1:])]
    if entry.source or entry.control:
        scenes = scenes[:1]  # companions of a video go with its frames from the first one on
    identity = "-".join(sha256(path) for path in entry.files)
    windows = [_window(a, b, stride, how.num_frames, fixed=bool(entry.source or entry.control)) for a, b in scenes]
    chosen = sorted(windows, key=lambda window: -window[1])[: how.clips_per_video]
    return [asdict(_measure(frames, info, identity, start, stride, n, how)) for start, n in sorted(chosen)]


def stride_of(info: ClipInfo, how: Cutting) -> int:
    """Every how manyth frame is taken, so that at most about `max_fps` frames are left of a second."""
    return max(1, round(float(info.fps) / how.max_fps))


def _probe_all(entry: Video, how: Cutting) -> ClipInfo:
    """The video's info; its companions must be long enough.

    Raises:
        NovaError: an unreadable file, a varying frame rate, or a companion that is too short.
    """
    info = probe(entry.path)
    if info.variable_fps:
        raise NovaError("its frame rate varies; re-encode it, e.g. with `ffmpeg -i in.mp4 -r 25 out.mp4`")
    needed = (how.num_frames - 1) * stride_of(info, how) + 1
    for path in entry.files[1:]:
        if (found := probe(path).num_frames) < needed:
            raise NovaError(f"its companion {path} has {found} frames; {needed} are needed")
    return info


def watch(info: ClipInfo, count: int) -> tuple[list[np.ndarray], list[int]]:
    """The first `count` frames, small, uint8 (h, WIDTH, 3), and the frame indices at which a new scene begins."""
    AdaptiveDetector, FrameTimecode = require_scenedetect()
    detector = AdaptiveDetector()
    height = min(4 * WIDTH, max(8, round(info.height * WIDTH / info.width)))
    frames, cuts = [], []
    for t, picture in enumerate(iter_frames(info, count)):
        planes = torch.from_numpy(picture).permute(2, 0, 1)[None]  # (1, 3, H, W)
        small = resize(planes, (height, WIDTH))[0].permute(1, 2, 0).numpy()
        frames.append(np.ascontiguousarray(small))
        code = FrameTimecode(t, fps=float(info.fps))
        cuts += detector.process_frame(code, np.ascontiguousarray(small[..., ::-1]))  # it wants BGR
    return frames, sorted(cut.frame_num for cut in cuts)


def require_scenedetect() -> tuple[Any, Any]:
    """PySceneDetect's detector and time code.

    Raises:
        NovaError: it is not installed.
    """
    try:
        from scenedetect import AdaptiveDetector, FrameTimecode
    except ImportError:
        raise NovaError(
            "PySceneDetect, which cuts the scenes, is missing. Install it with `pip install scenedetect-headless`."
        ) from None
    return AdaptiveDetector, FrameTimecode


def _window(first: int, end: int, stride: int, num_frames: int, fixed: bool) -> tuple[int, int]:
    """(start, frames) of the clip in the middle of a scene first..end-1, or from its first frame on when `fixed`."""
    have = max(0, (end - first - 1) // stride + 1)
    rest = (end - first) - ((num_frames - 1) * stride + 1)
    return first if fixed or rest < 0 else first + rest // 2, have


def _measure(
    frames: list[np.ndarray], info: ClipInfo, identity: str, start: int, stride: int, have: int, how: Cutting
) -> Candidate:
    shown = frames[start : start + (min(have, how.num_frames) - 1) * stride + 1 : stride] or frames[:1]
    grey = np.stack([frame.astype(np.float32) @ LUMA for frame in shown])  # (T, h, w)
    motion = float(np.abs(np.diff(grey, axis=0)).mean()) if len(grey) > 1 else 0.0
    three = [0, len(shown) // 2, len(shown) - 1]
    return Candidate(
        key=hash_of(f"{identity}/{start}/{stride}".encode()).hexdigest()[:16],
        start=start,
        stride=stride,
        frames=have,
        size=info.size,
        motion=round(motion, 4),
        contrast=round(float(grey.std((1, 2)).mean()), 4),
        look="".join(_difference_hash(grey[i]) for i in three),
        thumbnail=_strip(shown[i] for i in three),
    )


def _difference_hash(grey: np.ndarray) -> str:
    """64 bits, 16 hex digits: is each of 8 x 8 places brighter than its right neighbour?"""
    small = np.asarray(Image.fromarray(grey).resize((9, 8), Image.Resampling.BOX))
    return np.packbits(small[:, 1:] > small[:, :-1]).tobytes().hex()


def _strip(frames: Iterable[np.ndarray]) -> str:
    """Pictures side by side as a JPEG in base64."""
    stream = io.BytesIO()
    Image.fromarray(np.concatenate(list(islice(frames, 3)), axis=1)).save(stream, "JPEG", quality=60)
    return base64.b64encode(stream.getvalue()).decode()
