"""Presets to pipelines: shipped weights are checked, missing ones are named with the way out."""

import shutil

import pytest
import torch
from diffusers import DiffusionPipeline
from nova_tiny import keyframes_of, tiny_clip, tiny_nova, tiny_vae
from safetensors.torch import load_file

from novakit import doctor
from novakit.device import DeviceChoice
from novakit.editing import NovaEditPipeline, loading
from novakit.errors import NovaError, NovaNotice
from novakit.models import save_dense
from novakit.models.weights import fetch_command, load_base

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
    assert asked == [("Somebody/nova", {"revision": "main"})]


def test_a_part_that_is_handed_over_is_not_read_from_the_folder(shipped):
    shutil.rmtree(shipped / "vae")
    assert NovaEditPipeline.from_pretrained(shipped, vae=tiny_vae()).preset.name == "nano"


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


def test_there_is_one_fetch_command(tmp_path, monkeypatch):
    """What is printed is what puts the base where novakit looks for it: the hub's cache."""
    command = fetch_command()
    assert command == "hf download Wan-AI/Wan2.1-VACE-1.3B-diffusers"
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(doctor, "_hub_folder", lambda _: None)
    texts = [*doctor.check_wan(DeviceChoice("cpu", "float32", "none")).notes]
    for call in (
        lambda: NovaEditPipeline.from_preset("wan-1.3b", base="Nobody/nothing", device="cpu"),
        lambda: load_base(tmp_path),
        *([] if torch.cuda.is_available() else [lambda: NovaEditPipeline.from_preset("wan-1.3b")]),
    ):
        with pytest.raises(NovaError) as caught:
            call()
        texts.append(str(caught.value))
    printed = [text for text in texts if "hf download" in text]
    assert len(printed) >= 3 and all(f"`{command}`" in text for text in printed)


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
