"""The pipeline: same noise, same edit; two roads, same answer; and what it lets through."""

import pytest
import torch
from nova_tiny import keyframes_of, tiny_clip, tiny_nova, tiny_pipeline, tiny_vae
from PIL import Image

from novakit.editing import NovaEditPipeline, pipeline
from novakit.errors import NovaNotice
from novakit.models import AttentionRequest, build_scheduler, decode_latents, encode_clip, prepare_control

CLIP = tiny_clip()
PIPE = tiny_pipeline()


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def edit(pipe=PIPE, clip=CLIP, keyframes=None, **options):
    options = {"num_inference_steps": 3, "generator": seeded(), **options}
    return pipe(clip, keyframes_of(clip) if keyframes is None else keyframes, **options)


def test_an_edit_has_the_form_of_its_source():
    out = edit()
    assert out.frames.shape == out.control.shape == CLIP.shape and out.frames.abs().max() <= 1
    assert out.indices == ((0, 8),) and out.mask is None and out.steps == 3 and out.is_nova and out.seconds > 0


def test_the_same_seed_gives_the_same_edit_and_another_seed_another():
    first = edit().frames
    assert torch.equal(edit().frames, first)
    assert not torch.equal(edit(generator=seeded(1)).frames, first)
    noise = torch.randn(1, 4, 3, 2, 3, generator=seeded())
    assert torch.equal(edit(latents=noise, generator=None).frames, first)


def test_the_loop_is_plain_euler_on_the_shifted_schedule():
    """Rebuild the edit by hand from the parts of the library."""
    steps, control = 3, edit().control
    with torch.no_grad():
        context, text = prepare_control(PIPE.vae, control), torch.zeros(1, 1, 8)
        source = encode_clip(PIPE.vae, CLIP)
        z = torch.randn(1, 4, 3, 2, 3, generator=seeded())
        sigmas = [1 - i / steps for i in range(steps)] + [0.0]
        sigmas = [3 * s / (1 + 2 * s) for s in sigmas]
        for now, after in zip(sigmas, sigmas[1:]):
            time = torch.tensor([1000 * now])
            z = z + (after - now) * PIPE.transformer(z, time, text, context, source_latents=source).sample
        by_hand = decode_latents(PIPE.vae, z)
    torch.testing.assert_close(edit().frames, by_hand, atol=1e-4, rtol=1e-4)


def test_cached_equals_uncached_and_reads_the_source_once(monkeypatch):
    walks = []
    walk = PIPE.transformer._read_source
    monkeypatch.setattr(PIPE.transformer, "_read_source", lambda *a: walks.append(1) or walk(*a))
    cached = edit().frames
    assert len(walks) == 1
    assert torch.equal(edit(use_cache=False).frames, cached)
    assert len(walks) == 1 + 3
    assert torch.equal(edit(use_cache="features").frames, cached) and len(walks) == 1 + 3 + 1


def test_the_step_cache_skips_steps_and_each_guidance_pass_has_its_own(monkeypatch):
    plain, walks = edit(num_inference_steps=6).frames, []
    hints = PIPE.transformer._hints
    monkeypatch.setattr(PIPE.transformer, "_hints", lambda *a: walks.append(1) or hints(*a))
    assert torch.equal(edit(num_inference_steps=6, step_cache=1e-9).frames, plain) and len(walks) == 6
    near = edit(num_inference_steps=6, step_cache=100.0).frames
    assert len(walks) == 6 + 1 and not torch.equal(near, plain)
    texts = {"": torch.zeros(1, 1, 8), "red": torch.ones(1, 1, 8)}
    monkeypatch.setattr(pipeline, "text_tokens", lambda _, *groups: [texts[group[0]] for group in groups])
    edit(prompt="red", guidance_scale=2.0, step_cache=100.0)
    assert len(walks) == 6 + 1 + 2


def test_the_dense_branch_sees_the_source_and_the_sparse_branch_the_keyframes():
    out = edit().frames
    other_source = edit(clip=tiny_clip(seed=9), keyframes=keyframes_of(CLIP)).frames
    other_keyframes = edit(keyframes={0: CLIP[0, :, 4]}).frames
    assert not torch.equal(out, other_source) and not torch.equal(out, other_keyframes)
    blind = edit(dense_scale=0.0).frames
    assert torch.equal(edit(clip=tiny_clip(seed=9), keyframes=keyframes_of(CLIP), dense_scale=0.0).frames, blind)
    deaf = edit(sparse_scale=0.0).frames
    assert torch.equal(edit(keyframes={0: CLIP[0, :, 4]}, sparse_scale=0.0).frames, deaf)
    assert not torch.equal(edit(control_mode="inactive").frames, out)


def test_the_mask_never_enters_the_network():
    mask = torch.zeros(1, 1, 9, 16, 24)
    mask[..., :8] = 1
    out = edit(mask=mask)
    assert torch.equal(out.frames, edit().frames) and torch.equal(out.mask, mask)


@pytest.mark.parametrize("indices", [(0,), (8,), (3,), (1, 2, 7), (0, 3, 4, 8)])
def test_any_keyframes_will_do(indices):
    keyframes = keyframes_of(CLIP, indices)
    out = edit(keyframes=dict(reversed(keyframes.items())), num_inference_steps=1)
    assert out.indices == (indices,)
    for k, image in keyframes.items():
        torch.testing.assert_close(out.control[0, :, k], image)
    torch.testing.assert_close(out.control[0, :, 0], keyframes[indices[0]])  # nearest outside first and last
    torch.testing.assert_close(out.control[0, :, 8], keyframes[indices[-1]])


def test_a_batch_of_two_equals_two_single_edits():
    clips = tiny_clip(batch=2)
    edits = [keyframes_of(clips[:1], (0, 8)), keyframes_of(clips[1:], (2,))]
    both = edit(clip=clips, keyframes=edits, generator=[seeded(4), seeded(5)])
    for i in range(2):
        alone = edit(clip=clips[i : i + 1], keyframes=edits[i], generator=seeded(4 + i))
        torch.testing.assert_close(both.frames[i : i + 1], alone.frames, atol=1e-4, rtol=1e-4)
    stacked = {0: torch.stack([edits[0][0], edits[0][8]])}  # (B, 3, H, W): one image per clip
    assert edit(clip=clips, keyframes=stacked, num_inference_steps=1).control.shape == clips.shape


def test_several_edits_of_one_source():
    edits = [{0: CLIP[0, :, 0]}, {0: -CLIP[0, :, 0]}]
    both = edit(keyframes=edits, generator=[seeded(4), seeded(4)])
    alone = edit(keyframes=edits[1], generator=seeded(4))
    assert both.frames.shape == (2, 3, 9, 16, 24)
    torch.testing.assert_close(both.frames[1:], alone.frames, atol=1e-4, rtol=1e-4)


def count_passes(monkeypatch):
    passes, forward = [], PIPE.transformer.forward
    monkeypatch.setattr(PIPE.transformer, "forward", lambda *a, **k: passes.append(1) or forward(*a, **k))
    return passes


def test_the_guidance_pass_is_skipped_when_it_would_equal_the_first(monkeypatch):
    passes = count_passes(monkeypatch)
    plain = edit().frames
    assert len(passes) == 3
    assert torch.equal(edit(guidance_scale=5.0).frames, plain)  # one null token: both passes are the same
    assert len(passes) == 6


def test_guidance_runs_two_passes_when_the_prompts_differ(monkeypatch):
    passes = count_passes(monkeypatch)
    texts = {"": torch.zeros(1, 1, 8), "red": torch.ones(1, 1, 8)}
    monkeypatch.setattr(pipeline, "text_tokens", lambda _, *groups: [texts[group[0]] for group in groups])
    guided = edit(prompt="red", guidance_scale=3.0, num_inference_steps=1, output_type="latent").frames
    assert len(passes) == 2
    red = edit(prompt="red", num_inference_steps=1, output_type="latent").frames
    empty = edit(num_inference_steps=1, output_type="latent").frames
    assert len(passes) == 4
    torch.testing.assert_close(guided, empty + 3.0 * (red - empty), atol=1e-4, rtol=1e-4)


def test_the_callback_sees_every_step_and_may_change_the_latents():
    seen = []

    def callback(pipe, i, timestep, tensors):
        seen.append((i, float(timestep), tensors["latents"].shape))
        return {"latents": torch.zeros_like(tensors["latents"])} if i == 2 else {}

    out = edit(callback_on_step_end=callback, output_type="latent")
    assert [i for i, *_ in seen] == [0, 1, 2] and seen[0][1] == 1000.0
    assert out.frames.abs().max() == 0


def test_output_types_show_the_same_clip():
    clip, array = edit().frames, edit(output_type="np").frames
    assert array.shape == (1, 9, 16, 24, 3)
    torch.testing.assert_close(torch.from_numpy(array).permute(0, 4, 1, 2, 3) * 2 - 1, clip, atol=1e-5, rtol=0)
    images = edit(output_type="pil").frames
    assert len(images) == 1 and len(images[0]) == 9 and images[0][0].size == (24, 16)
    with torch.no_grad():
        torch.testing.assert_close(decode_latents(PIPE.vae, edit(output_type="latent").frames), clip)


def test_pil_images_go_in_as_well():
    frames = edit(output_type="pil", num_inference_steps=1).frames[0]
    keyframes = {0: Image.new("RGB", (24, 16), (255, 0, 0))}
    out = PIPE(frames, keyframes, num_inference_steps=1, generator=seeded())
    assert out.frames.shape == CLIP.shape
    torch.testing.assert_close(out.control[0, :, 5].mean(dim=(1, 2)), torch.tensor([1.0, -1.0, -1.0]))


def test_attention_maps_can_be_asked_for():
    last, first = AttentionRequest([0, 5], layers=(1,)), AttentionRequest([0, 5], layers=(1,), step=0)
    edit(attention_request=last)
    edit(attention_request=first)
    assert last.maps[1].shape == (1, 2, 3, 2, 3)
    torch.testing.assert_close(last.maps[1].sum(dim=(2, 3, 4)), torch.ones(1, 2))
    assert not torch.equal(last.maps[1], first.maps[1])


def test_unipc_works_too():
    from diffusers import UniPCMultistepScheduler

    options = {"prediction_type": "flow_prediction", "use_flow_sigmas": True, "flow_shift": 3.0}
    pipe = NovaEditPipeline(PIPE.vae, PIPE.transformer, UniPCMultistepScheduler(**options))
    assert edit(pipe=pipe).frames.isfinite().all()


def test_an_untrained_dense_branch_says_that_it_is_plain_vace():
    plain = NovaEditPipeline(PIPE.vae, tiny_nova(trained=False), build_scheduler("nano"))
    with pytest.warns(NovaNotice, match="plain VACE, not NOVA"):
        out = edit(pipe=plain)
    assert not out.is_nova and not plain.is_nova


def test_a_prompt_without_a_text_encoder_is_noticed():
    with pytest.warns(NovaNotice, match="no text encoder"):
        edit(prompt="a red coat", num_inference_steps=1)


def test_the_ablation_with_a_shared_timestep_runs_uncached():
    pipe = NovaEditPipeline(tiny_vae(), tiny_nova(dense_timestep="shared"), build_scheduler("nano"))
    assert torch.equal(edit(pipe=pipe).frames, edit(pipe=pipe, use_cache=False).frames)


def test_save_and_load_round_trip(tmp_path):
    pipe = tiny_pipeline(preset="nano")
    pipe.save_pretrained(tmp_path)
    again = NovaEditPipeline.from_pretrained(tmp_path)
    assert again.preset.name == "nano" and again.is_nova and again.text_encoder is None
    torch.testing.assert_close(edit(pipe=again).frames, edit(pipe=pipe).frames, atol=1e-4, rtol=1e-4)
    assert edit(pipe=again, num_inference_steps=None).steps == again.preset.steps
