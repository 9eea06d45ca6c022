"""Where one window fades into the next, nothing is to be seen: measured on rendered scenes with the shipped weights."""

from dataclasses import replace
from itertools import pairwise
from statistics import mean

import pytest
import torch
from edit_files import make_job
from PIL import Image

from novakit.editing import NovaEditPipeline
from novakit.editing.windows.edit import edit_windows
from novakit.editing.windows.plan import cross_fade, plan_windows
from novakit.scenes import render_scenes
from novakit.video import write_clip
from novakit.video.encode import frame_to_uint8

FRAMES, INTERVAL, SCENES = 57, 8, (0, 3)
WINDOWS = plan_windows(FRAMES, 33)


@pytest.fixture(scope="module")
def edits(tmp_path_factory):
    """Per scene: its windows as the network gives them, and the true edited clip."""
    pipe, found = NovaEditPipeline.from_preset("nano", device="cpu"), []
    for number in SCENES:
        folder = tmp_path_factory.mktemp("scene")
        scene = render_scenes([number], split="test", num_frames=FRAMES)
        source = write_clip(folder / "source.mp4", scene.source, 12, crf=1)
        (folder / "k").mkdir()
        for k in range(0, FRAMES, INTERVAL):
            Image.fromarray(frame_to_uint8(scene.truth[0, :, k])).save(folder / "k" / f"{k:03d}.png")
        job = make_job(source, folder / "k", pipe, steps=4)
        found.append((list(edit_windows(job, WINDOWS)), scene.truth[0]))
    return found


def change(clip):
    """Mean change from frame to frame, (T-1,)."""
    return clip.diff(dim=1).abs().mean((0, 2, 3))


def seam_ratio(windows, parts, truth):
    """Change across the fades against change elsewhere, both in units of the truth's own change."""
    clip = torch.stack(list(cross_fade(windows, parts)), dim=1)
    calm = change(clip) / change(truth).clamp_min(1e-3)
    seam = torch.zeros(FRAMES - 1, dtype=torch.bool)
    for window in windows[1:]:
        seam[window.fade_in - 1 : window.end_of_fade] = True
    return (calm[seam].mean() / calm[~seam].mean()).item()


def test_the_seam_is_as_calm_as_the_rest(edits):
    assert len(WINDOWS) == 2
    assert mean(seam_ratio(WINDOWS, *edit) for edit in edits) <= 1.1


def test_without_a_fade_it_would_show(edits):
    """The same windows, cut hard near the start of the second one: the measure can tell."""
    hard = [WINDOWS[0], replace(WINDOWS[1], fade_in=WINDOWS[1].start + 1, fade=0)]
    assert mean(seam_ratio(hard, *edit) for edit in edits) > 1.3


def test_windows_agree_where_they_overlap(edits):
    """Shared noise and shared keyframes: two windows draw the same frames more alike than their edits are exact."""
    for (one, other), truth in edits:
        shared = slice(WINDOWS[1].start, WINDOWS[0].stop)
        first, second = one[:, shared], other[:, : WINDOWS[0].stop - WINDOWS[1].start]
        error = max((part - truth[:, shared]).abs().mean() for part in (first, second))
        assert (first - second).abs().mean() < error
    assert all(last.stop - window.start == 9 for last, window in pairwise(WINDOWS))
