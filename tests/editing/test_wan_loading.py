"""The preset wan-1.3b end to end, with tiny weights in the published formats in the place of the published ones."""

import shutil

import pytest
import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
from nova_tiny import keyframes_of, tiny_clip, tiny_nova
from safetensors.torch import load_file, save_file
from text_encoder_tiny import save_text
from transformers import UMT5EncoderModel
from wan_formats import diffusers_folder, original_folder, tiny_preset

from novakit import doctor
from novakit.device import DeviceChoice
from novakit.editing import NovaEditPipeline, base_parts, loading
from novakit.errors import NovaError, NovaNotice
from novakit.models import decode_latents, encode_clip, save_dense
from novakit.models.weights import fetch_command, load_base
from novakit.paths import shipped_weights
from novakit.presets import get_preset

FILE = "diffusion_pytorch_model.safetensors"


@pytest.fixture
def here(tmp_path, monkeypatch):
    """No hub, no prompts of other tests."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("NOVAKIT_BUILD", str(tmp_path / "build"))
    monkeypatch.setattr(base_parts, "cached_folder", lambda _: None)
    return tmp_path


def trained(tmp_path, trained=True):
    return save_dense(tiny_nova(trained=trained), tmp_path / "dense.safetensors")


def load(base, **options):
    return NovaEditPipeline.from_preset(tiny_preset(), base=base, device="cpu", **options)


def edit(pipe, **options):
    clip, noise = tiny_clip(), torch.Generator().manual_seed(0)
    return pipe(clip, keyframes_of(clip), num_inference_steps=2, generator=noise, **options)


def test_both_formats_give_the_same_edit_with_the_same_dense_file(here):
    dense, results = trained(here), []
    for folder in (diffusers_folder(here / "diffusers"), original_folder(here / "original")):
        save_text(folder)
        pipe = load(folder, dense=dense)
        assert pipe.is_nova and pipe.preset.name == "wan-1.3b" and pipe.text_encoder is None
        out = edit(pipe, prompt="a red coat")
        assert out.is_nova and out.frames.shape == tiny_clip().shape
        results.append((out.frames, edit(pipe).frames))
    torch.testing.assert_close(results[0], results[1], atol=1e-4, rtol=1e-4)
    assert not torch.allclose(results[0][0], results[0][1])  # the prompt is read


@pytest.mark.parametrize("make, file", [(original_folder, FILE), (diffusers_folder, f"transformer/{FILE}")])
def test_one_file_takes_its_parts_from_its_folder(here, make, file):
    folder = make(here / "base")
    with pytest.warns(NovaNotice, match="no text_encoder/ and tokenizer/"):
        pipe = load(folder / file, dense=trained(here))
    assert pipe.is_nova and pipe.prompts is None and edit(pipe).frames.isfinite().all()


def test_missing_parts_come_from_the_published_base_in_the_cache(here, monkeypatch):
    published = save_text(diffusers_folder(here / "published"))
    monkeypatch.setattr(base_parts, "cached_folder", lambda _: published)
    folder = original_folder(here / "original")
    (folder / "Wan2.1_VAE.safetensors").unlink()
    pipe = load(folder, dense=trained(here))
    assert pipe.prompts.folder == published and edit(pipe).is_nova


def test_a_second_pipeline_reads_prompts_without_the_encoder(here, monkeypatch):
    folder = save_text(diffusers_folder(here / "base"))
    first = edit(load(folder, dense=trained(here)), prompt="a red coat", guidance_scale=3.0, negative_prompt="blue")
    monkeypatch.setattr(UMT5EncoderModel, "from_pretrained", lambda *_, **__: pytest.fail("the encoder was loaded"))
    again = load(folder, dense=trained(here))
    frames = edit(again, prompt="a red coat", guidance_scale=3.0, negative_prompt="blue").frames
    torch.testing.assert_close(frames, first.frames, atol=1e-5, rtol=1e-5)


def test_the_vae_encodes_in_float32_and_decodes_in_bfloat16(here):
    folder = diffusers_folder(here / "base")
    whole = base_parts.load_vae([folder], tiny_preset(), torch.float32)
    mixed = base_parts.load_vae([folder], tiny_preset(), torch.bfloat16)
    assert mixed.dtype == torch.float32  # what encode_clip and decode_latents go by
    kinds = {name: weight.dtype for name, weight in mixed.named_parameters()}
    decoding = {name for name, kind in kinds.items() if kind == torch.bfloat16}
    assert decoding == {name for name in kinds if name.startswith(("decoder.", "post_quant_conv."))}
    with torch.no_grad():
        assert torch.equal(encode_clip(mixed, tiny_clip()), encode_clip(whole, tiny_clip()))


def test_the_shipped_vae_comes_by_the_same_road(here):
    nano, place = get_preset("nano"), shipped_weights() / "nano"
    vae = base_parts.load_vae([place], nano, torch.float32)
    other = AutoencoderKLWan.from_pretrained(str(place), subfolder="vae", dtype=torch.float32)
    assert vae.config.latents_mean == other.config.latents_mean != nano.vae["latents_mean"]
    assert not vae.training
    clip = tiny_clip(height=32, width=32)
    with torch.no_grad():
        latents = encode_clip(vae, clip)
        assert torch.equal(latents, encode_clip(other, clip))
        assert torch.equal(decode_latents(vae, latents), decode_latents(other, latents))
    with pytest.raises(NovaError, match="no VAE in .* ships with novakit"):
        base_parts.load_vae([here], nano, torch.float32)


def test_decoding_in_bfloat16_loses_little():
    """With trained weights: those of nano."""
    folder = shipped_weights() / "nano/vae"
    whole, mixed = (AutoencoderKLWan.from_pretrained(str(folder), dtype=torch.float32) for _ in range(2))
    base_parts.decode_in(mixed, torch.bfloat16)
    clip = tiny_clip(height=32, width=32)
    with torch.no_grad():
        latents = encode_clip(mixed, clip)
        exact, half = decode_latents(whole, latents), decode_latents(mixed, latents)
    assert half.dtype == torch.float32 and not torch.equal(half, exact)
    psnr = 10 * torch.log10(4 / (half - exact).square().mean())
    assert psnr > 40


def test_an_edit_in_the_precisions_of_a_card(here, monkeypatch):
    """bfloat16 on a CPU is slow, but tiny: every cast of the way is made."""
    folder, dense = save_text(diffusers_folder(here / "base")), trained(here)
    exact = edit(load(folder, dense=dense), output_type="latent")
    monkeypatch.setattr(loading, "choose_device", lambda _: DeviceChoice("cpu", "bfloat16", "as on a card"))
    pipe = load(folder, dense=dense)
    assert pipe.transformer.dtype == pipe.vae.decoder.conv_in.weight.dtype == torch.bfloat16
    half = edit(pipe, output_type="latent")
    assert half.is_nova and edit(pipe).frames.isfinite().all()
    assert torch.nn.functional.cosine_similarity(half.frames.flatten(), exact.frames.flatten(), dim=0) > 0.95


def test_without_a_dense_file_the_pipeline_says_that_it_is_plain_vace(here):
    folder = save_text(diffusers_folder(here / "base"))
    with pytest.warns(NovaNotice, match="no dense file was given.*plain VACE, not NOVA"):
        pipe = load(folder)
    assert not pipe.is_nova
    with pytest.warns(NovaNotice, match="plain VACE, not NOVA"):
        assert not edit(pipe).is_nova
    with pytest.warns(NovaNotice, match="was never trained: this is plain VACE, not NOVA"):
        assert not load(folder, dense=trained(here, trained=False)).is_nova


def test_an_edit_without_its_dense_branch_is_not_called_nova(here):
    pipe = load(save_text(diffusers_folder(here / "base")), dense=trained(here))
    assert not edit(pipe, dense_scale=0.0).is_nova and edit(pipe).is_nova


def test_a_dense_file_of_another_base_is_refused(here):
    other = save_dense(tiny_nova(base={"ffn_dim": 48}), here / "other.safetensors")
    with pytest.raises(NovaError, match="was trained on a base with the fingerprint"):
        load(diffusers_folder(here / "base"), dense=other)


# -- what is missing or wrong --------------------------------------------------------------------------------------


def drop_vae(folder):
    shutil.rmtree(folder / "vae")


def pickle_vae(folder):
    drop_vae(folder)
    torch.save({}, folder / "Wan2.1_VAE.pth")


def pickle_in_vae(folder):
    (folder / "vae" / FILE).unlink()
    torch.save({}, folder / "vae/diffusion_pytorch_model.bin")


def change_vae(folder):
    path = folder / "vae" / FILE
    tensors = load_file(path)
    tensors.pop("decoder.conv_out.bias")
    save_file(tensors, str(path), metadata={"format": "pt"})


def narrow_vae(folder):
    path = folder / "vae/config.json"
    path.write_text(path.read_text().replace('"base_dim": 2', '"base_dim": 8'))


@pytest.mark.parametrize(
    "spoil, message",
    [
        (
            drop_vae,
            "no VAE in .*neither vae/ nor Wan2.1_VAE.safetensors. Fetch it with `hf download Wan-AI/.*--include",
        ),
        (pickle_vae, "Wan2.1_VAE.pth is a pickle, which may run code when read: it is never opened"),
        (pickle_in_vae, "diffusion_pytorch_model.bin is a pickle"),
        (change_vae, "decoder.conv_out.bias is missing"),
        (narrow_vae, "base_dim=8, the preset 2: another model"),
        (lambda folder: (folder / "vae/config.json").write_text("{"), "vae/config.json is corrupt"),
        (lambda folder: (folder / "transformer/config.json").write_text("{"), "transformer/config.json is corrupt"),
    ],
)
def test_a_spoiled_base_is_named(here, spoil, message):
    folder = diffusers_folder(here / "base")
    spoil(folder)
    with pytest.raises(NovaError, match=message):
        load(folder, dense=trained(here))


def test_there_is_one_fetch_command(here, monkeypatch):
    """What is printed is what puts the base where novakit looks for it: the hub's cache."""
    command = fetch_command()
    assert command == "hf download Wan-AI/Wan2.1-VACE-1.3B-diffusers"
    monkeypatch.setattr(doctor, "_hub_folder", lambda _: None)
    texts = [*doctor.check_wan(DeviceChoice("cpu", "float32", "none")).notes]
    for call in (
        lambda: NovaEditPipeline.from_preset("wan-1.3b", base="Nobody/nothing", device="cpu"),
        lambda: load_base(here),
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


def test_wan_without_weights_names_size_licence_and_command(here):
    for base in (None, str(here / "nowhere"), "Somebody/else"):
        with pytest.raises(
            NovaError, match=r"is missing.*4\.3 GB.*Apache License 2\.0.*hf download Wan-AI/.*--download"
        ):
            NovaEditPipeline.from_preset("wan-1.3b", base=base, device="cpu")


def test_a_dense_file_that_is_not_there(here):
    with pytest.raises(NovaError, match=r"of Somebody/nova is not here.*hf download Somebody/nova dense\.safetensors"):
        load(here, dense="Somebody/nova")
    with pytest.raises(NovaError, match=r"none\.safetensors does not exist"):
        load(diffusers_folder(here / "base"), dense=here / "none.safetensors")
