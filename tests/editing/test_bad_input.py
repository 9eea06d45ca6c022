"""Bad input is refused before anything is computed, in words that help."""

from pathlib import Path

import numpy as np
import pytest
import torch
from nova_tiny import keyframes_of, tiny_clip, tiny_pipeline
from PIL import Image

from novakit.editing.inputs import prepare_inputs
from novakit.errors import NovaError, NovaNotice

CLIP = tiny_clip()
KEYFRAMES = keyframes_of(CLIP)


@pytest.fixture(scope="module")
def pipe():
    """A pipeline whose networks must not run."""
    pipe = tiny_pipeline(preset="nano")
    pipe.vae.forward = pipe.vae.encode = lambda *_, **__: pytest.fail("the VAE ran")
    return pipe


def with_value(value):
    clip = CLIP.clone()
    clip[0, 0, 0, 0, 0] = value
    return clip


@pytest.mark.parametrize(
    "source, message",
    [
        (with_value(float("nan")), "1 NaN or infinite values"),
        (with_value(float("inf")), "1 NaN or infinite values"),
        (CLIP * 127.5 + 127.5, r"wanted \[-1, 1\].*127.5"),
        (CLIP[0, :, 0], r"wanted \(B, 3, T, H, W\)"),
        (CLIP.permute(0, 2, 1, 3, 4), r"wanted \(B, 3, T, H, W\)"),
        (CLIP[:, :, :0], r"wanted \(B, 3, T, H, W\)"),
        (CLIP[:, :, :8], "has 8 frames.*5 or 9"),
        (CLIP[..., :20], "multiples of 8"),
        (torch.zeros(1, 3, 37, 16, 24), "37 frames; nano takes at most 33"),
        ("clip.mp4", "source is str"),
        ([], "source is list"),
        ([Image.new("RGB", (24, 16)), Image.new("RGB", (16, 24))], "frame 0 is 24x16 pixels, frame 1 16x24"),
        ([1, 2, 3], "source frame 0 is int"),
        ([[[1], [2, 3]]], "source frame 0 is list"),
        (np.zeros((9, 16, 24, 3)), r"array \(9, 16, 24, 3\) of float64; wanted uint8"),
        (np.zeros((16, 24, 3), np.uint8), r"wanted uint8 \(T, H, W, 3\)"),
        (np.zeros((0, 16, 24, 3), np.uint8), r"wanted uint8 \(T, H, W, 3\)"),
        (np.zeros((9, 16, 24, 4), np.uint8), "source frame 0 is ndarray"),
    ],
)
def test_bad_sources(pipe, source, message):
    with pytest.raises(NovaError, match=message):
        pipe(source, {0: CLIP[0, :, 0]} if message != "multiples of 8" else {0: CLIP[0, :, 0, :, :20]})


@pytest.mark.parametrize(
    "keyframes, message",
    [
        ({}, "no keyframe was given"),
        (None, "no keyframe was given"),
        ({9: CLIP[0, :, 0]}, r"index 9 lies outside the clip of 9 frames \(0\.\.8\)"),
        ({-1: CLIP[0, :, 0]}, "index -1 lies outside"),
        ({"0": CLIP[0, :, 0]}, "'0' is str"),
        ({True: CLIP[0, :, 0]}, "True is bool"),
        ([(0, CLIP[0, :, 0]), (0, CLIP[0, :, 1])], "keyframe 0 was given twice"),
        ({0: CLIP[0, :, 0, :, :16]}, "keyframe 0 is 16x16 pixels, the clip 24x16"),
        ({0: CLIP[0, 0, 0]}, r"keyframe 0 has shape \(16, 24\)"),
        ({0: CLIP[0, :, 0] * float("nan")}, "keyframe 0 holds 1152 NaN"),
        ({0: "000.png"}, "keyframe 0 is str"),
        ({0: None}, "keyframe 0 is NoneType"),
        ({0: CLIP[0, :, 0, :0]}, r"keyframe 0 has shape \(3, 0, 24\)"),
        ([Image.new("RGB", (24, 16))] * 2, "keyframes are list with Image; wanted a dict"),
        ([CLIP[0, :, 0]] * 2, "keyframes are list with Tensor; wanted a dict"),
        (CLIP[0, :, :2], "keyframes are Tensor; wanted a dict"),
        (np.zeros((2, 16, 24, 3), np.uint8), "keyframes are ndarray; wanted a dict"),
        (Image.new("RGB", (24, 16)), "keyframes are Image; wanted a dict"),
        (8, "keyframes are int; wanted a dict"),
        ("keyframes", "keyframes are str; wanted a dict"),
        ([(0, CLIP[0, :, 0], 1)], "keyframes are list with tuple"),
        ([KEYFRAMES, 3], "keyframes are int"),
        ([3, KEYFRAMES], "keyframes are int"),
        ({0: np.zeros((16, 24, 3))}, r"uint8 \(H, W, 3\)"),
        ([KEYFRAMES, KEYFRAMES, {}], "no keyframe was given"),
        ({0: CLIP[:, :, 0].repeat(2, 1, 1, 1), 4: CLIP[:, :, 0].repeat(3, 1, 1, 1)}, "batches of"),
    ],
)
def test_bad_keyframes(pipe, keyframes, message):
    with pytest.raises(NovaError, match=message):
        pipe(CLIP, keyframes)


def test_two_sources_and_three_edits_do_not_go_together(pipe):
    with pytest.raises(NovaError, match="2 sources and keyframes of 3 edits"):
        pipe(CLIP.repeat(2, 1, 1, 1, 1), [KEYFRAMES] * 3)


@pytest.mark.parametrize(
    "mask, message",
    [
        (torch.ones(1, 1, 5, 16, 24), r"wanted \(1, 1, 9, 16, 24\)"),
        (torch.ones(1, 3, 9, 16, 24), "mask has shape"),
        (torch.ones(1, 1, 9, 16, 16), "mask is 16x16 pixels, the clip 24x16"),
        (torch.full((1, 1, 9, 16, 24), float("nan")), "mask holds NaN"),
        ([torch.ones(16, 24)] * 9, "mask is list; wanted a tensor.*read_mask"),
        (Path("mask.mp4"), "mask is PosixPath|mask is WindowsPath"),
        (np.ones((1, 1, 9, 16, 24)), "mask is ndarray"),
    ],
)
def test_bad_masks(pipe, mask, message):
    with pytest.raises(NovaError, match=message):
        pipe(CLIP, KEYFRAMES, mask=mask)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"use_cache": "all"}, 'use_cache is .all.; pass True, False or "features"'),
        ({"step_cache": float("nan")}, "step_cache is nan; wanted a finite number"),
        ({"step_cache": -0.1}, "step_cache is -0.1; pass 0"),
        ({"num_inference_steps": 0}, "from 1 to 1000"),
        ({"num_inference_steps": 2.5}, "from 1 to 1000"),
        ({"output_type": "mp4"}, "clip, latent, pil, np"),
        ({"latents": torch.zeros(1, 4, 2, 2, 3)}, r"wanted a tensor of shape \(1, 4, 3, 2, 3\)"),
        ({"latents": torch.full((1, 4, 3, 2, 3), float("nan"))}, "latents hold NaN"),
        ({"latents": [0.0]}, "latents are list; wanted a tensor"),
        ({"generator": 7}, "generator is 7; wanted torch.Generator"),
        ({"generator": [7]}, r"generator is \[7\]; wanted torch.Generator"),
        ({"dense_scale": float("nan")}, "dense_scale is nan; wanted a finite number"),
        ({"sparse_scale": float("inf")}, "sparse_scale is inf"),
        ({"sparse_scale": [1.0, float("nan")]}, r"sparse_scale is \[1.0, nan\]"),
        ({"sparse_scale": []}, r"sparse_scale is \[\]"),
        ({"guidance_scale": "5"}, "guidance_scale is '5'"),
        ({"guidance_scale": float("nan")}, "guidance_scale is nan"),
        ({"dense_scale": [1.0]}, r"dense_scale is \[1.0\]"),
        ({"dense_scale": None}, "dense_scale is None"),
        ({"prompt": None}, 'prompt is None; wanted text.*Pass ""'),
        ({"prompt": [None]}, r"prompt is \[None\]"),
        ({"negative_prompt": 3, "guidance_scale": 2.0}, "prompt is 3"),
        ({"generator": [torch.Generator()] * 2}, "2 generators for 1 edits"),
        ({"prompt": ["a", "b"]}, "2 prompts for 1 edits"),
        ({"control_mode": "both"}, "reactive, inactive"),
    ],
)
def test_bad_options(pipe, options, message):
    with pytest.raises(NovaError, match=message):
        pipe(CLIP, KEYFRAMES, **options)


def test_keyframes_and_masks_of_the_same_aspect_are_resized_with_a_notice():
    big = {0: Image.new("RGB", (48, 32), (255, 0, 0)), 8: CLIP[0, :, 8]}
    with pytest.warns(NovaNotice, match="keyframe 0 resized from 48x32 to the clip's 24x16"):
        inputs = prepare_inputs(CLIP, big)
    torch.testing.assert_close(inputs.control[0, 0, 0], torch.ones(16, 24))
    mask = torch.zeros(1, 1, 9, 32, 48)
    mask[..., :24] = 1
    with pytest.warns(NovaNotice, match="mask resized from 48x32"):
        resized = prepare_inputs(CLIP, KEYFRAMES, mask).mask
    assert resized.shape == (1, 1, 9, 16, 24) and set(resized.unique().tolist()) == {0.0, 1.0}
    assert resized[..., :12].all() and not resized[..., 12:].any()


def test_a_source_may_be_an_array_as_keyframes_may():
    array = torch.randint(0, 256, (9, 16, 24, 3), dtype=torch.uint8).numpy()
    images = [Image.fromarray(frame) for frame in array]
    source = prepare_inputs(array, {0: array[0]}).source
    assert source.shape == CLIP.shape and torch.equal(source, prepare_inputs(images, {0: images[0]}).source)
    torch.testing.assert_close((source[0].permute(1, 2, 3, 0) + 1) * 127.5, torch.from_numpy(array).float())


def test_a_transparent_keyframe_is_laid_on_black_and_said():
    clear = Image.new("RGBA", (24, 16), (255, 255, 255, 0))
    with pytest.warns(NovaNotice, match="keyframe 0 is transparent in places"):
        control = prepare_inputs(CLIP, {0: clear}).control
    assert (control == -1).all()


def test_an_image_file_cut_off_is_refused(tmp_path):
    Image.effect_noise((24, 16), 90).convert("RGB").save(tmp_path / "0.png")
    (tmp_path / "0.png").write_bytes((tmp_path / "0.png").read_bytes()[:300])
    with Image.open(tmp_path / "0.png") as image, pytest.raises(NovaError, match="keyframe 0 cannot be decoded"):
        prepare_inputs(CLIP, {0: image})
