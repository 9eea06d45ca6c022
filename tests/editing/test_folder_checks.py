"""A spoiled folder of weights is refused on both public roads, whatever diffusers itself would let pass."""

import json

import pytest
import torch
from nova_tiny import tiny_pipeline
from safetensors.torch import load_file, save_file

from novakit.editing import NovaEditPipeline
from novakit.editing.folder_checks import PARTS
from novakit.errors import NovaError

WEIGHTS = "transformer/diffusion_pytorch_model.safetensors"


@pytest.fixture(params=["from_preset", "from_pretrained"])
def either_way(request, shipped):
    """Both public roads to a folder; they must run the same checks."""
    if request.param == "from_preset":
        return lambda: NovaEditPipeline.from_preset("nano", device="cpu")
    return lambda: NovaEditPipeline.from_pretrained(str(shipped))


@pytest.mark.parametrize("part", [*PARTS, WEIGHTS, "vae/diffusion_pytorch_model.safetensors"])
def test_a_missing_file_is_named(shipped, either_way, part):
    (shipped / part).unlink()
    with pytest.raises(NovaError, match="weights are missing.*novakit pretrain") as caught:
        either_way()
    assert str(shipped / part) in str(caught.value)


@pytest.mark.parametrize("keep", [0, 100, 5000])
def test_a_cut_file_is_corrupt(shipped, either_way, keep):
    path = shipped / WEIGHTS
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(NovaError, match="corrupt"):
        either_way()


@pytest.mark.parametrize("part", PARTS)
def test_a_damaged_config_is_corrupt(shipped, either_way, part):
    (shipped / part).write_text('{"_class_name": "AutoenC')
    with pytest.raises(NovaError, match="corrupt"):
        either_way()


def change(shipped, edit):
    tensors = load_file(shipped / WEIGHTS)
    edit(tensors)
    save_file(tensors, shipped / WEIGHTS, metadata={"format": "pt"})


@pytest.mark.parametrize(
    "edit, message",
    [
        (lambda t: t.pop("base.proj_out.weight"), "another config.*proj_out.weight is missing"),
        (lambda t: t.update(extra=torch.zeros(1)), "extra is .1,., wanted nothing"),
        (
            lambda t: t.update({"base.proj_out.bias": torch.zeros(7)}),
            r"proj_out.bias is \(7,\), wanted \(4,\)",
        ),
        (
            lambda t: t["base.proj_out.bias"].fill_(float("nan")),
            "NaN or infinite values in base.proj_out.bias",
        ),
    ],
)
def test_weights_that_do_not_fit_their_config(shipped, either_way, edit, message):
    change(shipped, edit)
    with pytest.raises(NovaError, match=message):
        either_way()


def test_a_config_with_an_unknown_key_or_value(shipped, either_way):
    path = shipped / "transformer/config.json"
    config = json.loads(path.read_text())
    for wrong in ({"dense_injection": "concat"}, {"base_config": {**config["base_config"], "layers": 3}}):
        path.write_text(json.dumps({**config, **wrong}))
        with pytest.raises(NovaError, match="does not describe a NovaTransformer3DModel"):
            either_way()


@pytest.mark.parametrize("part", ["vae", "transformer"])
def test_a_config_key_that_diffusers_would_drop_in_silence(shipped, either_way, part):
    change_json(shipped / part / "config.json", base_dimension=32, _private=1)
    with pytest.raises(NovaError, match=r"does not describe a .*unknown keys \['base_dimension'\]"):
        either_way()


def test_a_config_of_fewer_layers_drops_no_tensor_in_silence(shipped, either_way):
    config = json.loads((shipped / "transformer/config.json").read_text())["base_config"]
    change_json(shipped / "transformer/config.json", base_config={**config, "num_layers": 3})
    with pytest.raises(NovaError, match=r"another config: .*blocks\.3.*wanted nothing of that name"):
        either_way()


def change_json(path, **entries):
    path.write_text(json.dumps({**json.loads(path.read_text()), **entries}))


@pytest.mark.parametrize(
    "entries, message",
    [
        ({"vae": None}, "lists vae as None; wanted AutoencoderKLWan"),
        ({"vae": ["diffusers", "AutoencoderKL"]}, "lists vae as .*AutoencoderKL'.*wanted AutoencoderKLWan"),
        ({"transformer": ["diffusers", "WanVACETransformer3DModel"]}, "lists transformer.*base=FOLDER"),
        ({"transformer": 5}, "lists transformer as 5; wanted NovaTransformer3DModel"),
        ({"scheduler": ["diffusers", "DDIMScheduler"]}, "lists scheduler as .*DDIM.*wanted FlowMatchEuler"),
        ({"scheduler": ["diffusers", "UniPCMultistepScheduler"]}, "is for FlowMatchEuler.*names UniPC"),
        ({"preset": "giant"}, "names the preset 'giant'; known are nano, wan-1.3b"),
        ({"preset": ["nano"]}, "names the preset"),
    ],
)
def test_a_model_index_of_something_else(shipped, either_way, entries, message):
    change_json(shipped / "model_index.json", **entries)
    with pytest.raises(NovaError, match=message):
        either_way()


@pytest.mark.parametrize("part", PARTS)
def test_a_json_file_that_is_no_object(shipped, either_way, part):
    (shipped / part).write_text("[1, 2]")
    with pytest.raises(NovaError, match="it holds a list, wanted an object"):
        either_way()


def test_a_model_index_without_a_part(shipped, either_way):
    (shipped / "model_index.json").write_text('{"_class_name": "NovaEditPipeline"}')
    with pytest.raises(NovaError, match="lists vae as nothing"):
        either_way()


def test_a_scheduler_of_another_kind(shipped, either_way):
    change_json(shipped / "scheduler/scheduler_config.json", _class_name="DDIMScheduler")
    with pytest.raises(NovaError, match="is for DDIMScheduler; model_index.json names FlowMatchEuler"):
        either_way()
    change_json(shipped / "scheduler/scheduler_config.json", _class_name="UniPCMultistepScheduler")
    change_json(shipped / "model_index.json", scheduler=["diffusers", "UniPCMultistepScheduler"])
    with pytest.raises(NovaError, match="no flow sigmas"):
        either_way()


def test_whatever_diffusers_stumbles_over_is_one_clear_error(shipped, either_way):
    change_json(shipped / "model_index.json", text_encoder=["diffusers", "NoSuchEncoder"])
    with pytest.raises(NovaError, match="cannot be loaded"):
        either_way()


def test_weights_in_shards_are_checked_too(tmp_path):
    tiny_pipeline(preset="nano").save_pretrained(tmp_path, max_shard_size="20KB")
    shards = sorted((tmp_path / "transformer").glob("*-of-*.safetensors"))
    assert len(shards) > 1 and NovaEditPipeline.from_pretrained(tmp_path).is_nova
    shards[-1].unlink()
    with pytest.raises(NovaError, match=f"{shards[-1].name} does not exist"):
        NovaEditPipeline.from_pretrained(tmp_path)
