"""Presets to pipelines: shipped weights are checked, missing ones are named with the way out."""

import shutil

import pytest
import torch
from diffusers import DiffusionPipeline
from nova_tiny import keyframes_of, tiny_clip, tiny_vae
from safetensors.torch import load_file

from novakit.editing import NovaEditPipeline, loading
from novakit.errors import NovaError

WEIGHTS = "transformer/diffusion_pytorch_model.safetensors"


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


def test_no_weights_at_all(tmp_path, monkeypatch):
    monkeypatch.setattr(loading, "shipped_weights", lambda: tmp_path)
    with pytest.raises(NovaError, match="weights are missing.*Reinstall novakit"):
        load()


@pytest.mark.parametrize("place", ["nowhere", "./no/where", "a/b/c"])
def test_from_pretrained_of_a_missing_folder(tmp_path, monkeypatch, place):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(NovaError, match=r"the folder .* does not exist"):
        NovaEditPipeline.from_pretrained(place)


def test_a_hub_id_goes_to_diffusers(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    asked = []

    def ask(cls, place, **options):
        asked.append((place, options))
        raise OSError("first line\nno such model")

    monkeypatch.setattr(DiffusionPipeline, "from_pretrained", classmethod(ask))
    with pytest.raises(NovaError, match="Somebody/nova cannot be loaded: no such model"):
        NovaEditPipeline.from_pretrained("Somebody/nova", revision="main")
    assert asked == [("Somebody/nova", {"revision": "main", "use_safetensors": True})]  # no pickle


def test_a_part_that_is_handed_over_is_not_read_from_the_folder(shipped):
    shutil.rmtree(shipped / "vae")
    assert NovaEditPipeline.from_pretrained(shipped, vae=tiny_vae()).preset.name == "nano"


def test_an_unknown_preset_and_a_base_for_nano():
    with pytest.raises(NovaError, match=r"nano, wan-1\.3b"):
        NovaEditPipeline.from_preset("giant")
    with pytest.raises(NovaError, match=r"belong to wan-1\.3b"):
        NovaEditPipeline.from_preset("nano", base="somewhere")
