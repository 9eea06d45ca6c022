"""Long clips in windows: one window is a plain edit, and windows share what they share."""

import torch
from toy_bench import ToyNova

from novakit.editing.pipeline import NovaEditPipeline
from novakit.editing.windows.plan import plan_windows
from novakit.evaluation.baselines.task import EditTask
from novakit.evaluation.scoring import start_noise
from novakit.evaluation.suites.long_clips import LONG, cut, edit_in_windows
from novakit.evaluation.suites.rows import edit_with
from novakit.scenes import render_scenes


def task(pipe, frames, interval=8, size=(32, 48)):
    scenes = render_scenes([0, 1], split="test", edit="replace", num_frames=frames, size=size)
    indices = list(range(0, frames, interval))
    noise = torch.randn(2, 4, 1 + (frames - 1) // 4, 2, 3, generator=torch.Generator().manual_seed(0))
    return EditTask(scenes.source, scenes.truth[:, :, indices], indices, noise, 1, scenes.mask)


class Preset:
    num_frames = 33


class WindowedToy(ToyNova):
    preset = Preset()


def test_a_clip_of_one_window_is_a_plain_edit():
    pipe, short = WindowedToy(), task(None, 33)
    assert torch.equal(edit_in_windows(pipe, short), edit_with(pipe, short))


def test_windows_get_their_own_part_of_source_noise_and_control():
    long, pipe = task(None, LONG, interval=20), WindowedToy()
    edited = edit_in_windows(pipe, long)
    windows = plan_windows(LONG, 33)
    assert edited.shape == long.source.shape and [w.start for w in windows] == [0, 24, 48]
    for window, call in zip(windows, pipe.calls):
        assert torch.equal(call["source"], long.source[:, :, window.start : window.stop])
        part = cut(long, window)
        assert part.noise.shape[2] == 9 and part.indices[0] == 0 and part.indices[-1] == 32
        assert torch.equal(part.noise[:, :, 0], long.noise[:, :, window.start // 4])


def test_the_control_of_a_window_is_that_of_the_whole_clip():
    """A toy that shows its control: cut and joined again it is the whole clip's."""
    long, pipe = task(None, LONG, interval=20), WindowedToy()
    shown = EditTask(
        torch.full_like(long.source, -1.0), long.keyframes * 0.2 + 0.7, long.indices, long.noise, 1, long.mask
    )
    whole = edit_with(pipe, shown)
    assert torch.allclose(edit_in_windows(pipe, shown), whole, atol=1e-5) and whole.min() > 0


def test_the_shipped_pipeline_edits_a_long_clip_and_the_last_frame_is_no_copy_of_the_source():
    pipe = NovaEditPipeline.from_preset("nano", device="cpu")
    pipe.set_progress_bar_config(disable=True)
    scenes = render_scenes([3], split="test", edit="recolour", num_frames=LONG)
    indices = list(range(0, LONG, 16))
    noise = start_noise(pipe, scenes, 0)
    given = EditTask(scenes.source, scenes.truth[:, :, indices], indices, noise, 1, scenes.mask)
    edited = edit_in_windows(pipe, given)
    inside = scenes.mask.expand_as(edited) > 0
    near, far = ((edited - other)[inside].abs().mean() for other in (scenes.truth, scenes.source))
    assert edited.shape == scenes.source.shape and near < far
