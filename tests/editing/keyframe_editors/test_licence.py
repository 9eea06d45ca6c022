"""Nothing is fetched unasked; licence, size and command are said before."""

import json
import socket

import huggingface_hub
import pytest

from novakit.editing.keyframe_editors.licence import FLUX_KONTEXT, QWEN_EDIT, find_weights
from novakit.errors import NovaError, NovaNotice

PARTS = ("scheduler", "vae")
COMMIT = "0123456789012345678901234567890123456789"


def write_pipeline(folder, kind="FluxKontextPipeline", parts=PARTS):
    index = {"_class_name": kind, "image_encoder": [None, None]} | {part: ["diffusers", "Any"] for part in PARTS}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model_index.json").write_text(json.dumps(index))
    for part in parts:
        (folder / part).mkdir()
        (folder / part / "config.json").write_text("{}")
    return folder


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty hub cache, and no network: whoever tries it fails the test."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))

    def refuse(*_):
        pytest.fail("somebody used the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    return tmp_path / "hub"


def cached(cache, hub_id, **options):
    home = cache / f"models--{hub_id.replace('/', '--')}"
    (home / "refs").mkdir(parents=True)
    (home / "refs/main").write_text(COMMIT)
    return write_pipeline(home / "snapshots" / COMMIT, **options)


@pytest.mark.parametrize(
    "weights, words",
    [
        (FLUX_KONTEXT, ["Non-Commercial", "no commercial use", "33.7 GB", "hf auth login", "--exclude flux1-kontext"]),
        (QWEN_EDIT, ["Apache License 2.0", "57.7 GB"]),
    ],
)
def test_missing_weights_are_named_with_licence_size_and_command(cache, weights, words):
    with pytest.raises(NovaError) as caught:
        find_weights(weights.hub_id, weights)
    for word in [weights.hub_id, f"`hf download {weights.hub_id}", "download=True", *words]:
        assert word in str(caught.value)


def test_another_models_licence_is_not_guessed(cache):
    with pytest.raises(NovaError, match="Read its licence.*`hf download Somebody/kontext`") as caught:
        find_weights("Somebody/kontext", FLUX_KONTEXT)
    assert "Non-Commercial" not in str(caught.value) and "--exclude" not in str(caught.value)


def test_the_cache_is_used_without_asking_the_hub(cache):
    folder = cached(cache, FLUX_KONTEXT.hub_id)
    assert find_weights(FLUX_KONTEXT.hub_id, FLUX_KONTEXT) == folder
    assert find_weights(FLUX_KONTEXT.hub_id, FLUX_KONTEXT, download=True) == folder


def test_a_fetch_that_broke_off_is_not_taken_for_the_whole(cache, monkeypatch):
    folder = cached(cache, QWEN_EDIT.hub_id, kind="QwenImageEditPlusPipeline", parts=("vae",))
    with pytest.raises(NovaError, match="nor complete in the hub's cache.*57.7 GB"):
        find_weights(QWEN_EDIT.hub_id, QWEN_EDIT)
    (folder / "scheduler").mkdir()
    (folder / "scheduler/config.json").write_text("{}")
    assert find_weights(QWEN_EDIT.hub_id, QWEN_EDIT) == folder


def test_asked_for_the_notice_comes_before_the_fetch(cache, tmp_path, monkeypatch):
    order = []

    def fetch(model, local_files_only=False, allow_patterns=None):
        order.append(("cache" if local_files_only else "hub", model, allow_patterns))
        if local_files_only:
            raise FileNotFoundError
        return str(write_pipeline(tmp_path / "fetched"))

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetch)
    monkeypatch.setattr("novakit.editing.keyframe_editors.licence.notice", lambda text: order.append(text))
    assert find_weights(FLUX_KONTEXT.hub_id, FLUX_KONTEXT, download=True) == tmp_path / "fetched"
    looked, said, fetched = order
    assert looked[0] == "cache" and "Non-Commercial" in said and "33.7 GB" in said
    assert fetched == ("hub", FLUX_KONTEXT.hub_id, ["model_index.json", "*/*"])


def test_only_the_folders_that_diffusers_reads_are_fetched():
    """The FLUX repository has the same weights a second time, as one file of 23.8 GB."""
    from huggingface_hub.utils import filter_repo_objects

    from novakit.editing.keyframe_editors.licence import NEEDED

    files = ["flux1-kontext-dev.safetensors", "ae.safetensors", "model_index.json", "vae/config.json"]
    assert list(filter_repo_objects(files, allow_patterns=NEEDED)) == files[2:]


def test_offline_says_so(cache, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with (
        pytest.warns(NovaNotice, match="fetching Qwen/Qwen-Image-Edit-2509.*Apache"),
        pytest.raises(NovaError, match="cannot be fetched.*HF_HUB_OFFLINE.*`hf download Qwen"),
    ):
        find_weights(QWEN_EDIT.hub_id, QWEN_EDIT, download=True)


@pytest.mark.parametrize("place", ["no/such/folder", "./missing", "nowhere"])
def test_neither_a_folder_nor_a_hub_id(cache, tmp_path, monkeypatch, place):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(NovaError, match="neither a folder nor a hub id.*black-forest-labs"):
        find_weights(place, FLUX_KONTEXT, download=True)


def test_a_local_folder_is_checked(tmp_path):
    assert find_weights(write_pipeline(tmp_path / "good"), FLUX_KONTEXT) == tmp_path / "good"
    assert find_weights(str(tmp_path / "good"), FLUX_KONTEXT) == tmp_path / "good"
    with pytest.raises(NovaError, match="holds a FluxKontextPipeline; wanted QwenImageEditPlusPipeline"):
        find_weights(tmp_path / "good", QWEN_EDIT)
    with pytest.raises(NovaError, match="incomplete: its part vae/ is missing"):
        find_weights(write_pipeline(tmp_path / "half", parts=("scheduler",)), FLUX_KONTEXT)
    for content in ("{", "[1]"):
        (tmp_path / "good/model_index.json").write_text(content)
        with pytest.raises(NovaError, match="no diffusers pipeline"):
            find_weights(tmp_path / "good", FLUX_KONTEXT)
    with pytest.raises(NovaError, match="no diffusers pipeline"):
        find_weights(tmp_path, FLUX_KONTEXT)
