"""How a pipeline runs changes nothing in what it gives: offload, attention kernel, regional compilation, tiles.

On a CPU the hooks of diffusers and accelerate fire as on a card, but nothing moves: memory and speed are not seen here.
"""

import pytest
import torch
from diffusers.hooks.group_offloading import ModuleGroup
from nova_tiny import keyframes_of, tiny_clip, tiny_inputs, tiny_nova, tiny_pipeline

from novakit.device import DeviceChoice
from novakit.editing import NovaEditPipeline
from novakit.editing.running import Running, place, use_attention
from novakit.errors import NovaError

CPU, CLIP = torch.device("cpu"), tiny_clip()
CUDA = DeviceChoice("cuda", "bfloat16", "a card")


def edit(pipe, **options):
    noise = torch.Generator().manual_seed(0)
    return pipe(CLIP, keyframes_of(CLIP), num_inference_steps=2, generator=noise, **options).frames


@pytest.fixture(scope="module")
def plain():
    return edit(tiny_pipeline())


def test_model_offload_brings_each_part_in_before_it_works(plain):
    """Reading the source is no forward call: without its own hook the transformer would still wait in main memory."""
    pipe, seen = place(tiny_pipeline(), "model", CPU), []
    for part in ("vae", "transformer"):
        hook = getattr(pipe, part)._hf_hook
        before = hook.pre_forward
        hook.pre_forward = lambda module, *a, before=before, part=part, **k: (
            seen.append(part) or before(module, *a, **k)
        )
    encode = type(pipe.transformer).encode_source

    def watched(self, *inputs):
        assert seen[-1] == "transformer"
        seen.append("read")
        return encode(self, *inputs)

    try:
        type(pipe.transformer).encode_source = watched
        frames = edit(pipe)
    finally:
        type(pipe.transformer).encode_source = encode
    torch.testing.assert_close(frames, plain, atol=1e-5, rtol=1e-5)
    assert "read" in seen and seen[0] == "vae" and seen[-1] == "vae" and seen.count("transformer") == 3
    torch.testing.assert_close(edit(pipe), plain, atol=1e-5, rtol=1e-5)  # hooks are there for the next edit too


def test_group_offload_brings_every_weight_in_for_both_walks(plain, monkeypatch):
    """The replica shares the base's blocks: every hooked layer must come in again for its second walk."""
    count, onload = {}, ModuleGroup.onload_

    def counted(self):
        for module in self.modules:
            count[id(module)] = count.get(id(module), 0) + 1
        onload(self)

    monkeypatch.setattr(ModuleGroup, "onload_", counted)
    pipe = place(tiny_pipeline(), "group", CPU)
    torch.testing.assert_close(edit(pipe), plain, atol=1e-5, rtol=1e-5)
    model = pipe.transformer
    main = [count[id(block.attn1.to_q)] for block in model.base.blocks]
    assert main == [3, 3, 3, 3]  # once for the source, twice for two steps
    assert [count[id(block.attn1.to_q)] for block in model.base.vace_blocks] == [2, 2]
    dense = [part.attn for part in model.dense_branch.values()]
    assert [count[id(attn.to_k)] for attn in dense] == [1] * 4 and [count[id(attn.to_q)] for attn in dense] == [2] * 4
    layers = [layer for layer in model.modules() if isinstance(layer, torch.nn.Linear | torch.nn.Conv3d)]
    assert all(id(layer) in count for layer in layers)
    assert not any(id(layer) in count for layer in pipe.vae.modules())


def test_the_only_weight_of_the_base_itself_is_moved_by_hand():
    """Group offload would bring it in with a forward of the base, which NOVA never calls: unpatchify moves it."""
    assert [name for name, _ in tiny_nova().base.named_parameters(recurse=False)] == ["scale_shift_table"]


def test_an_attention_kernel_is_set_everywhere():
    model, inputs = tiny_nova(), tiny_inputs()
    with torch.no_grad():
        before = model(**inputs).sample
        use_attention(model, "_native_math")
        try:
            kinds = {str(m.processor._attention_backend.value) for m in model.modules() if hasattr(m, "processor")}
            assert kinds == {"_native_math"}
            assert len([m for m in model.dense_branch.modules() if hasattr(m, "processor")]) == 4
            torch.testing.assert_close(model(**inputs).sample, before, atol=1e-4, rtol=1e-4)
        finally:
            use_attention(model, "native")


def test_regional_compilation_covers_the_dense_branch_and_changes_nothing():
    """With torch's tracer alone: a compiler in C++ takes minutes here, and would test torch rather than the walk."""
    model, inputs = tiny_nova(base={"num_layers": 2, "vace_layers": [0]}), tiny_inputs()
    with torch.no_grad():
        expected = model(**inputs).sample
        model.compile_repeated_blocks(backend="eager")
        parts = [*model.base.blocks, *model.base.vace_blocks, *model.dense_branch.values()]
        assert all(part._compiled_call_impl is not None for part in parts)
        torch.testing.assert_close(model(**inputs).sample, expected, atol=1e-5, rtol=1e-5)
    torch._dynamo.reset()


def test_tiles_give_nearly_the_same_clip(plain):
    pipe = Running(tiling=True).apply(tiny_pipeline(), CPU)
    assert pipe.vae.use_tiling
    torch.testing.assert_close(edit(pipe), plain, atol=1e-5, rtol=1e-5)  # smaller than a tile: nothing is cut
    clip, whole, seen = tiny_clip(height=32, width=48), tiny_pipeline().vae, []
    pipe.vae.enable_tiling(16, 16, 8, 8)
    pipe.vae.post_quant_conv.register_forward_hook(lambda *_: seen.append(1))
    with torch.no_grad():
        code = whole.encode(clip).latent_dist.mode()
        tiled = pipe.vae.decode(code).sample
        assert pipe.vae.encode(clip).latent_dist.mode().shape == code.shape
    assert tiled.shape == whole.decode(code).sample.shape and len(seen) > 1


@pytest.mark.parametrize(
    "running, choice, message",
    [
        (Running(offload="disk"), CUDA, "offload is 'disk'; pass one of none, model, group"),
        (Running(offload="model"), DeviceChoice("cpu", "float32", "asked for"), "on a CPU leave it out"),
        (Running(offload="group", compile=True), CUDA, "cannot be compiled"),
        (Running(attention="quick"), CUDA, "attention is 'quick'; pass one of .*flash, .*sage"),
        (Running(attention="flash_hub"), CUDA, "code that would be fetched unseen"),
    ],
)
def test_switches_that_cannot_work_are_refused(running, choice, message):
    with pytest.raises(NovaError, match=message):
        running.check(choice)


def test_switches_are_refused_before_weights_are_read():
    with pytest.raises(NovaError, match="on a CPU leave it out"):
        NovaEditPipeline.from_preset("wan-1.3b", base="Nobody/nothing", device="cpu", offload="group")


def test_a_kernel_that_is_not_installed_is_one_line():
    with pytest.raises(NovaError, match=r"attention=sage cannot be used here: .*sageattention.*leave it out"):
        use_attention(tiny_nova(), "sage")
