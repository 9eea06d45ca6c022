"""Facts about eq. 1 as we built it: a fresh NOVA is its base, and two roads give the same answer."""

import re

import pytest
import torch
from diffusers.models.transformers.transformer_wan_vace import WanVACETransformer3DModel
from nova_tiny import BASE, perturb_output, tiny_inputs, tiny_nova

from novakit.errors import NovaError
from novakit.models import DenseCache, NovaTransformer3DModel, build_transformer, freeze_base
from novakit.presets import get_preset


def run(model, inputs, **switches):
    with torch.no_grad():
        return model(**{**inputs, **switches}).sample


def base_of(model, inputs, scale=None):
    kept = {key: value for key, value in inputs.items() if key != "source_latents"}
    with torch.no_grad():
        return model.base(**kept, control_hidden_states_scale=scale).sample


@pytest.mark.parametrize("injection", ["query", "add"])
@pytest.mark.parametrize("patch", [[1, 1, 1], [1, 2, 2]])
def test_fresh_nova_is_its_base_bit_for_bit(injection, patch):
    model = tiny_nova(trained=False, base={"patch_size": patch}, dense_injection=injection)
    inputs = tiny_inputs()
    expected = base_of(model, inputs)
    assert torch.equal(run(model, inputs), expected)
    assert torch.equal(run(model, inputs, source_latents=None), expected)
    assert not model.is_nova
    perturb_output(model)
    assert not torch.equal(run(model, inputs), expected)
    assert model.is_nova


def test_the_whole_base_in_bfloat16_still_equals_diffusers():
    model = tiny_nova(trained=False).to(torch.bfloat16)
    inputs = {key: value.to(torch.bfloat16) for key, value in tiny_inputs().items()}
    assert torch.equal(run(model, inputs), base_of(model, inputs))


def test_sparse_scale_is_diffusers_control_scale():
    model, inputs = tiny_nova(trained=False), tiny_inputs()
    assert torch.equal(run(model, inputs, sparse_scale=[0.5, 2.0]), base_of(model, inputs, torch.tensor([0.5, 2.0])))
    assert torch.equal(run(model, inputs, sparse_scale=0.25), base_of(model, inputs, torch.full((2,), 0.25)))
    with pytest.raises(NovaError, match="2 VACE layers"):
        run(model, inputs, sparse_scale=[1.0, 1.0, 1.0])


def test_switches_switch_off():
    model, inputs = tiny_nova(), tiny_inputs()
    no_source = run(model, inputs, source_latents=None)
    assert torch.equal(run(model, inputs, dense_scale=0.0), no_source)
    assert torch.equal(run(model, inputs, sparse_scale=0.0), run(model, inputs, control_hidden_states=None))
    half = run(model, inputs, dense_scale=0.5)
    assert not torch.equal(half, no_source) and not torch.equal(half, run(model, inputs))


def test_sparse_branch_off_means_the_plain_dit(monkeypatch):
    model, inputs = tiny_nova(), tiny_inputs()
    for block in model.base.vace_blocks:
        monkeypatch.setattr(block, "forward", lambda *_: pytest.fail("a VACE block ran"))
    run(model, inputs, control_hidden_states=None)
    run(model, inputs, sparse_scale=0)


@pytest.mark.parametrize("options", [{}, {"dense_window": 0}, {"dense_injection": "add"}, {"dense_layers": [1, 3]}])
def test_cached_equals_recomputed(options):
    model, inputs = tiny_nova(**options), tiny_inputs()
    with torch.no_grad():
        cache = model.encode_source(inputs["source_latents"], inputs["encoder_hidden_states"])
    recomputed = run(model, inputs)
    for timestep in (
        torch.tensor([900.0, 300.0]),
        torch.tensor([10.0, 500.0]),
    ):  # the cache serves every step
        one = run(model, inputs, timestep=timestep)
        assert torch.equal(run(model, inputs, timestep=timestep, source_latents=None, dense_cache=cache), one)
    wrong = DenseCache({k: (a if a is None else a * 1.01, b * 1.01) for k, (a, b) in cache.layers.items()}, cache.grid)
    assert not torch.equal(run(model, inputs, source_latents=None, dense_cache=wrong), recomputed)


@pytest.mark.parametrize("options", [{}, {"dense_injection": "add"}, {"dense_layers": [1, 3]}])
def test_a_cache_of_features_is_smaller_and_gives_the_same(options):
    model, inputs = tiny_nova(**options), tiny_inputs()
    given = (inputs["source_latents"], inputs["encoder_hidden_states"])
    with torch.no_grad():
        whole, small = model.encode_source(*given), model.encode_source(*given, features_only=True)
    assert whole.num_bytes == (1 if "dense_injection" in options else 2) * small.num_bytes
    expected = run(model, inputs)
    for cache in (small, small.to(torch.float64).to(torch.float32), whole):
        assert torch.equal(run(model, inputs, source_latents=None, dense_cache=cache), expected)


def test_projecting_while_walking_holds_one_layers_features(monkeypatch):
    """Each layer's K and V are made before the next block runs."""
    model, inputs, order = tiny_nova(), tiny_inputs(), []
    for layer, block in enumerate(model.base.blocks):
        block.register_forward_hook(lambda *_, layer=layer: order.append(("block", layer)))
    for layer, part in model.dense_branch.items():
        part.attn.to_v.register_forward_hook(lambda *_, layer=layer: order.append(("project", int(layer))))
    with torch.no_grad():
        model.encode_source(inputs["source_latents"], inputs["encoder_hidden_states"])
    assert order == [(what, layer) for layer in range(4) for what in ("block", "project")]


def test_fused_projections_give_the_same():
    """diffusers' `fuse_qkv_projections`: one product for Q, K and V of a self-attention."""
    model, inputs = tiny_nova(), tiny_inputs()
    expected = run(model, inputs)
    model.fuse_qkv_projections()
    assert model.base.blocks[0].attn1.fused_projections
    torch.testing.assert_close(run(model, inputs), expected, atol=1e-5, rtol=1e-5)


def test_cached_equals_recomputed_in_a_guidance_pass():
    """The replica reads the empty prompt, whatever the main branch reads."""
    model, inputs = tiny_nova(), tiny_inputs()
    empty = torch.zeros(2, 1, 8)
    with torch.no_grad():
        cache = model.encode_source(inputs["source_latents"], empty)
    expected = run(model, inputs, empty_hidden_states=empty)
    assert torch.equal(run(model, inputs, source_latents=None, dense_cache=cache), expected)
    assert not torch.equal(run(model, inputs), expected)


def test_shared_replica_equals_a_copy():
    model, inputs = tiny_nova(), tiny_inputs()
    shared, names = run(model, inputs), list(model.state_dict())
    model.unshare_replica()
    assert model.replica is not model.base
    assert list(model.state_dict()) == names  # the copy is no submodule
    assert torch.equal(run(model, inputs), shared)
    with torch.no_grad():
        model.replica.blocks[0].ffn.net[2].weight.mul_(1.1)
    assert not torch.equal(run(model, inputs), shared)


def test_one_source_serves_a_batch_of_edits():
    model, inputs = tiny_nova(), tiny_inputs()
    first = inputs["source_latents"][:1]
    with torch.no_grad():
        cache = model.encode_source(first, inputs["encoder_hidden_states"][:1])
    both = run(
        model, inputs, source_latents=first.repeat(2, 1, 1, 1, 1),
        empty_hidden_states=inputs["encoder_hidden_states"][:1].repeat(2, 1, 1),
    )  # fmt: skip
    torch.testing.assert_close(run(model, inputs, source_latents=None, dense_cache=cache), both)


@pytest.mark.parametrize("patch", [[1, 1, 1], [1, 2, 2]])
def test_an_infinite_window_equals_full_attention(patch):
    full = tiny_nova(base={"patch_size": patch})
    inputs = tiny_inputs(frames=5)
    expected = run(full, inputs)
    answers = {}
    for window in (0, 1, 3, 4, 100):
        local = tiny_nova(base={"patch_size": patch}, dense_window=window)
        local.load_state_dict(full.state_dict())
        answers[window] = run(local, inputs)
    assert torch.equal(answers[100], expected) and torch.equal(answers[4], expected)
    for window in (0, 1, 3):
        assert (answers[window] - expected).abs().max() > 1e-4


def test_dense_timestep_shared_changes_with_the_step_and_cannot_be_cached():
    shared, zero, inputs = tiny_nova(dense_timestep="shared"), tiny_nova(), tiny_inputs()
    assert not torch.equal(run(shared, inputs), run(zero, inputs))
    at_zero = {"timestep": torch.zeros(2)}
    assert torch.equal(run(shared, inputs, **at_zero), run(zero, inputs, **at_zero))
    with pytest.raises(NovaError, match="cannot be cached"):
        shared.encode_source(inputs["source_latents"], inputs["encoder_hidden_states"])


def learned(model):
    return {name for name, p in model.named_parameters() if p.grad is not None and p.grad.abs().max() > 0}


@pytest.mark.parametrize("checkpointing", [False, True])
def test_gradients_reach_the_cross_attention_and_nothing_else(checkpointing):
    model, inputs = tiny_nova().train(), tiny_inputs()
    if checkpointing:
        model.enable_gradient_checkpointing()
    parameters = freeze_base(model)
    model(**inputs).sample.square().mean().backward()
    assert all(p.grad is None for p in model.base.parameters())
    assert learned(model) == {f"dense_branch.{name}" for name, _ in model.dense_branch.named_parameters()}
    assert len(parameters) == len(list(model.dense_branch.parameters()))


def test_at_step_zero_only_the_output_projection_has_gradients():
    model, inputs = tiny_nova(trained=False), tiny_inputs()
    freeze_base(model)
    model(**inputs).sample.square().mean().backward()
    assert all("to_out" in name for name in learned(model)) and learned(model)


def test_checkpointed_gradients_are_the_plain_ones():
    plain, saving, inputs = tiny_nova(), tiny_nova(), tiny_inputs()
    saving.enable_gradient_checkpointing()
    for model in (plain.train(), saving.train()):
        model.dense_branch.requires_grad_(True)
        model(**inputs).sample.square().mean().backward()
    for (name, a), (_, b) in zip(plain.named_parameters(), saving.named_parameters()):
        assert (a.grad is None) == (b.grad is None), name
        if a.grad is not None:
            torch.testing.assert_close(a.grad, b.grad, msg=name)


def test_frozen_branches_record_no_graph():
    model, inputs = tiny_nova(), tiny_inputs()
    freeze_base(model)
    features, _ = model._read_source(inputs["source_latents"], torch.zeros(2), inputs["encoder_hidden_states"])
    assert all(not f.requires_grad for f in features)
    cache = model.encode_source(inputs["source_latents"], inputs["encoder_hidden_states"])
    assert all(k.requires_grad and v.requires_grad for k, v in cache.layers.values())  # their projections learn


def test_vace_blocks_learn_when_they_are_asked_to():
    model, inputs = tiny_nova(trained=False), tiny_inputs()
    model.requires_grad_(False)
    model.base.vace_blocks.requires_grad_(True)
    model.enable_gradient_checkpointing()
    model.train()(**{**inputs, "source_latents": None}).sample.square().mean().backward()
    assert learned(model) and all(name.startswith("base.vace_blocks") for name in learned(model))


def test_autocast_trains_in_bfloat16_and_returns_float32():
    model, inputs = tiny_nova(), tiny_inputs()
    freeze_base(model)
    with torch.autocast("cpu", torch.bfloat16):
        out = model(**inputs).sample
    assert out.dtype == torch.float32
    torch.testing.assert_close(out, run(model, inputs), atol=0.15, rtol=0.1)
    out.square().mean().backward()
    assert learned(model)


@pytest.mark.parametrize("wrong", ["cache", "source"])
def test_a_source_of_another_size_is_refused(wrong):
    model, inputs = tiny_nova(), tiny_inputs()
    other = tiny_inputs(frames=5)["source_latents"]
    with pytest.raises(NovaError, match="token grid"):
        if wrong == "source":
            run(model, inputs, source_latents=other)
        else:
            cache = model.encode_source(other, inputs["encoder_hidden_states"])
            run(model, inputs, source_latents=None, dense_cache=cache)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"dense_injection": "concat"}, "query, add"),
        ({"dense_timestep": "half"}, "zero, shared"),
        ({"dense_window": -1}, "dense_window is -1"),
        ({"dense_layers": [9]}, "between 0 and 3"),
        ({"dense_layers": []}, "between 0 and 3"),
    ],
)
def test_unknown_dense_options_are_refused(options, message):
    with pytest.raises(NovaError, match=message):
        tiny_nova(**options)


def test_an_unknown_base_key_is_refused():
    with pytest.raises(NovaError, match="num_layer'"):
        NovaTransformer3DModel(base_config={**BASE, "num_layer": 3})


def test_latents_and_control_of_other_channels_are_refused():
    model, inputs = tiny_nova(), tiny_inputs()
    with pytest.raises(NovaError, match=r"wants \(B, 4"):
        run(model, inputs, hidden_states=torch.zeros(2, 5, 3, 4, 4))
    with pytest.raises(NovaError, match="control has 9 channels"):
        run(model, inputs, control_hidden_states=torch.zeros(2, 9, 3, 4, 4))


# -- the published size, on the meta device
# -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def full_size():
    with torch.device("meta"):
        return build_transformer("wan-1.3b")


def test_full_size_parameter_counts(full_size):
    base = sum(p.numel() for p in full_size.base.parameters())
    vace = sum(p.numel() for name, p in full_size.base.named_parameters() if name.startswith("vace_"))
    dense = sum(p.numel() for p in full_size.dense_branch.parameters())
    assert round(base / 1e9, 3) == 2.154 and round(vace / 1e9, 3) == 0.735
    width, layers = 12 * 128, 30
    one_layer = 4 * (width * width + width) + 2 * width + 4 * width  # q, k, v, out; QK-norms; two LayerNorms
    assert dense == layers * one_layer == 283_576_320


PUBLISHED_KEYS = [
    r"patch_embedding\.(weight|bias)",
    r"vace_patch_embedding\.(weight|bias)",
    r"condition_embedder\.(time_embedder|text_embedder)\.linear_[12]\.(weight|bias)",
    r"condition_embedder\.time_proj\.(weight|bias)",
    r"(blocks|vace_blocks)\.\d+\.scale_shift_table",
    r"(blocks|vace_blocks)\.\d+\.attn[12]\.(to_q|to_k|to_v|to_out\.0)\.(weight|bias)",
    r"(blocks|vace_blocks)\.\d+\.attn[12]\.norm_[qk]\.weight",
    r"(blocks|vace_blocks)\.\d+\.norm2\.(weight|bias)",
    r"(blocks|vace_blocks)\.\d+\.ffn\.net\.(0\.proj|2)\.(weight|bias)",
    r"vace_blocks\.0\.proj_in\.(weight|bias)",
    r"vace_blocks\.\d+\.proj_out\.(weight|bias)",
    r"scale_shift_table",
    r"proj_out\.(weight|bias)",
]


def test_base_keys_are_those_of_the_published_checkpoint(full_size):
    """NOVA's base has exactly the keys of a WanVACETransformer3DModel of the published config."""
    with torch.device("meta"):
        published = WanVACETransformer3DModel(**get_preset("wan-1.3b").transformer)
    assert list(full_size.base.state_dict()) == list(published.state_dict())
    pattern = re.compile("|".join(f"(?:{key})" for key in PUBLISHED_KEYS))
    keys = list(full_size.base.state_dict())
    assert [key for key in keys if not pattern.fullmatch(key)] == []
    assert len(keys) == 2 + 2 + 4 + 4 + 2 + 30 * 27 + 15 * 29 + 2 + 1 + 2


def test_dense_keys_are_named_by_layer(full_size):
    keys = {key for key in full_size.state_dict() if not key.startswith("base.")}
    assert len({key.split(".")[1] for key in keys}) == 30
    assert all(re.fullmatch(r"dense_branch\.\d+\.(attn|norm_query|norm_dense)\..+", key) for key in keys)


def test_an_outer_model_redeclares_what_diffusers_reads_from_the_class():
    for name in (
        "_keep_in_fp32_modules",
        "_no_split_modules",
        "_repeated_blocks",
        "_skip_layerwise_casting_patterns",
    ):
        assert set(getattr(NovaTransformer3DModel, name)) >= set(getattr(WanVACETransformer3DModel, name))
