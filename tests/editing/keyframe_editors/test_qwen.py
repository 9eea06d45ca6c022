"""QwenImageEditEditor on a tiny random Qwen-Image-Edit, loaded by the road of the published one."""

import pytest
import torch
from diffusers import QwenImageEditPlusPipeline
from diffusers.pipelines.qwenimage import pipeline_qwenimage_edit_plus
from tiny_editors import Spy, box_mask, photograph, save_qwen, to_tensor
from torch.nn.functional import pad

from novakit.device import DeviceChoice
from novakit.editing.keyframe_editors import EditedKeyframe, KeyframeEditor, diffusion, make_editor
from novakit.editing.keyframe_editors.qwen import QwenImageEditEditor, working_size
from novakit.editing.keyframe_editors.qwen_processor import load_processor, tell_pictures_from_text
from novakit.editing.keyframe_editors.sizes import to_picture
from novakit.errors import NovaError

ODD = (77, 101)
FRAME, OTHER = photograph("coffee", ODD), photograph("astronaut", ODD)
MASK = box_mask(ODD)
PROMPT = "a blue cup"
SIZE = (64, 64)  # where the small pipeline works for a frame of ODD
pytestmark = pytest.mark.filterwarnings("ignore:the edited frame was not registered")  # random weights draw noise


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_qwen(tmp_path_factory.mktemp("qwen") / "tiny")


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """The pipeline's two working sizes, a sixteenth and a seventh as long."""
    monkeypatch.setattr(pipeline_qwenimage_edit_plus, "VAE_IMAGE_SIZE", 64 * 64)
    monkeypatch.setattr(pipeline_qwenimage_edit_plus, "CONDITION_IMAGE_SIZE", 56 * 56)


@pytest.fixture(scope="module")
def editor(folder):
    return QwenImageEditEditor(folder, device="cpu", steps=2)


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


def test_same_seed_same_edit(editor):
    first, again, other = (editor.edit(FRAME, PROMPT, MASK, seed=seed) for seed in (3, 3, 4))
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_the_first_keyframe_is_edited_alone(editor, monkeypatch):
    spy = Spy(monkeypatch, QwenImageEditPlusPipeline)
    editor.edit(FRAME, PROMPT, MASK)
    (call,) = spy.calls
    assert call["prompt"] == PROMPT and len(call["image"]) == 1
    assert (call["true_cfg_scale"], call["negative_prompt"], call["num_inference_steps"]) == (4.0, " ", 2)


def test_later_keyframes_are_edited_like_the_first(editor, monkeypatch):
    spy = Spy(monkeypatch, QwenImageEditPlusPipeline)
    editor.edit(FRAME, PROMPT, MASK, reference())
    (call,) = spy.calls
    for seen, image in zip(call["image"], (FRAME, OTHER), strict=True):
        assert torch.equal(to_tensor(seen), to_tensor(to_picture(image, SIZE)))
    assert call["prompt"].endswith(PROMPT) and "Picture 1" in call["prompt"] and "Picture 2" in call["prompt"]


def test_the_edited_reference_changes_the_edit_and_its_source_does_not(editor):
    seen = [
        editor.edit(FRAME, PROMPT, None, reference(edited, frame), seed=2)
        for edited, frame in ((OTHER, FRAME), (-OTHER, FRAME), (OTHER, -FRAME))
    ]
    assert not torch.equal(seen[0], seen[1]) and torch.equal(seen[0], seen[2])


def test_without_guidance_there_is_one_pass(editor, monkeypatch):
    spy = Spy(monkeypatch, QwenImageEditPlusPipeline)
    passes = []
    monkeypatch.setattr(editor, "guidance", 1.0)
    editor.edit(FRAME, PROMPT)
    handle = editor._pipe.transformer.register_forward_hook(lambda *_: passes.append(1))
    try:
        editor.edit(FRAME, PROMPT)
        assert len(passes) == 2 and spy.calls[0]["negative_prompt"] is None
        monkeypatch.undo()
    finally:
        handle.remove()


def test_the_pictures_are_resized_once(editor, monkeypatch):
    """The pipeline's own rule leaves our working size alone, at the published size, for any frame."""
    monkeypatch.undo()
    module = pipeline_qwenimage_edit_plus
    for width in range(40, 400, 3):
        height, wide = working_size((100, width))
        assert module.calculate_dimensions(module.VAE_IMAGE_SIZE, wide / height) == (wide, height)
        assert 0.9 < height * wide / 1024**2 < 1.1 and abs(wide / height * 100 / width - 1) < 0.12


@pytest.mark.parametrize("mask", [None, MASK])
def test_a_shifted_result_is_laid_over_the_frame(editor, monkeypatch, mask):
    def shift(image, **_):
        return pad(to_tensor(image[0]) / 2 + 0.5, (3, 0, 3, 0), mode="replicate")[:, : SIZE[0], : SIZE[1]]

    Spy(monkeypatch, QwenImageEditPlusPipeline, answer=shift)
    edited = editor.edit(FRAME, PROMPT, mask, index=4)
    found = editor.registrations[4]
    assert found.measured and found.shift == pytest.approx((3 * 77 / 64, 3 * 101 / 64), abs=0.25)
    assert found.residual_after < 0.5 * found.residual_before
    assert (edited - FRAME)[:, 8:-8, 8:-8].abs().mean() < 0.1


# -- the text encoder under transformers 5
# ----------------------------------------


def test_the_processor_makes_one_token_per_patch_of_each_picture(folder):
    processor = load_processor(folder / "processor")
    one = "<|vision_start|><|image_pad|><|vision_end|>"
    pictures = [to_picture(FRAME, (56, 84)), to_picture(FRAME, (28, 28))]
    given = processor(text=[f"a{one}b{one}"], images=pictures, padding=True, return_tensors="pt")
    assert given["image_grid_thw"].tolist() == [[1, 4, 6], [1, 2, 2]]
    assert int((given["input_ids"] == processor.image_token_id).sum()) == 4 * 6 // 4 + 1
    assert given["pixel_values"].shape == (4 * 6 + 2 * 2, 3 * 2 * 14 * 14)


def test_the_text_encoder_is_told_which_tokens_are_pictures(editor, folder):
    """diffusers does not, and without an error pictures are then placed like words (diffusers issue 14194)."""
    from transformers import Qwen2_5_VLForConditionalGeneration

    processor = load_processor(folder / "processor")
    text = "<|vision_start|><|image_pad|><|vision_end|>" + PROMPT
    given = processor(text=[text], images=[to_picture(FRAME, (84, 84))], padding=True, return_tensors="pt")
    kinds = given.pop("mm_token_type_ids")
    encoder = Qwen2_5_VLForConditionalGeneration.from_pretrained(folder / "text_encoder").eval()
    with torch.no_grad():
        untold, told = (encoder(**given, **extra).logits for extra in ({}, {"mm_token_type_ids": kinds}))
        tell_pictures_from_text(encoder)
        repaired = encoder(**given).logits
    assert torch.equal(repaired, told) and not torch.allclose(untold, told, atol=1e-6)


def test_every_edit_has_pictures_in_two_dimensions(editor, monkeypatch):
    editor.edit(FRAME, PROMPT)
    inner, seen = editor._pipe.text_encoder.model, []
    original = inner.get_rope_index

    def index(*args, **given):
        seen.append(original(*args, **given)[0])
        return original(*args, **given)

    monkeypatch.setattr(inner, "get_rope_index", index)
    editor.edit(FRAME, PROMPT, None, reference())
    assert len(seen) == 2  # with and without the prompt, for guidance
    assert not torch.equal(seen[0][1], seen[0][2])  # rows and columns


# -- the rest is shared with the other editor; test_flux.py has it in full
# -------------------------------------------------------------------------


def test_offloading_part_by_part_does_not_change_the_edit(editor, folder, monkeypatch):
    monkeypatch.setattr(diffusion, "choose_device", lambda _: DeviceChoice("cpu:0", "float32", "a test"))
    other = QwenImageEditEditor(folder, steps=2)
    edited, plain = (one.edit(FRAME, PROMPT, MASK, reference(), seed=1) for one in (other, editor))
    torch.testing.assert_close(edited, plain, atol=1e-3, rtol=0)
    assert hasattr(other._pipe.transformer, "_hf_hook")


def test_it_is_a_keyframe_editor_and_make_editor_makes_it(folder):
    made = make_editor("qwen", model=folder, steps=3, guidance=1.0, offload=None, device="cpu")
    assert isinstance(made, KeyframeEditor) and made.needs_prompt and made.steps == 3
    with pytest.raises(NovaError, match="qwen edits by a prompt and none came"):
        made.edit(FRAME, "")
    with pytest.raises(NovaError, match="guidance is None"):
        make_editor("qwen", model=folder, guidance=None)
    with pytest.raises(NovaError, match="wanted FluxKontextPipeline"):
        make_editor("flux", model=folder)
