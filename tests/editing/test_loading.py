"""Presets to pipelines: shipped weights are checked, missing ones are named with the way out."""

import json
import shutil

import pytest
import torch
from nova_tiny import keyframes_of, tiny_clip, tiny_nova, tiny_pipeline, tiny_vae
from safetensors.torch import load_file, save_file

from novakit.editing import NovaEditPipeline, loading
from novakit.errors import NovaError, NovaNotice
from novakit.models import save_dense

WEIGHTS = "transformer/diffusion_pytorch_model.safetensors"


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Weights as they ship: bfloat16 on disk."""
    folder = tmp_path_factory.mktemp("weights") / "nano"
    pipe = tiny_pipeline(preset="nano")
    pipe.vae.to(torch.bfloat16), pipe.transformer.to(torch.bfloat16)
    pipe.save_pretrained(folder)
    return folder


@pytest.fixture
def shipped(saved, tmp_path, monkeypatch):
    """A copy to spoil, in the place of the package's weights."""
    shutil.copytree(saved, tmp_path / "nano")
    monkeypatch.setattr(loading, "shipped_weights", lambda: tmp_path)
    return tmp_path / "nano"


def load():
    return NovaEditPipeline.from_preset("nano", device="cpu")


def test_shipped_weights_are_float32_in_memory(shipped, capfd):
    pipe = load()
    for part in (pipe.vae, pipe.transformer):
        assert {tensor.dtype for tensor in part.state_dict().values()} == {torch.float32} and not part.training
    stored = load_file(shipped / WEIGHTS)
    assert stored["base.blocks.0.attn1.to_q.weight"].dtype == torch.bfloat16
    own = pipe.transformer.state_dict()
    assert all(torch.equal(own[key], tensor.float()) for key, tensor in stored.items())
    assert pipe.preset.name == "nano" and pipe.is_nova
    clip = tiny_clip()
    assert pipe(clip, keyframes_of(clip)).steps == pipe.preset.steps
    assert "it/s" not in capfd.readouterr().err  # no progress bars outside a terminal


@pytest.mark.parametrize("part", [*loading.PARTS, WEIGHTS, "vae/diffusion_pytorch_model.safetensors"])
def test_a_missing_file_is_named(shipped, part):
    (shipped / part).unlink()
    with pytest.raises(NovaError, match="weights are missing.*novakit pretrain") as caught:
        load()
    assert str(shipped / part) in str(caught.value)


def test_no_weights_at_all(tmp_path, monkeypatch):
    monkeypatch.setattr(loading, "shipped_weights", lambda: tmp_path)
    with pytest.raises(NovaError, match="weights are missing.*Reinstall novakit"):
        load()


@pytest.mark.parametrize("keep", [0, 100, 5000])
def test_a_cut_file_is_corrupt(shipped, keep):
    path = shipped / WEIGHTS
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(NovaError, match="corrupt"):
        load()


@pytest.mark.parametrize("part", loading.PARTS)
def test_a_damaged_config_is_corrupt(shipped, part):
    (shipped / part).write_text('{"_class_name": "AutoenC')
    with pytest.raises(NovaError, match="corrupt"):
        load()


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
def test_weights_that_do_not_fit_their_config(shipped, edit, message):
    change(shipped, edit)
    with pytest.raises(NovaError, match=message):
        load()


def test_a_config_with_an_unknown_key_or_value(shipped):
    path = shipped / "transformer/config.json"
    config = json.loads(path.read_text())
    for wrong in ({"dense_injection": "concat"}, {"base_config": {**config["base_config"], "layers": 3}}):
        path.write_text(json.dumps({**config, **wrong}))
        with pytest.raises(NovaError, match="does not describe a NovaTransformer3DModel"):
            load()


def test_an_unknown_preset_and_a_base_for_nano():
    with pytest.raises(NovaError, match=r"nano, wan-1\.3b"):
        NovaEditPipeline.from_preset("giant")
    with pytest.raises(NovaError, match=r"belong to wan-1\.3b"):
        NovaEditPipeline.from_preset("nano", base="somewhere")


# -- wan-1.3b, with a tiny base in the place of the published one
# -----------------------------------------------------


@pytest.fixture
def published(tmp_path):
    folder = tmp_path / "published"
    tiny_nova().base.save_pretrained(folder / "transformer")
    tiny_vae().save_pretrained(folder / "vae")
    return folder


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
def test_wan_without_cuda_is_refused_with_the_way_out():
    with pytest.raises(NovaError, match=r"CUDA.*preset nano.*hf download Wan-AI/.*4\.3 GB"):
        NovaEditPipeline.from_preset("wan-1.3b")


def test_wan_without_weights_names_size_and_command(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for base in (None, str(tmp_path / "nowhere"), "Somebody/else"):
        with pytest.raises(NovaError, match=r"is missing.*4\.3 GB.*hf download Wan-AI/"):
            NovaEditPipeline.from_preset("wan-1.3b", base=base, device="cpu")


def test_wan_without_a_dense_file_says_that_it_is_plain_vace(published):
    with (
        pytest.warns(NovaNotice, match="plain VACE, not NOVA"),
        pytest.warns(NovaNotice, match="no text_encoder"),
    ):
        pipe = NovaEditPipeline.from_preset("wan-1.3b", base=published, device="cpu")
    assert not pipe.is_nova and pipe.preset.name == "wan-1.3b"


def test_wan_with_a_dense_file_is_nova(published, tmp_path):
    file = save_dense(tiny_nova(), tmp_path / "dense.safetensors")
    with pytest.warns(NovaNotice, match="no text_encoder"):
        pipe = NovaEditPipeline.from_preset("wan-1.3b", base=published, dense=file, device="cpu")
    assert pipe.is_nova
    clip = tiny_clip()
    assert pipe(clip, keyframes_of(clip), num_inference_steps=1).frames.shape == clip.shape


def test_a_damaged_vae_of_the_base(published):
    (published / "vae/config.json").write_text("{")
    with pytest.warns(NovaNotice), pytest.raises(NovaError, match="the VAE in"):
        NovaEditPipeline.from_preset("wan-1.3b", base=published, device="cpu")
