"""FluxKontextEditor on a tiny random FLUX.1 Kontext, loaded by the road of the published one: eq. 5 call by call."""

import warnings
from unittest.mock import MagicMock, call

import pytest
import torch
from diffusers import FluxKontextInpaintPipeline, FluxKontextPipeline
from diffusers.pipelines.flux import pipeline_flux_kontext
from tiny_editors import Spy, box_mask, photograph, save_flux, to_tensor
from torch.nn.functional import pad

from novakit.device import DeviceChoice
from novakit.editing.keyframe_editors import EditedKeyframe, KeyframeEditor, diffusion, make_editor
from novakit.editing.keyframe_editors.flux import FluxKontextEditor, working_size
from novakit.editing.keyframe_editors.sizes import bring_back, to_picture
from novakit.editing.keyframes import edit_keyframes
from novakit.errors import NovaError, NovaNotice

ODD = (77, 101)
FRAME, OTHER = photograph("coffee", ODD), photograph("astronaut", ODD)
MASK = box_mask(ODD)
PROMPT = "a blue cup"
pytestmark = pytest.mark.filterwarnings("ignore:the edited frame was not registered")  # random weights draw noise


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_flux(tmp_path_factory.mktemp("flux") / "tiny")


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """The sizes that Kontext works at, a tenth as long."""
    sizes = [(64, 96), (96, 64), (64, 128), (128, 64), (64, 64)]
    monkeypatch.setattr(pipeline_flux_kontext, "PREFERRED_KONTEXT_RESOLUTIONS", sizes)


@pytest.fixture(scope="module")
def editor(folder):
    return FluxKontextEditor(folder, device="cpu", steps=2)


def reference(edited=OTHER, frame=FRAME):
    return EditedKeyframe(0, frame, edited, MASK)


@pytest.mark.parametrize("mask", [None, MASK])
@pytest.mark.parametrize("shown", [None, reference()])
def test_every_kind_of_edit_comes_back_at_the_frames_size(editor, mask, shown):
    edited = editor.edit(FRAME, PROMPT, mask, shown, index=7, seed=1)
    assert edited.shape == FRAME.shape and edited.dtype == torch.float32 and edited.isfinite().all()
    assert edited.abs().max() <= 1 and 7 in editor.registrations
    inside = torch.ones(ODD, dtype=torch.bool) if mask is None else mask[0] == 1
    assert (edited - FRAME).abs()[:, inside].mean() > 0.05
    assert torch.equal(edited[:, ~inside], FRAME[:, ~inside])


@pytest.mark.parametrize("mask", [None, MASK])
def test_same_seed_same_edit(editor, mask):
    first, again, other = (editor.edit(FRAME, PROMPT, mask, seed=seed) for seed in (3, 3, 4))
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_the_plain_edit_is_diffusers_own(editor, folder):
    """Two roads: the editor, and the pipeline called by hand."""
    pipe = FluxKontextPipeline.from_pretrained(folder)
    pipe.set_progress_bar_config(disable=True)
    size = {"height": 64, "width": 96, "max_area": 64 * 96, "_auto_resize": False}
    options = {"num_inference_steps": 2, "guidance_scale": 2.5, "output_type": "pt"}
    generator = torch.Generator("cpu").manual_seed(5)
    picture = pipe(image=to_picture(FRAME, (64, 96)), prompt=PROMPT, generator=generator, **size, **options).images[0]
    own = editor.edit(FRAME, PROMPT, seed=5)
    torch.testing.assert_close(own, bring_back(picture * 2 - 1, FRAME)[0], atol=1e-3, rtol=0)  # two objects, one sum


def test_eq_5_with_a_mask(editor, monkeypatch):
    """FLUX(x_ki, x_k0^edit, m_ki, P): every argument is the one of the equation."""
    spy = Spy(monkeypatch, FluxKontextInpaintPipeline)
    editor.edit(FRAME, PROMPT, MASK, reference(), seed=2)
    (given,) = spy.calls
    assert given["prompt"] == PROMPT and given["strength"] == 1.0 and given["num_inference_steps"] == 2
    assert torch.equal(to_tensor(given["image"]), to_tensor(to_picture(FRAME, (64, 96))))
    assert torch.equal(to_tensor(given["image_reference"]), to_tensor(to_picture(OTHER, (64, 96))))
    mask = given["mask_image"]
    assert mask.shape == (1, 1, 64, 96) and set(mask.unique().tolist()) == {0.0, 1.0}
    assert (mask[0, 0, 24:40, 24:64] == 1).all() and (mask[0, 0, :8] == 0).all() and (mask[..., 80:] == 0).all()


def test_in_a_clip_the_first_edited_keyframe_is_the_reference_of_all_later_ones(editor, monkeypatch):
    spy = Spy(monkeypatch, FluxKontextInpaintPipeline)
    clip = torch.stack([FRAME.roll(shift, dims=2) for shift in range(9)], dim=1)[None]
    keyframes = edit_keyframes(clip, PROMPT, 4, editor, MASK[None, :, None].expand(-1, -1, 9, -1, -1), seed=1)
    assert [keyframe.index for keyframe in keyframes] == [0, 4, 8]
    assert {0, 4, 8} <= set(editor.registrations)
    assert spy.calls[0]["image_reference"] is None
    shown = to_tensor(to_picture(keyframes[0].edited, (64, 96)))
    assert all(torch.equal(to_tensor(given["image_reference"]), shown) for given in spy.calls[1:])


def test_the_first_keyframe_with_a_mask_has_no_reference(editor, monkeypatch):
    spy = Spy(monkeypatch, FluxKontextInpaintPipeline)
    editor.edit(FRAME, PROMPT, MASK)
    assert spy.calls[0]["image_reference"] is None


@pytest.mark.parametrize("mask", [None, MASK])
def test_the_edited_reference_changes_the_edit_and_its_source_does_not(editor, mask):
    seen = [
        editor.edit(FRAME, PROMPT, mask, reference(edited, frame), seed=2)
        for edited, frame in ((OTHER, FRAME), (-OTHER, FRAME), (OTHER, -FRAME))
    ]
    assert not torch.equal(seen[0], seen[1]) and torch.equal(seen[0], seen[2])


@pytest.mark.parametrize(
    "size, canvas, where",
    [
        ((77, 101), (96, 64), "one above the other"),
        ((101, 77), (64, 96), "side by side"),
        ((60, 60), (64, 128), "side by side"),
    ],
)
def test_without_a_mask_frame_and_reference_are_stitched_and_cut_apart(editor, monkeypatch, size, canvas, where):
    spy = Spy(monkeypatch, FluxKontextPipeline, answer=lambda image, **_: to_tensor(image) / 2 + 0.5)
    frame, first = photograph("coffee", size), photograph("astronaut", size)
    edited = editor.edit(frame, PROMPT, None, EditedKeyframe(0, frame, first))
    (given,) = spy.calls
    assert (given["height"], given["width"]) == canvas and given["image"].size == canvas[::-1]
    assert given["prompt"] == PROMPT and where in given["prompt_2"] and given["prompt_2"].endswith(PROMPT)
    assert (edited - frame).abs().mean() < 0.15 < (edited - first).abs().mean()  # half the detail, but the frame
    axis = 1 if size[1] > size[0] else 2
    seen = to_tensor(given["image"]).tensor_split(2, dim=axis)
    for panel, image in zip(seen, (first, frame)):
        assert (panel - to_tensor(to_picture(image, panel.shape[1:]))).abs().max() < 0.02


@pytest.mark.parametrize("mask", [None, MASK])
def test_a_shifted_result_is_laid_over_the_frame(editor, monkeypatch, mask):
    """A model that returns its picture three pixels lower and to the right: measured, undone, reported."""

    def shift(image, **_):
        return pad(to_tensor(image) / 2 + 0.5, (3, 0, 3, 0), mode="replicate")[:, :64, :96]

    Spy(monkeypatch, FluxKontextPipeline, answer=shift), Spy(monkeypatch, FluxKontextInpaintPipeline, answer=shift)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        edited = editor.edit(FRAME, PROMPT, mask, index=4)
    found = editor.registrations[4]
    assert found.measured and found.shift == pytest.approx((3 * 77 / 64, 3 * 101 / 96), abs=0.2)
    assert found.residual_after < 0.5 * found.residual_before
    assert (edited - FRAME)[:, 8:-8, 8:-8].abs().mean() < 0.08


def test_the_sizes_of_the_published_model(monkeypatch):
    monkeypatch.undo()
    assert working_size((480, 832)) == (800, 1328) and working_size((64, 96)) == (832, 1248)
    assert working_size((1080, 1920)) == (752, 1392)
    assert working_size((100, 100)) == (1024, 1024) and working_size((960, 480)) == (1456, 720)


def test_at_the_published_size(editor, monkeypatch):
    """Nothing about one megapixel is special, and the pipeline takes it without a word."""
    monkeypatch.undo()
    spy = Spy(monkeypatch, FluxKontextInpaintPipeline)
    monkeypatch.setattr(editor, "steps", 1)
    edited = editor.edit(FRAME, PROMPT, MASK, reference())
    assert edited.shape == FRAME.shape and spy.calls[0]["mask_image"].shape == (1, 1, 880, 1184)


def test_offloading_part_by_part_does_not_change_the_edit(editor, folder, monkeypatch):
    """accelerate's hooks at work, through both pipelines and back: the parts are shared, the hooks are not."""
    monkeypatch.setattr(diffusion, "choose_device", lambda _: DeviceChoice("cpu:0", "float32", "a test"))
    other = FluxKontextEditor(str(folder), steps=2, offload="model")
    for mask in (None, MASK, None):
        edited = other.edit(FRAME, PROMPT, mask, seed=1)
        torch.testing.assert_close(edited, editor.edit(FRAME, PROMPT, mask, seed=1), atol=1e-3, rtol=0)
        assert hasattr(other._pipe.transformer, "_hf_hook") and not hasattr(editor._pipe.transformer, "_hf_hook")


@pytest.mark.parametrize(
    "device, offload, expected",
    [
        ("cuda", "model", call.enable_model_cpu_offload(device="cuda")),
        ("cuda:1", "sequential", call.enable_sequential_cpu_offload(device="cuda:1")),
        ("cuda", None, call.to("cuda")),
        ("cpu", "sequential", call.to("cpu")),
    ],
)
def test_where_the_parts_are_put(device, offload, expected):
    pipe = MagicMock()
    diffusion.place(pipe, device, offload)
    assert [done for done in pipe.mock_calls if "progress" not in str(done)] == [expected]


def test_hooks_of_sequential_offloading_come_off_before_another_pipeline_takes_the_parts(folder, monkeypatch):
    """accelerate cannot do this kind on a CPU, so the calls are looked at: parts are restored, then offloaded anew."""
    done = MagicMock()
    monkeypatch.setattr("diffusers.FluxKontextInpaintPipeline", done.inpaint)
    other = FluxKontextEditor(folder, device="cpu", offload="sequential")
    other.choice, other._pipe = DeviceChoice("cuda", "bfloat16", "a test"), done.plain
    done.plain.components = {"vae": 1}
    assert other._as("FluxKontextInpaintPipeline") is done.inpaint.return_value
    removed, built, offloaded, _ = done.mock_calls
    assert removed == call.plain.remove_all_hooks() and built == call.inpaint(vae=1)
    assert offloaded == call.inpaint().enable_sequential_cpu_offload(device="cuda")


def test_weights_are_float32_on_a_cpu_and_read_once_without_noise(folder, capfd, monkeypatch):
    quiet = FluxKontextEditor(folder, device="cpu", steps=1)
    assert quiet._pipe is None  # nothing is read before the first edit
    quiet.edit(FRAME, PROMPT)
    transformer = quiet._pipe.transformer
    assert transformer.dtype == torch.float32 and quiet._pipe.text_encoder_2.dtype == torch.float32
    quiet.edit(FRAME, PROMPT, MASK)
    assert quiet._pipe.transformer is transformer
    out, err = capfd.readouterr()
    assert not out and not err


def test_bfloat16_where_the_device_has_it(folder, monkeypatch):
    monkeypatch.setattr(diffusion, "choose_device", lambda _: DeviceChoice("cpu", "bfloat16", "a test"))
    half = FluxKontextEditor(folder, steps=1)
    edited = half.edit(FRAME, PROMPT, MASK)
    assert half._pipe.transformer.dtype == torch.bfloat16 and edited.dtype == torch.float32 and edited.isfinite().all()


def test_it_is_a_keyframe_editor_and_make_editor_makes_it(folder):
    made = make_editor("flux", model=folder, steps=3, guidance=1.5, offload=None, device="cpu")
    assert isinstance(made, KeyframeEditor) and isinstance(made, FluxKontextEditor)
    assert made.needs_prompt and made.steps == 3 and made.guidance == 1.5


@pytest.mark.parametrize(
    "request_, words",
    [
        ({"prompt": " "}, "flux edits by a prompt and none came"),
        ({"frame": FRAME[0]}, "wanted a tensor"),
        ({"mask": torch.ones(1, 77, 100)}, r"wanted \(1, 77, 101\)"),
        ({"mask": torch.zeros(1, *ODD)}, "is empty"),
        ({"reference": EditedKeyframe(0, FRAME, photograph("coffee", (60, 80)))}, "80x60.*101x77.*one clip"),
    ],
)
def test_bad_requests(editor, request_, words):
    with pytest.raises(NovaError, match=words):
        editor.edit(**{"frame": FRAME, "prompt": PROMPT} | request_)


@pytest.mark.parametrize(
    "options, words",
    [
        ({"offload": "disk"}, "offload is 'disk'"),
        ({"steps": 0}, "steps is 0"),
        ({"steps": 2.5}, "steps is 2.5"),
        ({"guidance": float("nan")}, "guidance is nan"),
        ({"strength": 0}, "strength is 0"),
        ({"strength": 1.5}, "strength is 1.5"),
        ({"device": "tpu"}, "device 'tpu' is unknown"),
        ({"model": "no/such/place"}, "neither a folder nor a hub id"),
    ],
)
def test_bad_options(folder, options, words):
    with pytest.raises(NovaError, match=words):
        FluxKontextEditor(**{"model": folder} | options)


def test_too_little_memory_names_the_way_out(editor, monkeypatch):
    def fail(**_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    Spy(monkeypatch, FluxKontextPipeline, answer=fail)
    with pytest.raises(NovaError, match="too little memory with offload='model'.*sequential"):
        editor.edit(FRAME, PROMPT)


def test_damaged_weights_are_an_error_of_one_line(tmp_path):
    broken = save_flux(tmp_path / "broken")
    file = broken / "transformer/diffusion_pytorch_model.safetensors"
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(NovaError, match="broken cannot be loaded: .*Fetch the folder again"):
        FluxKontextEditor(broken, device="cpu").edit(FRAME, PROMPT)


def test_a_cpu_is_said_to_be_slow_for_large_weights(tmp_path):
    large = save_flux(tmp_path / "large")
    with open(large / "transformer/rest.safetensors", "wb") as file:
        file.truncate(24_000_000_000)  # a hole: no disk is used
    with pytest.warns(NovaNotice, match="editor flux runs on the CPU .*24 GB of weights.*48 GB of memory"):
        FluxKontextEditor(large, device="cpu")
