"""CLIP and DINOv2 through transformers, with tiny random networks saved in the published format."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from novakit.errors import NovaError
from novakit.evaluation.encoders import ENCODERS, get_encoder
from novakit.evaluation.encoders.published import PUBLISHED, PublishedEncoder
from novakit.evaluation.metrics import clip_features, clip_preference, measure_clips, metric_labels

SIZE = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
WORDS = ["a", "red", "blue", "coat"]


def tiny_clip(seed=0):
    from transformers import CLIPConfig, CLIPModel

    torch.manual_seed(seed)
    vision = {**SIZE, "image_size": 32, "patch_size": 8}
    text = {**SIZE, "vocab_size": 64, "max_position_embeddings": 16, "bos_token_id": 0, "eos_token_id": 1}
    return CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=12)).eval()


def tokenizer_files(folder):
    """vocab.json and merges.txt as CLIP's: bytes, bytes that end a word, merges, two special tokens."""
    letters = sorted(set("".join(WORDS)))
    merges, parts = [], []
    for word in WORDS:
        pieces = [*word[:-1], word[-1] + "</w>"]
        while len(pieces) > 1:
            merges.append(f"{pieces[0]} {pieces[1]}")
            pieces = [pieces[0] + pieces[1], *pieces[2:]]
            parts.append(pieces[0])
    names = ["<|startoftext|>", "<|endoftext|>", *letters, *(letter + "</w>" for letter in letters), *parts]
    vocab = {name: i for i, name in enumerate(dict.fromkeys(names))}
    (folder / "vocab.json").write_text(json.dumps(vocab))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(dict.fromkeys(merges)) + "\n")


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clip")
    tiny_clip().save_pretrained(folder)
    tokenizer_files(folder)
    return folder


@pytest.fixture(scope="module")
def dino_folder(tmp_path_factory):
    from transformers import Dinov2Config, Dinov2Model

    torch.manual_seed(1)
    sizes = {key: value for key, value in SIZE.items() if key != "intermediate_size"}
    folder = tmp_path_factory.mktemp("dino")
    Dinov2Model(Dinov2Config(**sizes, mlp_ratio=2, image_size=28, patch_size=14)).save_pretrained(folder)
    return folder


def frames(count=5, size=(40, 60), seed=0):
    return torch.rand(count, 3, *size, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def test_clip_features_are_those_of_transformers(clip_folder):
    encoder = get_encoder("clip-vit-b32", clip_folder)
    given = frames()
    features = encoder.encode(given)
    with torch.no_grad():
        expected = tiny_clip().get_image_features(pixel_values=encoder.ready(given)).pooler_output
    assert torch.allclose(features, torch.nn.functional.normalize(expected), atol=1e-6)
    assert features.shape == (5, 12) and torch.allclose(features.norm(dim=1), torch.ones(5), atol=1e-6)


def test_pictures_are_made_ready_as_clips_own_processor_does(clip_folder):
    """Against the processor that works on PIL pictures: the same up to its rounding to 8 bits."""
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    pixels = np.random.default_rng(0).integers(60, 196, (40, 61, 3), dtype=np.uint8)
    processor = CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    expected = torch.as_tensor(np.array(processor(Image.fromarray(pixels), return_tensors="np")["pixel_values"]))
    given = torch.from_numpy(pixels).permute(2, 0, 1)[None] / 127.5 - 1
    ready = get_encoder("clip-vit-b32", clip_folder).ready(given)
    assert ready.shape == expected.shape
    assert (ready - expected).abs().max() < 0.03  # 8 bits are 0.015 after division by the deviation


def test_dino_features_are_its_pooler_output_of_the_middle_square(dino_folder):
    from transformers import Dinov2Model

    encoder = get_encoder("dinov2-base", dino_folder)
    given = frames(3, (32, 64))
    with torch.no_grad():
        expected = Dinov2Model.from_pretrained(dino_folder)(pixel_values=encoder.ready(given)).pooler_output
    assert encoder.ready(given).shape == (3, 3, 28, 28)
    assert torch.allclose(encoder.encode(given), torch.nn.functional.normalize(expected), atol=1e-6)
    elsewhere = given.clone()
    elsewhere[..., :8] = 1  # 32 x 64: the square is columns 18 to 46
    assert torch.allclose(encoder.encode(elsewhere), encoder.encode(given), atol=1e-5)


def test_batches_of_frames_give_the_same_features(clip_folder, monkeypatch):
    encoder = get_encoder("clip-vit-l14", clip_folder)
    whole = encoder.encode(frames(7))
    monkeypatch.setattr("novakit.evaluation.encoders.published.BATCH", 3)
    assert torch.allclose(encoder.encode(frames(7)), whole, atol=1e-6)


def test_all_metrics_run_with_a_published_encoder_and_name_it(clip_folder):
    encoder = get_encoder("clip-vit-b32", clip_folder)
    clip = frames(6).unflatten(0, (1, 6)).transpose(1, 2)
    scores = measure_clips(clip, clip, torch.zeros_like(clip[:, :1]), encoder)
    assert 0 < scores["TC"] <= 1
    assert metric_labels(encoder)["TC"] == "TC[clip-vit-b32, adjacent]"


def test_preference_is_the_share_of_frames_nearer_to_the_target_prompt(clip_folder):
    encoder = get_encoder("clip-vit-b32", clip_folder)
    clip = frames(12, seed=3).unflatten(0, (2, 6)).transpose(1, 2)
    share = clip_preference(clip, "a red coat", ["a blue coat", "a blue"], encoder)
    texts = encoder.encode_text(["a red coat", "a blue coat", "a blue"])
    cosines = clip_features(clip, encoder) @ texts.T  # (2, 6, 3)
    expected = [(cosines[i, :, i + 1] > cosines[i, :, 0]).float().mean().item() for i in range(2)]
    assert share.tolist() == pytest.approx(expected)
    assert clip_preference(clip, "a blue coat", "a red coat", encoder)[0] == pytest.approx(1 - expected[0])


def test_prompts_are_read_as_words(clip_folder):
    encoder = get_encoder("clip-vit-b32", clip_folder)
    ids = encoder._tokenizer()(["a red coat", "a blue"])["input_ids"]
    vocab = json.loads((clip_folder / "vocab.json").read_text())
    assert ids[0] == [0, vocab["a</w>"], vocab["red</w>"], vocab["coat</w>"], 1]
    alone, padded = encoder.encode_text(["a blue"]), encoder.encode_text(["a blue", "a red coat"])
    assert torch.allclose(alone[0], padded[0], atol=1e-6)  # padding is not read


def test_preference_refuses_what_it_cannot_judge(clip_folder, dino_folder):
    encoder = get_encoder("clip-vit-b32", clip_folder)
    clip = frames(6).unflatten(0, (1, 6)).transpose(1, 2)
    with pytest.raises(NovaError, match="nothing can be preferred"):
        clip_preference(clip, "a coat", "a coat", encoder)
    with pytest.raises(NovaError, match="pass one, or one per clip"):
        clip_preference(clip, "a coat", ["a", "red"], encoder)
    with pytest.raises(NovaError, match="reads no text"):
        clip_preference(clip, "a", "red", get_encoder("dinov2-base", dino_folder))
    with pytest.raises(NovaError, match="reads no text"):
        clip_preference(clip, "a", "red", get_encoder())


@pytest.mark.parametrize("name", PUBLISHED)
def test_missing_weights_name_model_size_and_the_ways_out(name, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(NovaError) as error:
        get_encoder(name, tmp_path / "nowhere")
    for part in (name, " GB", "million", "download=True", PUBLISHED[name].hub_id, "embedded encoder"):
        assert part in str(error.value)


def test_nothing_is_fetched_unasked(monkeypatch):
    asked = []

    def from_pretrained(place, **options):
        asked.append((place, options["local_files_only"]))
        raise OSError("not there")

    monkeypatch.setattr("transformers.CLIPModel.from_pretrained", from_pretrained)
    for download in (False, True):
        with pytest.raises(NovaError, match="cannot be read from openai/clip-vit-base-patch32"):
            get_encoder("clip-vit-b32", download=download)
    assert asked == [("openai/clip-vit-base-patch32", True), ("openai/clip-vit-base-patch32", False)]


def test_damaged_or_foreign_folders_are_refused(clip_folder, dino_folder, tmp_path):
    from safetensors.torch import load_file, save_file

    with pytest.raises(NovaError, match="holds a model of type 'dinov2'; wanted 'clip'"):
        get_encoder("clip-vit-b32", dino_folder)
    with pytest.raises(NovaError, match="no readable config.json"):
        get_encoder("clip-vit-b32", tmp_path)
    (tmp_path / "config.json").write_text((clip_folder / "config.json").read_text())
    tensors = load_file(clip_folder / "model.safetensors")
    save_file(dict(list(tensors.items())[1:]), tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(NovaError, match=r"lacks 1 tensors.*embedded"):
        get_encoder("clip-vit-b32", tmp_path)
    with pytest.raises(NovaError, match="tokenizer"):
        PublishedEncoder("clip-vit-b32", tiny_clip(), str(tmp_path)).encode_text(["a"])


def test_unknown_names_and_needless_folders_are_refused(tmp_path):
    with pytest.raises(NovaError, match=", ".join(ENCODERS)):
        get_encoder("clip")
    with pytest.raises(NovaError, match="has no weights"):
        get_encoder("embedded", tmp_path)
