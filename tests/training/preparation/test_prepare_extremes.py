"""V5, V8, V11 through `prepare`: headers that lie, odd and extreme sizes, frames and lengths that no memory holds."""

import ctypes
import gc
import resource
import struct
import sys
import time
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch
from make_clips import make_video
from prepare_toy import LOOKS, SIZE, in_child, manifest, scene, tiny_encoder, toy_prepare

from novakit.errors import NovaError
from novakit.training.preparation import work
from novakit.training.preparation.cache import LatentCache
from novakit.video import Geometry

linux = pytest.mark.skipif(sys.platform != "linux", reason="asks /proc")
MARK = 9  # pixels, side of a corner marker


def patched(file, frames):
    """The file with a header that promises `frames` frames."""
    data = bytearray(file.read_bytes())
    at = data.index(b"stts") + 12
    data[at : at + 4] = struct.pack(">I", frames)
    file.write_bytes(data)
    return file


def reasons(folder):
    return {entry["name"]: entry["reason"] for entry in manifest(folder)["dropped"]}


# ------------------------------------------------------------------------------------------------- V5, with a child


def test_a_header_that_promises_more_frames_costs_one_file(tmp_path, tiny):
    """Looked at in a child process, as `novakit prepare` does; refused long before the deadline, the rest goes on."""
    (tmp_path / "videos").mkdir()
    for number in (0, 1):
        make_video(tmp_path / "videos" / f"{number}.mp4", frames=40, draw=scene(number), **SIZE)
    patched(make_video(tmp_path / "videos" / "a liar.mp4", frames=40, draw=scene(2), options={"bf": "0"}, **SIZE), 431)
    started, deadline = time.monotonic(), 60.0
    toy_prepare(tmp_path / "videos", tmp_path / "cache", isolate=True, deadline=deadline)
    assert time.monotonic() - started < deadline
    (reason,) = reasons(tmp_path / "cache").values()
    assert reason.startswith("bad file: a liar.mp4 is damaged: it holds 40 of 431 frames that its header promises")
    assert len(LatentCache(tmp_path / "cache")) == 2


# ------------------------------------------------------------------------------------------------------------- sizes


def corners(height, width):
    """Centres (y, x) of the markers: just inside the corners of the box that becomes a clip of 64x96."""
    top, left, box_height, box_width = Geometry.between((height, width), (64, 96), "crop").box
    rows, columns = ((first + MARK, first + side - MARK - 1) for first, side in ((top, box_height), (left, box_width)))
    return [(y, x) for y in rows for x in columns]


def marked(kind):
    """A moving scene, darkened, with a white square at each corner where there is room for them."""

    def draw(t, height, width):
        frame = scene(kind)(t, height, width) // 2
        for y, x in corners(height, width) if min(height, width) > 4 * MARK else []:
            frame[y - MARK // 2 : y + MARK // 2 + 1, x - MARK // 2 : x + MARK // 2 + 1] = 255
        return frame

    return draw


def found_near(frame, y, x):
    """Centre of what is brighter than the scene can be, around (y, x); frame (3, H, W) in [-1, 1]."""
    reach, grey = MARK, frame.mean(0)
    top, left = max(0, round(y) - reach), max(0, round(x) - reach)
    weight = (grey[top : round(y) + reach + 1, left : round(x) + reach + 1] - 0.35).clamp(min=0)
    rows, columns = (torch.arange(side, dtype=torch.float32) for side in weight.shape)
    total = weight.sum()
    assert total > 1, "no marker"
    return top + (weight.sum(1) * rows).sum() / total, left + (weight.sum(0) * columns).sum() / total


KEPT = [(64, 96), (65, 97), (81, 99), (97, 127), (203, 317)]  # (H, W)
REFUSED = {
    (1, 1): "too small: 1x1",
    (1, 96): "wrong shape",
    (2, 4): "too small: 4x2",
    (63, 95): "too small: 95x63",
    (97, 65): "wrong shape",
    (66, 1300): "wrong shape",
    (1300, 98): "wrong shape",
}


def test_odd_and_extreme_sizes(tmp_path, tiny):
    """Corner markers land within a pixel of where the mapping of keyframes puts them, or there is a reason."""
    (tmp_path / "videos").mkdir()
    for number, (height, width) in enumerate([*KEPT, *REFUSED]):
        options = {"draw": marked(number % len(LOOKS)), "size": (height, width), "pix_fmt": "yuv444p"}
        make_video(tmp_path / "videos" / f"{height}x{width}.mp4", frames=34, fps=25, **options)
    seen, counted = {}, work.encode_item

    def look(encoder, item, clips, *rest, **options):
        seen[item.video.name] = clips["target"]
        return counted(encoder, item, clips, *rest, **options)

    with mock.patch.object(work, "encode_item", look):
        toy_prepare(tmp_path / "videos", tmp_path / "cache", limits=["alike=-1", "contrast=0"], variants=1)
    assert set(seen) == {f"{height}x{width}.mp4" for height, width in KEPT}
    for height, width in KEPT:
        clip, geometry = seen[f"{height}x{width}.mp4"], Geometry.between((height, width), (64, 96), "crop")
        assert clip.shape == (1, 3, 33, 64, 96)
        for corner in corners(height, width):
            wanted = geometry.point_to_preset(*corner)
            for t in (0, 32):
                assert found_near(clip[0, :, t], *wanted) == pytest.approx(wanted, abs=1.0), (height, width, corner)
    told = reasons(tmp_path / "cache")
    wanted = {f"{height}x{width}.mp4": reason for (height, width), reason in REFUSED.items()}
    assert {name: told[name][: len(reason)] for name, reason in wanted.items()} == wanted and len(told) == len(wanted)


# -------------------------------------------------------------------------------------------------------------- huge


def bombs(folder):
    """Two small files: one says 8192x8192, one a million frames."""
    folder.mkdir()
    flat = {"draw": lambda t, height, width: np.full((height, width, 3), 90, np.uint8)}
    fast = {"preset": "ultrafast"}
    make_video(folder / "large.mp4", frames=1, size=(8192, 8192), options=fast, **flat)
    patched(make_video(folder / "long.mp4", frames=40, options={"bf": "0"}, draw=scene(0), **SIZE), 10**6)
    return folder


def status(name):
    """A size of this process in bytes, from /proc."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))


@pytest.fixture(scope="module")
def refused_bombs(tmp_path_factory):
    """Both through `prepare` with less address space than one picture of 201 MB takes: the report, and kB of growth."""
    folder = tmp_path_factory.mktemp("bombs")
    videos, plain = bombs(folder / "videos"), folder / "plain"
    plain.mkdir()
    make_video(plain / "still.mp4", frames=40, draw=lambda t, *size: scene(3)(0, *size), **SIZE)
    assert sum(file.stat().st_size for file in videos.iterdir()) < 500_000

    def refused(place, why):
        with pytest.raises(NovaError, match=rf"no clip was kept. Dropped: {why}"):
            toy_prepare(place, place / "cache")
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # kilobytes, the most so far

    def run():
        before = refused(plain, r"static \(1\)")  # an ordinary file: what a refusal takes anyway is there
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)  # what earlier tests have freed must not hold a picture
        limit = status("VmSize") + 150 * 2**20
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        with pytest.raises(MemoryError):
            np.ones(8192 * 8192 * 3, np.uint8)
        (folder / "grown").write_text(str(refused(videos, r"bad file \(2\)") - before))

    with tiny_encoder():
        assert in_child(run, folder / "output") == 0, (folder / "output").read_text()
    return (videos / "cache" / "report.html").read_text(), int((folder / "grown").read_text())


@linux
def test_what_no_memory_holds_is_refused_from_the_header(refused_bombs):
    assert "frames of 8192x8192; at most 36 megapixels are read" in refused_bombs[0]
    assert "claims 1000000 frames; at most 200000 are read" in refused_bombs[0]


@linux
def test_a_refusal_takes_next_to_no_memory(refused_bombs):
    assert refused_bombs[1] < 50_000
