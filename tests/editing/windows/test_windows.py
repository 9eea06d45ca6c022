"""Windows cover a clip once, fade into each other without a gap, and start from one noise."""

import pytest
import torch
from nova_tiny import tiny_pipeline

from novakit.editing.windows.plan import (
    OVERLAP,
    Window,
    cross_fade,
    padded_length,
    plan_windows,
    window_noise,
    windows_of,
)

LENGTHS = [*range(1, 120), 177, 300, 810, 8100]


@pytest.mark.parametrize("longest", [5, 9, 17, 33, 81])
def test_windows_cover_every_clip(longest):
    for num_frames in LENGTHS:
        windows = plan_windows(num_frames, longest)
        assert windows[0].start == 0 and windows[-1].stop == padded_length(num_frames)
        assert all(window.start % 4 == 0 and (window.num_frames - 1) % 4 == 0 for window in windows)
        assert {window.num_frames for window in windows} == {min(longest, padded_length(num_frames))}
        for last, window in zip(windows, windows[1:]):
            assert last.end_of_fade <= window.fade_in, "two fades at once would need three windows in memory"
            assert window.start <= window.fade_in < window.end_of_fade <= last.stop


@pytest.mark.parametrize("longest", [33, 81])
def test_no_more_windows_than_needed_and_an_overlap_that_is_kept(longest):
    stride = longest - OVERLAP
    for num_frames in LENGTHS:
        windows = plan_windows(num_frames, longest)
        assert len(windows) == 1 + max(0, -(-(padded_length(num_frames) - longest) // stride))
        assert all(last.stop - window.start >= OVERLAP for last, window in zip(windows, windows[1:]))


def test_a_fade_is_linear_and_keeps_what_windows_agree_on():
    windows = [Window(0, 17, 0, 0), Window(8, 25, 10, 4)]
    black, white = torch.zeros(1, 17, 1, 1), torch.ones(1, 17, 1, 1)
    values = torch.stack(list(cross_fade(windows, [black, white]))).flatten()
    assert torch.allclose(values, torch.tensor([0.0] * 10 + [0.2, 0.4, 0.6, 0.8] + [1.0] * 11))
    ramp = torch.arange(25.0).view(1, 25, 1, 1)
    same = torch.stack(list(cross_fade(windows, [ramp[:, :17], ramp[:, 8:]])), dim=1)
    assert torch.equal(same, ramp)


@pytest.mark.parametrize("num_frames", [9, 30, 97])
def test_frames_come_in_order_and_only_two_windows_are_asked_for_ahead(num_frames):
    windows, asked = plan_windows(num_frames, 17), []

    def edits():
        for window in windows:
            asked.append(window)
            yield torch.arange(window.start, window.stop, dtype=torch.float32).view(1, -1, 1, 1)

    for t, frame in enumerate(cross_fade(windows, edits())):
        assert frame.item() == pytest.approx(t, abs=1e-4)
        assert sum(window.stop > t for window in asked) <= 2 and asked[-1].start <= t + 17
    assert t == padded_length(num_frames) - 1


def test_windows_of_a_stretch_are_those_that_change_it():
    windows = plan_windows(97, 33)
    edits = [torch.zeros(1, window.num_frames, 1, 1) for window in windows]
    for start in range(0, 97, 5):
        for stop in range(start + 1, 98, 7):
            chosen = windows_of(windows, start, stop)
            for i, window in enumerate(windows):
                marked = [edit + (i == j) for j, edit in enumerate(edits)]
                seen = torch.stack(list(cross_fade(windows, marked)))[start:stop].any()
                assert bool(seen) == (window in chosen)


def test_noise_belongs_to_the_frames_not_to_the_window():
    shape = (1, 4, 9, 2, 3)
    windows = plan_windows(97, 33)
    first = torch.randn(shape, generator=torch.Generator().manual_seed(7))
    assert torch.equal(window_noise(windows[0], shape, 7), first), "one window is one plain call"
    noises = [window_noise(window, shape, 7) for window in windows]
    for (last, window), (one, other) in zip(zip(windows, windows[1:]), zip(noises, noises[1:])):
        shift = (window.start - last.start) // 4
        assert torch.equal(one[:, :, shift:], other[:, :, : 9 - shift])
        assert not torch.equal(one[:, :, 0], other[:, :, 0])
    assert not torch.equal(window_noise(windows[2], shape, 8), noises[2])
    assert 0.9 < torch.cat(noises).std() < 1.1


def test_the_first_window_starts_from_the_noise_of_a_plain_call():
    pipe, seen = tiny_pipeline(), []
    clip = torch.zeros(1, 3, 9, 16, 24)
    remember = lambda pipeline, i, t, tensors: seen.append(tensors["latents"]) or {}  # noqa: E731
    generator = torch.Generator().manual_seed(3)
    pipe(clip, {0: clip[0, :, 0]}, num_inference_steps=1, generator=generator, callback_on_step_end=remember)
    noise = window_noise(Window(0, 9, 0, 0), (1, 4, 3, 2, 3), 3)
    pipe(clip, {0: clip[0, :, 0]}, num_inference_steps=1, latents=noise, callback_on_step_end=remember)
    assert torch.equal(*seen)
