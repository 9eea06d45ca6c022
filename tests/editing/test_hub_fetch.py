"""Downloads: nothing unasked, and licence and exact size before the first byte. The hub is a folder here."""

import shutil
from types import SimpleNamespace

import huggingface_hub
import pytest

from novakit.editing import hub
from novakit.editing.loading import find_base, find_dense
from novakit.errors import NovaError
from novakit.presets import get_preset


@pytest.fixture
def server(tmp_path, monkeypatch):
    """`snapshot_download` with two files; what it was asked, in order."""
    asked, said, folder = [], [], tmp_path / "snapshot"
    sizes = {"transformer/a.safetensors": 4_300_000_000, "text_encoder/b.safetensors": 11_400_000_000}

    def download(hub_id, allow_patterns=None, dry_run=False, local_files_only=False):
        asked.append("cache" if local_files_only else "list" if dry_run else "fetch")
        if local_files_only and not folder.exists():
            raise OSError("not cached")
        if dry_run:
            return [
                SimpleNamespace(file_size=n, will_download=not (folder / name).exists()) for name, n in sizes.items()
            ]
        for name in () if local_files_only else sizes:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).touch()
        return str(folder)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=50e9))
    monkeypatch.setattr(hub, "notice", lambda text: said.append((text, list(asked))))
    return SimpleNamespace(asked=asked, said=said, folder=folder, sizes=sizes)


def test_nothing_is_fetched_unasked(server):
    with pytest.raises(NovaError, match=r"is missing.*Apache License 2\.0.*download=True"):
        find_base(get_preset("wan-1.3b"))
    assert server.asked == ["cache"]


def test_licence_and_exact_size_come_before_the_download(server):
    assert find_base(get_preset("wan-1.3b"), download=True) == server.folder
    [(text, asked_before)] = server.said
    assert "2 files, 15.70 GB" in text and "Apache License 2.0" in text and "50.00 GB free" in text
    assert asked_before == ["cache", "list"] and server.asked == ["cache", "list", "fetch"]


def test_what_is_here_is_not_announced_again(server):
    for _ in range(2):
        find_base(get_preset("wan-1.3b"), download=True)
    assert len(server.said) == 1


def test_a_full_disk_is_refused_before_the_download(server, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1e9))
    with pytest.raises(NovaError, match=r"no room to fetch .*15\.70 GB.*1\.00 GB free.*HF_HOME"):
        hub.fetch("Some/one", ("*",))
    assert server.asked == ["list"]


def test_an_unreachable_hub_is_one_line(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(
        huggingface_hub, "snapshot_download", lambda *_, **__: (_ for _ in ()).throw(OSError("no net\nx"))
    )
    with pytest.raises(NovaError, match=r"Some/one cannot be fetched: no net\. Offline"):
        hub.fetch("Some/one", ("*",))


def test_a_dense_file_of_a_hub_repository(server):
    server.sizes["dense.safetensors"] = 570_000_000
    with pytest.raises(NovaError, match=r"hf download Some/nova dense\.safetensors"):
        find_dense("Some/nova")
    found = find_dense("Some/nova", download=True)
    assert found == server.folder / "dense.safetensors" == find_dense("Some/nova")
    assert "Read its licence on its model card" in server.said[0][0]
