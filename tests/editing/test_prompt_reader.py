"""Prompts are encoded once per machine: the 11 GB encoder is loaded for new ones only, and never passes unseen."""

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from text_encoder_tiny import save_text, tiny_encoder, tiny_tokenizer
from transformers import UMT5EncoderModel

from novakit.editing.prompt_reader import PromptReader
from novakit.editing.text import encode_prompt
from novakit.errors import NovaError, NovaNotice

CPU = torch.device("cpu")
PROMPTS = ["a red coat", "", "a blue coat"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_text(tmp_path_factory.mktemp("text"))


@pytest.fixture
def loads(monkeypatch):
    """How often an encoder was loaded."""
    seen, load = [], UMT5EncoderModel.from_pretrained
    monkeypatch.setattr(UMT5EncoderModel, "from_pretrained", lambda *a, **k: seen.append(1) or load(*a, **k))
    return seen


def reader(folder, cache, dtype=torch.float32):
    return PromptReader(folder, dtype, cache)


def test_the_states_are_those_of_the_encoder(folder, tmp_path):
    expected = encode_prompt(tiny_tokenizer(), tiny_encoder(), PROMPTS, CPU, torch.float32)
    fresh = reader(folder, tmp_path).read(PROMPTS, CPU)
    assert fresh.shape == (3, 512, 8) and torch.equal(reader(folder, tmp_path).read(PROMPTS, CPU), fresh)
    torch.testing.assert_close(fresh, expected)
    assert fresh[1, 0].abs().max() > 0 and fresh[1, 1:].abs().max() == 0  # behind the empty prompt's </s>


def test_a_second_reader_loads_no_encoder(folder, tmp_path, loads):
    first = reader(folder, tmp_path)
    states = first.read(PROMPTS, CPU)
    assert len(loads) == 1 and not hasattr(first, "encoder")  # one load for three prompts, then dropped
    assert torch.equal(first.read(["", ""], CPU), states[[1, 1]]) and len(loads) == 1
    again = reader(folder, tmp_path)
    assert torch.equal(again.read(PROMPTS[::-1], CPU), states.flip(0)) and len(loads) == 1
    again.read(["sunny"], CPU)
    assert len(loads) == 2


def test_the_prompt_is_cleaned_as_wan_does(folder, tmp_path, loads):
    """ftfy mends broken characters and entities, white space is one blank: the same entry."""
    read = reader(folder, tmp_path)
    plain = read.read(["it's a red coat"], CPU)
    for other in ("it&#39;s  a red\ncoat ", "it’s a red coat"):
        assert torch.equal(read.read([other], CPU), plain)
    assert len(loads) == 1 and len(list(tmp_path.iterdir())) == 1


def test_the_entry_changes_with_encoder_tokenizer_and_precision(folder, tmp_path, loads):
    cache = tmp_path / "cache"
    reader(folder, cache).read([""], CPU)
    other = save_text(tmp_path / "other", seed=1)
    reader(other, cache).read([""], CPU)
    reader(folder, cache, torch.bfloat16).read([""], CPU)
    (other / "tokenizer/tokenizer_config.json").write_text('{"tokenizer_class": "PreTrainedTokenizerFast"}')
    assert reader(other, cache).fingerprint not in (reader(folder, cache).fingerprint,)
    assert len(loads) == 3 and len(list(cache.iterdir())) == 3
    with safe_open(str(next(cache.iterdir())), framework="pt") as file:
        assert '"prompt": ""' in file.metadata()["novakit"] and '"length": 512' in file.metadata()["novakit"]


@pytest.mark.parametrize("damage", ["cut", "nan", "shape"])
def test_a_damaged_entry_is_made_again(folder, tmp_path, loads, damage):
    states = reader(folder, tmp_path).read([""], CPU)
    path = next(tmp_path.iterdir())
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-3])
    else:
        bad = load_file(path)["states"] * float("nan") if damage == "nan" else torch.zeros(2, 3, 4)
        save_file({"states": bad}, str(path))
    assert torch.equal(reader(folder, tmp_path).read([""], CPU), states) and len(loads) == 2
    assert torch.equal(load_file(path)["states"], states[0, :1])


def test_a_cache_that_cannot_be_written_is_noticed(folder, tmp_path):
    (tmp_path / "file").write_text("")
    read = reader(folder, tmp_path / "file")
    with pytest.warns(NovaNotice, match="could not be kept"):
        states = read.read([""], CPU)
    assert torch.equal(read.read([""], CPU), states)


def test_a_partial_encoder_is_refused(tmp_path):
    """transformers itself would go on with random numbers."""
    folder = save_text(tmp_path / "text")
    path = folder / "text_encoder/model.safetensors"
    tensors = load_file(path)
    del tensors["encoder.block.0.layer.0.SelfAttention.q.weight"]
    save_file(tensors, str(path), metadata={"format": "pt"})
    with pytest.raises(NovaError, match=r"lacks 1 weights, e\.g\. encoder\.block\.0"):
        reader(folder, tmp_path / "cache").read([""], CPU)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(NovaError, match="is corrupt"):
        reader(folder, tmp_path / "cache").read([""], CPU)
    path.unlink()
    torch.save({}, folder / "text_encoder/model.bin")
    with pytest.raises(NovaError, match="is a pickle"):
        reader(folder, tmp_path / "cache").read([""], CPU)
