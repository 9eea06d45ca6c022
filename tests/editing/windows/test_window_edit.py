"""A long edit is made of plain pipeline calls: two roads, the same frames."""

import pytest
import torch
from edit_files import SIZE, make_job, make_keyframes, make_mask, make_source, run
from nova_tiny import tiny_pipeline
from PIL import Image

from novakit.degradation import interpolate_keyframes
from novakit.editing.postprocess import match_colour
from novakit.editing.windows.edit import control_at, edit_windows, sliding, window_keyframes
from novakit.editing.windows.full_size import finished_frames
from novakit.editing.windows.plan import plan_windows, window_noise
from novakit.models.latents import decode_latents, encode_clip
from novakit.video import GROUP, read_clip, read_keyframes, read_mask, resize, write_clip


@pytest.fixture(scope="module")
def pipe():
    return tiny_pipeline(preset="nano")


@pytest.fixture
def files(tmp_path):
    """A clip of 41 frames with keyframes that leave the window 8..24 without any."""
    return make_source(tmp_path / "s.mp4", frames=41), make_keyframes(tmp_path / "k", (3, 30, 36))


def finished(job, longest=17, start=0, stop=None):
    stop = job.info.num_frames if stop is None else stop
    windows = plan_windows(job.info.num_frames, longest)
    return torch.stack(list(finished_frames(job, windows, start, stop)), dim=1)[None]  # (1, 3, T, H, W)


@pytest.mark.parametrize("frames", [17, 14])
def test_a_clip_of_one_window_is_one_plain_call(pipe, tmp_path, frames):
    source, keyframes = make_source(tmp_path / "s.mp4", frames=frames), make_keyframes(tmp_path / "k", (3, 8))
    images = read_keyframes(keyframes, frames, SIZE)
    clip = read_clip(source).frames
    clip = clip[:, :, [min(t, frames - 1) for t in range(17)]]
    plain = pipe(clip, images, num_inference_steps=1, generator=torch.Generator().manual_seed(5)).frames[:, :, :frames]
    torch.testing.assert_close(finished(make_job(source, keyframes, pipe, seed=5)), plain, atol=1e-5, rtol=0)
    whole = read_clip(write_clip(tmp_path / "plain.mp4", plain, 12, longest_group=GROUP)).frames
    made = run(source, keyframes, tmp_path / "e.mp4", pipe, seed=5, quiet=True)
    assert made.windows == 1 and (read_clip(made.path).frames - whole).abs().mean() < 0.02


def test_the_control_of_all_windows_is_the_whole_clips_control_cut(pipe, files):
    job = make_job(*files, pipe)
    images = read_keyframes(files[1], 41, SIZE)
    whole = interpolate_keyframes(torch.stack(list(images.values()), 1)[None], list(images), 41)[0]
    for window in plan_windows(41, 17):
        given = window_keyframes(job.keyframes, window)
        assert {0, 16} <= set(given)
        control = interpolate_keyframes(torch.stack(list(given.values()), 1)[None], list(given), 17)[0]
        torch.testing.assert_close(control, whole[:, window.start : window.stop], atol=1e-5, rtol=0)
    for t in range(41):
        torch.testing.assert_close(control_at(job.keyframes, t), whole[:, t], atol=1e-5, rtol=0)
    assert any(not {3, 30, 36} & set(range(w.start, w.stop)) for w in plan_windows(41, 17)), "one has no keyframe"


def test_a_long_edit_is_plain_calls_that_fade(pipe, files):
    """Window by window by hand; the weights of the fade from their definition."""
    images = read_keyframes(files[1], 41, SIZE)
    whole = interpolate_keyframes(torch.stack(list(images.values()), 1)[None], list(images), 41)[0]
    source = read_clip(files[0]).frames
    total, weights = torch.zeros(1, 3, 41, *SIZE), torch.zeros(41)
    windows = plan_windows(41, 17)
    for i, window in enumerate(windows):
        cut = slice(window.start, window.stop)
        control = {t: whole[:, t + window.start] for t in range(17)}
        noise = window_noise(window, (1, 4, 5, 8, 12), 0)
        edit = pipe(source[:, :, cut], control, num_inference_steps=1, latents=noise).frames
        share = torch.ones(17)
        for t in range(window.start, window.stop):
            if i > 0:
                share[t - window.start] *= min(1, max(0, t - window.fade_in + 1) / (window.fade + 1))
            if i + 1 < len(windows):
                after = windows[i + 1]
                share[t - window.start] *= 1 - min(1, max(0, t - after.fade_in + 1) / (after.fade + 1))
        total[:, :, cut] += edit * share.view(1, 1, 17, 1, 1)
        weights[cut] += share
    assert len(windows) == 4 and torch.allclose(weights, torch.ones(41))
    torch.testing.assert_close(finished(make_job(*files, pipe)), total, atol=2e-4, rtol=0)


def test_a_stretch_is_the_same_as_in_the_whole(pipe, files):
    job = make_job(*files, pipe)
    torch.testing.assert_close(finished(job, start=18, stop=29), finished(job)[:, :, 18:29])


@pytest.mark.parametrize("match", [False, True])
def test_a_large_source_gets_the_upsampled_difference(pipe, tmp_path, match):
    source = make_source(tmp_path / "s.mp4", frames=17, height=130, width=190)
    keyframes = make_keyframes(tmp_path / "k", (4,), size=(190, 130))
    job = make_job(source, keyframes, pipe, match_colour=match)
    small, large = read_clip(source, size=SIZE), read_clip(source).frames
    images = read_keyframes(keyframes, 17, SIZE, geometry=small.geometry)
    edit = pipe(small.frames, images, num_inference_steps=1, generator=torch.Generator().manual_seed(0)).frames
    with torch.no_grad():
        trip = decode_latents(pipe.vae, encode_clip(pipe.vae, small.frames))
    edit = match_colour(edit[0], trip[0])[None] if match else edit
    wanted = large + resize((edit - trip).flatten(0, 1), (130, 190)).view_as(large)
    torch.testing.assert_close(finished(job), wanted.clamp(-1, 1), atol=1e-5, rtol=0)


@pytest.mark.parametrize("size", [(64, 96), (128, 192)])
def test_pasted_pixels_are_the_sources_and_colours_are_matched_outside(pipe, tmp_path, size):
    source = make_source(tmp_path / "s.mp4", frames=41, height=size[0], width=size[1])
    keyframes = make_keyframes(tmp_path / "k", (3, 30), size=size[::-1])
    mask = make_mask(tmp_path / "m.mp4", 41, *size)
    before, marked = read_clip(source).frames, read_mask(mask, 41, size)
    plain, pasted = (
        finished(make_job(source, keyframes, pipe, mask=mask, paste_back=paste)) for paste in (False, True)
    )
    outside = marked.expand_as(before) == 0
    assert torch.equal(pasted[outside], before[outside]) and not torch.equal(plain[outside], before[outside])
    inside = slice(2, size[1] // 4 - 2)
    torch.testing.assert_close(pasted[..., inside], plain[..., inside])
    matched = finished(make_job(source, keyframes, pipe, mask=mask, match_colour=True))
    drift = lambda clip: (clip - before)[..., size[1] // 4 :].mean((0, 2, 3, 4)).abs().max()  # noqa: E731
    assert drift(matched) < 0.3 * drift(plain)


@pytest.mark.parametrize(
    ("source_size", "mask_size", "columns"),
    [
        ((216, 384), (64, 96), 24 * 4),  # drawn on the small clip, whose aspect is another than the source's
        ((216, 384), (108, 192), 49 * 2),
        ((256, 384), (128, 192), 49 * 2),  # not by way of the small size: 24.5 columns there
    ],
)
def test_a_mask_may_have_the_small_size_or_the_sources_aspect(pipe, tmp_path, source_size, mask_size, columns):
    source = make_source(tmp_path / "s.mp4", 9, *source_size)
    keyframes = make_keyframes(tmp_path / "k", (3,), size=source_size[::-1])
    mask = torch.zeros(*mask_size, dtype=torch.uint8)
    mask[:, : columns * mask_size[1] // 384] = 255
    Image.fromarray(mask.numpy()).save(tmp_path / "m.png")
    before = read_clip(source).frames
    pasted = finished(make_job(source, keyframes, pipe, mask=tmp_path / "m.png", paste_back=True))
    changed = (pasted != before).any(1)[0].flatten(0, 1).any(0).nonzero()
    assert changed.max() == columns - 1


def test_the_network_never_sees_the_mask(pipe, files, tmp_path):
    mask = make_mask(tmp_path / "m.mp4", 41)
    windows = plan_windows(41, 17)
    plain, masked = (list(edit_windows(make_job(*files, pipe, mask=given), windows)) for given in (None, mask))
    for one, other in zip(plain, masked, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=0)


def test_another_seed_gives_another_edit(pipe, files):
    one, other = (finished(make_job(*files, pipe, seed=seed)) for seed in (0, 1))
    assert ((one - other).abs().mean((0, 1, 3, 4)) > 1e-3).all()


@pytest.mark.parametrize("first", [0, 8])
def test_sliding_windows_cut_a_stream_and_hold_its_last_frame(first):
    windows = [window for window in plan_windows(30, 17) if window.start >= first]
    stream = (torch.full((1, 2, 2), float(t)) for t in range(windows[0].start, 30))
    for window, cut in zip(windows, sliding(stream, windows), strict=True):
        wanted = [min(t, 29) for t in range(window.start, window.stop)]
        assert cut.shape == (1, 17, 2, 2) and cut[0, :, 0, 0].tolist() == wanted
