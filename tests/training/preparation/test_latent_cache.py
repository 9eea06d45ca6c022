"""LatentCache: the batches it gives, and every cache that it refuses before training sees it."""

import json
import time
from collections import Counter

import pytest
import torch
from prepare_toy import fake_cache
from safetensors.torch import load_file, save_file

from novakit.errors import NovaError, NovaNotice
from novakit.training.preparation import cache as module
from novakit.training.preparation.cache import LatentCache
from novakit.training.preparation.encoding import Encoder


@pytest.fixture(autouse=True)
def encoder(monkeypatch):
    monkeypatch.setattr(module, "load_encoder", lambda *_: Encoder(None, "made up"))


@pytest.fixture
def folder(tmp_path):
    return fake_cache(tmp_path / "cache", 50)


def shard_of(folder, index):
    item = json.loads((folder / "manifest.json").read_text())["items"][index]
    return folder / "shards" / f"{item['shard']}.safetensors", item["key"]


def poison(folder, index, name="target", value=float("nan")):
    """Write another number into a stored tensor; size and header of the file stay."""
    path, key = shard_of(folder, index)
    tensors = {name: tensor.clone() for name, tensor in load_file(path).items()}
    tensors[f"{key}/{name}"].flatten()[3] = value
    before = path.stat().st_size
    save_file(tensors, path)
    assert path.stat().st_size == before


def change_manifest(folder, change):
    data = json.loads((folder / "manifest.json").read_text())
    change(data)
    (folder / "manifest.json").write_text(json.dumps(data))


def test_rows_are_slices_of_the_batch(folder):
    cache = LatentCache(folder)
    whole, part = cache.batch(3, 6, seed=1), cache.rows(3, 6, 1, range(2, 4))
    assert whole.target_latents.shape == (6, 4, 1, 2, 4) and whole.control.shape == (6, 4 + 4 + 32 * 32, 1, 2, 4)
    for name in ("target_latents", "source_latents", "control"):
        assert torch.equal(getattr(whole, name)[2:4], getattr(part, name))
        assert getattr(part, name).dtype == torch.float32
    assert cache.text is None and len(cache) == 50
    assert not torch.equal(cache.batch(0, 6, 0).target_latents, cache.batch(0, 6, 1).target_latents)


def test_each_clip_once_an_epoch_and_no_pair_twice_before_all_were_used(folder):
    cache = LatentCache(folder)
    epochs = [[cache._draw(epoch * 50 + i, 0) for i in range(50)] for epoch in range(8)]
    assert all(sorted(index for index, _, _ in epoch) == list(range(50)) for epoch in epochs)
    orders = [[index for index, _, _ in epoch] for epoch in epochs]
    assert orders[0] != sorted(orders[0]) and orders[0] != orders[1] and orders != _orders(cache, seed=1)
    pairs = Counter(draw for epoch in epochs[:4] for draw in epoch)
    assert len(pairs) == 200 and set(pairs.values()) == {1}  # 2 sources x 2 controls of 50 clips
    assert set(Counter(draw for epoch in epochs for draw in epoch).values()) == {2}


def _orders(cache, seed):
    return [[cache._draw(epoch * 50 + i, seed)[0] for i in range(50)] for epoch in range(8)]


def test_a_name_tells_clip_and_variants(folder):
    cache = LatentCache(folder)
    index, source, control = cache._draw(2 * 5 + 3, 7)
    assert cache.name(2, 5, 7, 3) == f"{cache.items[index]['name']} (clip {index}, source {source}, control {control})"


def test_the_fingerprint_follows_the_content(folder, tmp_path):
    same = LatentCache(fake_cache(tmp_path / "same", 50, shard_bytes=10**6)).fingerprint
    other = LatentCache(fake_cache(tmp_path / "other", 49)).fingerprint
    assert LatentCache(folder).fingerprint == same != other


def test_five_thousand_clips_are_scanned_in_seconds_and_the_bad_ones_counted(tmp_path):
    folder = fake_cache(tmp_path / "cache", 5000, variants=1, shard_bytes=20_000)
    started = time.process_time()
    assert len(LatentCache(folder)) == 5000
    assert time.process_time() - started < 5
    shard_of(folder, 0)[0].unlink()
    poison(folder, 2500, value=1.0)
    items = json.loads((folder / "manifest.json").read_text())["items"]
    lost = sum(item["shard"] == items[0]["shard"] for item in items) + 1
    with pytest.raises(NovaError, match=rf"{lost} of 5000 clips .* clip 0 .*missing.*allow_missing={lost}") as caught:
        LatentCache(folder, allow_missing=lost - 1)
    assert "novakit prepare" in str(caught.value)
    with pytest.warns(NovaNotice, match="left out"):
        cache = LatentCache(folder, allow_missing=lost)
    assert len(cache) == 5000 - lost and cache.batch(0, 4, 0).target_latents.isfinite().all()


def test_one_poisoned_clip_of_fifty_is_found_with_its_index(folder):
    poison(folder, 17)
    with pytest.raises(NovaError, match="1 of 50 clips .*clip 17 .*target is not what was written"):
        LatentCache(folder)


@pytest.mark.parametrize("value, said", [(float("nan"), "NaN or infinite"), (0.5, "not what was written")])
def test_a_large_cache_is_checked_whenever_it_is_read(folder, monkeypatch, value, said):
    monkeypatch.setattr(module, "DEEP_BYTES", 0)
    poison(folder, 17, "source.1", value)
    cache = LatentCache(folder)  # a large cache is not read at opening
    assert cache.check_all() == {17: f"source.1 is not what was written in shard {cache.items[17]['shard']}"}
    met = [n for n in range(400) if cache._draw(n, 0)[:2] == (17, 1)]
    with pytest.raises(NovaError, match=f"clip 17 of .* has source.1 latents that are {said}.*Delete"):
        cache.batch(met[0], 1, 0)
    assert all(cache.batch(n, 1, 0) for n in range(40) if n not in met)


def test_a_cut_off_or_garbled_shard_is_found(folder):
    path, _ = shard_of(folder, 5)
    data = path.read_bytes()
    path.write_bytes(data[:-10])
    with pytest.raises(NovaError, match=f"has {len(data) - 10} bytes of {len(data)}"):
        LatentCache(folder)
    path.write_bytes(b"\xff" * len(data))
    with pytest.raises(NovaError, match="cannot be read"):
        LatentCache(folder)


def test_a_cache_of_another_encoder_preset_size_or_version_is_refused(folder, tmp_path, monkeypatch):
    with pytest.raises(NovaError, match="is for nano, not wan-1.3b"):
        LatentCache(folder, preset="wan-1.3b")
    with pytest.raises(NovaError, match=r"made by another VAE \(fingerprint foreign\).*made up"):
        LatentCache(fake_cache(tmp_path / "foreign", 3, encoder="foreign"))
    change_manifest(folder, lambda data: data["settings"].update(height=65))
    with pytest.raises(NovaError, match=r"\(33, 65, 96\); nano wants \(33, 64, 96\).* Prepare the videos"):
        LatentCache(folder)
    change_manifest(folder, lambda data: data["settings"].update(height=64, format="novakit-latents-0"))
    with pytest.raises(NovaError, match="novakit-latents-0.*Prepare it again"):
        LatentCache(folder)


def test_a_cache_without_clips_says_what_to_do(folder):
    change_manifest(folder, lambda data: data.update(items=[]))
    with pytest.raises(NovaError, match="has no clips that are whole.*Run the same `novakit prepare` again"):
        LatentCache(folder)


def test_what_all_clips_share_is_checked(folder):
    record = json.loads((folder / "manifest.json").read_text())["constants"]
    path = folder / "shards" / f"{record['shard']}.safetensors"
    save_file({"constants/grey": torch.ones(4, 1, 2, 4).half()}, path)
    with pytest.raises(NovaError, match="share is damaged: grey is not what was written"):
        LatentCache(folder)
    path.unlink()
    with pytest.raises(NovaError, match="share is damaged.*cannot be read"):
        LatentCache(folder)


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data["items"][3].pop("sha256"),
        lambda data: data["items"][3].update(shard="../../elsewhere"),
        lambda data: data["shards"].update({"../../elsewhere": 5}),
        lambda data: data["settings"].update(colour="red"),
        lambda data: data.pop("constants"),
    ],
)
def test_a_manifest_that_was_changed_by_hand_is_refused(folder, change):
    change_manifest(folder, change)
    with pytest.raises(NovaError, match="manifest.json is damaged"):
        LatentCache(folder)


def test_no_cache_an_unfinished_one_and_a_damaged_manifest(folder, tmp_path):
    with pytest.raises(NovaError, match="is no latent cache"):
        LatentCache(tmp_path / "nothing")
    (folder / "manifest.json").write_text("{")
    with pytest.raises(NovaError, match="damaged"):
        LatentCache(folder)
    (folder / "manifest.json").unlink()
    with pytest.raises(NovaError, match="not finished. Run the same"):
        LatentCache(folder)
