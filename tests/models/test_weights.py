"""Saving and loading, and setting weights up before training."""

import pytest
import torch
from nova_tiny import BASE, tiny_inputs, tiny_nova
from safetensors.torch import load_file, save_file

from novakit.errors import NovaError
from novakit.models import (
    NovaTransformer3DModel,
    build_transformer,
    build_vae,
    init_vace_from_main,
    load_base,
    load_dense,
    save_dense,
    zero_init_hints,
)
from novakit.presets import PRESETS, get_preset


def answer(model):
    with torch.no_grad():
        return model(**tiny_inputs()).sample


def test_save_and_load_round_trip(tmp_path):
    model = tiny_nova(dense_layers=[0, 2], dense_window=1)
    model.save_pretrained(tmp_path)
    again = NovaTransformer3DModel.from_pretrained(tmp_path)
    assert dict(again.config)["dense_window"] == 1 and again.config.dense_layers == [0, 2]
    assert again.config.base_config["vace_layers"] == BASE["vace_layers"]
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), again.state_dict().values()))
    torch.testing.assert_close(answer(again), answer(model), atol=1e-5, rtol=1e-5)


def test_norms_and_tables_stay_float32_when_loaded_as_bfloat16(tmp_path):
    tiny_nova().save_pretrained(tmp_path)
    state = NovaTransformer3DModel.from_pretrained(tmp_path, dtype=torch.bfloat16).state_dict()
    kept = {name for name, tensor in state.items() if tensor.dtype == torch.float32}
    assert {"dense_branch.0.norm_dense.weight", "dense_branch.3.norm_query.bias"} <= kept
    assert {"base.scale_shift_table", "base.blocks.0.norm2.weight"} <= kept
    assert state["base.blocks.0.attn1.to_q.weight"].dtype == torch.bfloat16
    assert state["dense_branch.0.attn.to_q.weight"].dtype == torch.bfloat16


def test_a_model_loaded_as_bfloat16_computes_as_diffusers_does(tmp_path):
    tiny_nova().save_pretrained(tmp_path)
    model = NovaTransformer3DModel.from_pretrained(tmp_path, dtype=torch.bfloat16)
    inputs = {key: value if key == "timestep" else value.bfloat16() for key, value in tiny_inputs().items()}
    with torch.no_grad():
        out = model(**inputs).sample
        assert torch.equal(out, model(**inputs).sample) and out.dtype == torch.bfloat16
        torch.testing.assert_close(out.float(), answer(tiny_nova()), atol=0.2, rtol=0.1)
        source = inputs.pop("source_latents")
        assert torch.equal(model(**inputs).sample, model.base(**inputs).sample)
        cache = model.encode_source(source, inputs["encoder_hidden_states"])
        assert torch.equal(model(**inputs, dense_cache=cache).sample, out)


def test_a_bfloat16_base_gets_a_dense_branch_of_the_same_kinds(tmp_path):
    nova = tiny_nova()
    nova.save_pretrained(tmp_path / "whole")
    nova.base.save_pretrained(tmp_path / "base")
    whole = NovaTransformer3DModel.from_pretrained(tmp_path / "whole", dtype=torch.bfloat16).state_dict()
    built = load_base(tmp_path / "base", torch.bfloat16).state_dict()
    assert {k: t.dtype for k, t in built.items()} == {k: t.dtype for k, t in whole.items()}


@pytest.mark.parametrize("subfolder", ["", "transformer"])
def test_load_base_from_a_published_folder(tmp_path, subfolder):
    base = tiny_nova().base
    base.save_pretrained(tmp_path / subfolder)
    model = load_base(tmp_path, dense_window=0)
    assert not model.is_nova and model.config.dense_window == 0
    inputs = tiny_inputs()
    inputs.pop("source_latents")
    with torch.no_grad():
        assert torch.equal(model(**inputs).sample, model.base(**inputs).sample)
        torch.testing.assert_close(model.base(**inputs).sample, base(**inputs).sample, atol=1e-5, rtol=1e-5)
    assert not any(p.is_meta for p in model.parameters())


def test_load_base_refuses_missing_and_corrupt_folders(tmp_path):
    with pytest.raises(NovaError, match="hf download"):
        load_base(tmp_path / "nowhere")
    tiny_nova().base.save_pretrained(tmp_path)
    weights = tmp_path / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(NovaError, match="is corrupt"):
        load_base(tmp_path)


def test_dense_file_round_trip(tmp_path):
    trained, fresh = tiny_nova(seed=3), tiny_nova(seed=3, trained=False)
    path = save_dense(trained, tmp_path / "dense.safetensors")
    assert load_dense(fresh, path).is_nova
    assert torch.equal(answer(fresh), answer(trained))
    assert fresh.save_dense(tmp_path / "again.safetensors").read_bytes() == path.read_bytes()


def test_dense_layers_none_is_the_list_of_all(tmp_path):
    path = save_dense(tiny_nova(dense_layers=[0, 1, 2, 3]), tmp_path / "dense.safetensors")
    assert load_dense(tiny_nova(trained=False), path).is_nova


@pytest.mark.parametrize("trained", [{"dense_window": 0}, {"dense_timestep": "shared"}, {}])
@pytest.mark.parametrize("built", [{"dense_window": 1, "dense_timestep": "shared"}, {}])
def test_the_source_is_read_as_the_file_was_trained_to(tmp_path, trained, built):
    first = tiny_nova(seed=3, **trained)
    path = save_dense(first, tmp_path / "dense.safetensors")
    model = load_dense(tiny_nova(seed=3, trained=False, **built), path)
    for key in ("dense_window", "dense_timestep"):
        assert model.config[key] == first.config[key]
    assert torch.equal(answer(model), answer(first))


@pytest.mark.parametrize(
    "options, message",
    [
        ({"base": {"ffn_dim": 48}}, "another dense file"),
        ({"dense_layers": [1]}, "dense_layers=None"),
        ({"dense_injection": "add"}, "dense_injection=query"),
    ],
)
def test_a_dense_file_of_another_config_is_refused(tmp_path, options, message):
    path = save_dense(tiny_nova(), tmp_path / "dense.safetensors")
    with pytest.raises(NovaError, match=message):
        load_dense(tiny_nova(**options), path)


def test_bad_dense_files_are_refused(tmp_path):
    path, model = tmp_path / "dense.safetensors", tiny_nova()
    with pytest.raises(NovaError, match="does not exist"):
        load_dense(model, path)
    save_dense(model, path)
    whole = path.read_bytes()
    for broken in (b"", whole[: len(whole) // 2], b"\xff" * 64):
        path.write_bytes(broken)
        with pytest.raises(NovaError, match="corrupt"):
            load_dense(model, path)
    save_file({"a": torch.zeros(1)}, str(path))
    with pytest.raises(NovaError, match="no dense branch"):
        load_dense(model, path)
    _rewrite(whole, path, lambda tensors: tensors.pop("0.norm_dense.weight"))
    with pytest.raises(NovaError, match=r"0\.norm_dense\.weight"):
        load_dense(model, path)
    _rewrite(whole, path, lambda tensors: tensors["0.norm_dense.weight"].fill_(float("nan")))
    with pytest.raises(NovaError, match="NaN"):
        load_dense(model, path)


def _rewrite(whole, path, change):
    """Write the file anew with changed tensors and the same metadata."""
    from safetensors import safe_open

    path.write_bytes(whole)
    with safe_open(str(path), framework="pt") as file:
        metadata = file.metadata()
    tensors = load_file(str(path))
    change(tensors)
    save_file(tensors, str(path), metadata=metadata)


def test_zero_initialised_hints_leave_the_dit_alone():
    model, inputs = tiny_nova(), tiny_inputs()
    without = {**inputs, "control_hidden_states": None}
    with torch.no_grad():
        assert not torch.equal(model(**inputs).sample, model(**without).sample)
        zero_init_hints(model.base)
        assert torch.equal(model(**inputs).sample, model(**without).sample)


def test_vace_blocks_copied_from_main_blocks_compute_the_same():
    """With proj_in = 0 and the context ignored, VACE block i walks like main block vace_layers[i]."""
    model, inputs = tiny_nova(), tiny_inputs()
    init_vace_from_main(model.base)
    tokens, text = torch.randn(2, 48, 24), torch.randn(2, 1, 24)
    modulation, turn = torch.randn(2, 6, 24), model.base.rope(inputs["hidden_states"])
    with torch.no_grad():
        _, state = model.base.vace_blocks[1](tokens, text, tokens, modulation, turn)
        expected = model.base.blocks[2](tokens, text, modulation, turn)
    assert torch.equal(state, expected)


@pytest.mark.parametrize("name", list(PRESETS))
def test_presets_build_on_the_meta_device(name):
    preset = get_preset(name)
    with torch.device("meta"):
        vae, model = build_vae(name), build_transformer(name)
    config, scale = preset.transformer, vae.config.scale_factor_spatial
    assert config["in_channels"] == vae.config.z_dim == len(vae.config.latents_mean)
    assert config["vace_in_channels"] == 2 * vae.config.z_dim + scale**2
    assert preset.num_frames % 4 == 1 and preset.sizes[0] == (preset.height, preset.width)
    step = scale * config["patch_size"][1]
    assert all(height % step == 0 and width % step == 0 for height, width in preset.sizes)
    assert len(model.dense_branch) == config["num_layers"]


def test_the_nano_models_fit_the_budget_of_shipped_weights():
    with torch.device("meta"):
        parts = build_vae("nano"), build_transformer("nano")
    assert sum(p.numel() for part in parts for p in part.parameters()) * 2 <= 16e6  # bfloat16 on disk


def test_an_unknown_preset_is_refused_with_the_names_that_exist():
    with pytest.raises(NovaError, match=r"nano, wan-1\.3b"):
        get_preset("pico")
