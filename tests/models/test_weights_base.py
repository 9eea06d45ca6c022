"""A published base by every road: the same model, the same fingerprints, and one clear error for whatever is wrong."""

import json

import pytest
import torch
from nova_tiny import BASE, tiny_inputs, tiny_nova
from safetensors.torch import load_file, save_file
from wan_formats import diffusers_folder, original_folder, transformer_names

from novakit.errors import NovaError
from novakit.models import load_base, load_dense, save_dense
from novakit.models.nova_transformer import WanVACETransformer3DModel
from novakit.models.weights import fingerprint_of
from novakit.models.weights_base import weights_fingerprint
from novakit.models.weights_original import check_original
from novakit.presets import get_preset

FILE = "diffusion_pytorch_model.safetensors"


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    root = tmp_path_factory.mktemp("bases")
    return {"diffusers": diffusers_folder(root / "diffusers"), "original": original_folder(root / "original")}


def roads(places):
    """The same weights by every road."""
    folder, original = places["diffusers"], places["original"]
    return [folder, folder / "transformer", folder / "transformer" / FILE, original, original / FILE]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_every_road_gives_the_same_model_and_fingerprints(places, dtype):
    models = [load_base(place, dtype, BASE) for place in roads(places)]
    first = models[0].base.state_dict()
    for model in models[1:]:
        own = model.base.state_dict()
        assert own.keys() == first.keys()
        assert all(own[key].dtype == first[key].dtype and torch.equal(own[key], first[key]) for key in first)
        assert model.base.config.vace_layers == BASE["vace_layers"]
    assert len({fingerprint_of(model.base) for model in models}) == 1
    assert len({weights_fingerprint(model.base) for model in models}) == 1


def test_names_as_files_for_comfyui_have_them(places, tmp_path):
    tensors = load_file(places["original"] / FILE)
    save_file(
        {f"model.diffusion_model.{name}": tensor for name, tensor in tensors.items()}, str(tmp_path / "wan.safetensors")
    )
    assert weights_fingerprint(load_base(tmp_path / "wan.safetensors", config=BASE).base) == weights_fingerprint(
        tiny_nova().base
    )


def test_norms_and_tables_of_an_original_file_stay_float32(places):
    """from_single_file itself keeps them for float16 only."""
    state = load_base(places["original"], torch.bfloat16, BASE).base.state_dict()
    kept = {name for name, tensor in state.items() if tensor.dtype == torch.float32}
    wanted = WanVACETransformer3DModel._keep_in_fp32_modules
    assert kept == {name for name in state if set(name.split(".")) & set(wanted)} and len(kept) > 10


def test_both_formats_answer_alike(places):
    answers = []
    for name in ("diffusers", "original"):
        with torch.no_grad():
            answers.append(load_base(places[name], config=BASE)(**tiny_inputs()).sample)
    torch.testing.assert_close(*answers, atol=1e-5, rtol=1e-5)


def test_a_dense_file_trained_on_one_format_loads_on_the_other(places, tmp_path):
    trained = load_base(places["diffusers"], torch.float32, BASE)
    torch.nn.init.normal_(trained.dense_branch.output_projections()[0].weight)
    path = save_dense(trained, tmp_path / "dense.safetensors")
    assert load_dense(load_base(places["original"], torch.bfloat16, BASE), path).is_nova


def test_a_dense_file_of_the_same_config_with_other_weights_is_refused(places, tmp_path):
    path = save_dense(load_base(places["diffusers"]), tmp_path / "dense.safetensors")
    with pytest.raises(NovaError, match="other weights than these"):
        load_dense(load_base(diffusers_folder(tmp_path / "other", seed=5)), path)
    with pytest.raises(NovaError, match="other weights than these"):  # one number of one tensor
        model = load_base(places["diffusers"])
        model.base.blocks[1].ffn.net[2].bias.data[3] += 1
        load_dense(model, path)


def test_the_real_list_of_names_is_the_presets_model(tmp_path):
    """Every tensor name of Wan2.1-VACE-1.3B, converted by diffusers, without allocating 2.15 B numbers."""
    config = get_preset("wan-1.3b").transformer
    with torch.device("meta"):
        model = WanVACETransformer3DModel(**config)
    shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    names = transformer_names(config)
    assert len(names) == len(shapes) == 30 * 27 + 15 * 29 + 2 + 17
    from diffusers.loaders.single_file_utils import convert_wan_transformer_to_diffusers as convert

    found = {name: shapes[next(iter(convert({name: torch.empty(0)})))] for name in names}
    check_original(WanVACETransformer3DModel, [tmp_path], found, config, "")
    assert sum(torch.Size(shape).numel() for shape in found.values()) == pytest.approx(2.154e9, rel=1e-3)


def spoiled(places, tmp_path, change):
    """The original file with changed tensors."""
    tensors = load_file(places["original"] / FILE)
    change(tensors)
    save_file(tensors, str(tmp_path / FILE))
    return tmp_path / FILE


@pytest.mark.parametrize(
    "change, message",
    [
        (
            lambda t: t.pop("blocks.2.ffn.0.bias"),
            r"1 of \d+ tensors differ.*blocks\.2\.ffn\.net\.0\.proj\.bias is missing",
        ),
        (lambda t: t.update({"blocks.0.scale": torch.zeros(1)}), "wanted nothing of that name"),
        (lambda t: t.update({"head.head.bias": torch.zeros(3)}), r"proj_out\.bias is \(3,\), wanted"),
        (lambda t: t["blocks.1.self_attn.q.weight"].fill_(float("nan")), r"NaN or infinite values in blocks\.1"),
        (lambda t: [t.pop(name) for name in list(t) if "vace" in name], "without VACE blocks"),
        (lambda t: [t.pop(name) for name in list(t) if not name.startswith("vace")], "the VACE blocks alone"),
        (lambda t: [t.clear(), t.update({"shared.weight": torch.zeros(1)})], "is a text encoder"),
        (lambda t: [t.clear(), t.update({"encoder.conv1.weight": torch.zeros(1)})], "is a Wan VAE"),
        (lambda t: [t.clear(), t.update({"0.norm_dense.weight": torch.zeros(1)})], "pass it as dense"),
        (lambda t: [t.clear(), t.update(a=torch.zeros(1))], "is no Wan transformer"),
    ],
)
def test_wrong_and_partial_single_files_are_named(places, tmp_path, change, message):
    with pytest.raises(NovaError, match=message) as caught:
        load_base(spoiled(places, tmp_path, change), config=BASE)
    assert "hf download Wan-AI/" in str(caught.value)


@pytest.mark.parametrize("keep", [0, 7, 1000])
def test_a_cut_single_file_is_corrupt(places, tmp_path, keep):
    (tmp_path / FILE).write_bytes((places["original"] / FILE).read_bytes()[:keep])
    for place in (tmp_path, tmp_path / FILE):
        with pytest.raises(NovaError, match="is corrupt"):
            load_base(place, config=BASE)


def test_shards_that_an_index_lists(places, tmp_path):
    tensors = load_file(places["original"] / FILE)
    names = sorted(tensors)
    shards = {"a.safetensors": names[:50], "b.safetensors": names[50:]}
    for shard, some in shards.items():
        save_file({name: tensors[name] for name in some}, str(tmp_path / shard))
    index = {"weight_map": {name: shard for shard, some in shards.items() for name in some}}
    (tmp_path / f"{FILE}.index.json").write_text(json.dumps(index))
    assert weights_fingerprint(load_base(tmp_path, config=BASE).base) == weights_fingerprint(tiny_nova().base)
    (tmp_path / "b.safetensors").unlink()
    with pytest.raises(NovaError, match=r"b\.safetensors does not exist.*hf download"):
        load_base(tmp_path, config=BASE)
    (tmp_path / f"{FILE}.index.json").write_text(json.dumps({"weight_map": {"x": "../a.safetensors"}}))
    with pytest.raises(NovaError, match="lists no weights of its own folder"):
        load_base(tmp_path, config=BASE)


def test_a_diffusers_folder_that_lacks_a_tensor_is_refused(places, tmp_path):
    """diffusers itself would go on with random numbers."""
    folder = diffusers_folder(tmp_path / "base")
    path = folder / "transformer" / FILE
    tensors = load_file(path)
    del tensors["blocks.0.attn1.to_q.weight"]
    save_file(tensors, str(path), metadata={"format": "pt"})
    with pytest.raises(NovaError, match=r"blocks\.0\.attn1\.to_q\.weight is missing"):
        load_base(folder)


def test_another_model_than_the_presets_is_refused(places, tmp_path):
    for place in (places["diffusers"], places["original"]):
        with pytest.raises(NovaError, match=r"num_layers=4, the preset 30|belongs to another config"):
            load_base(place, config={**BASE, "num_layers": 30})
    folder = diffusers_folder(tmp_path / "t2v")
    config = json.loads((folder / "transformer/config.json").read_text())
    (folder / "transformer/config.json").write_text(json.dumps({**config, "_class_name": "WanTransformer3DModel"}))
    with pytest.raises(NovaError, match="holds a WanTransformer3DModel; wanted a WanVACETransformer3DModel"):
        load_base(folder)


def test_an_empty_folder_names_both_formats_and_the_command(tmp_path):
    with pytest.raises(NovaError, match=r"neither transformer/config\.json.*hf download Wan-AI/"):
        load_base(tmp_path)


class Bomb:
    """A pickle that leaves a mark when it is read."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return open, (str(self.mark), "w")


@pytest.mark.parametrize("forced", ["0", "1"])
def test_a_pickle_is_never_opened(places, tmp_path, monkeypatch, forced):
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", forced)
    mark = tmp_path / "exploded"
    base = diffusers_folder(tmp_path / "base")
    (base / "transformer" / FILE).unlink()
    bombs = [tmp_path / f"base{suffix}" for suffix in (".pth", ".pt", ".ckpt", ".bin", ".safetensors")]
    bombs += [base / "transformer/diffusion_pytorch_model.bin"]
    for bomb in bombs:
        torch.save({"blocks.0.modulation": Bomb(mark)}, bomb)
    for place in [*bombs, base]:
        with pytest.raises(NovaError, match="is a pickle|is corrupt"):
            load_base(place, config=BASE)
    for bomb in bombs:
        with pytest.raises(NovaError, match="is a pickle|is corrupt"):
            load_dense(tiny_nova(), bomb)
    assert not mark.exists()
    torch.load(bombs[0], weights_only=False)
    assert mark.exists()  # the bomb works
