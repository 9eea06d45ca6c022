"""Files are whole or absent, and folders are proven writable."""

import hashlib
import json
import os
import stat

import pytest
import torch
from safetensors.torch import save_file

from novakit.errors import NovaError
from novakit.files import (
    atomic_path,
    atomic_write_bytes,
    atomic_write_json,
    atomic_write_text,
    require_writable_folder,
    sha256,
    size_text,
)


def test_write_and_read_back(tmp_path):
    assert atomic_write_text(tmp_path / "deep" / "a.txt", "é\n").read_bytes() == "é\n".encode()
    assert json.loads(atomic_write_json(tmp_path / "a.json", {"x": [1, 2.5, None]}).read_text()) == {
        "x": [1, 2.5, None]
    }
    file = atomic_write_bytes(tmp_path / "big.bin", bytes(range(256)) * 9000)
    assert sha256(file) == hashlib.sha256(file.read_bytes()).hexdigest()


def test_failure_leaves_the_old_file_and_nothing_else(tmp_path):
    target = atomic_write_text(tmp_path / "a.txt", "old")
    with pytest.raises(KeyboardInterrupt), atomic_path(target) as temporary:
        assert temporary.parent == tmp_path and temporary.suffix == ".txt"
        temporary.write_text("half")
        raise KeyboardInterrupt
    assert target.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_reader_never_sees_half_a_file(tmp_path):
    target = atomic_write_text(tmp_path / "a.txt", "old")
    with atomic_path(target) as temporary:
        temporary.write_text("new")
        assert target.read_text() == "old"
    assert target.read_text() == "new"


@pytest.mark.parametrize("umask", [0o022, 0o027, 0o002])
def test_others_may_read_what_they_may_read_of_any_file(tmp_path, umask):
    """safetensors makes files that only their owner can read; a cache is shared."""
    before = os.umask(umask)
    try:
        with atomic_path(tmp_path / "a.safetensors") as temporary:
            save_file({"a": torch.zeros(1)}, temporary)
        (tmp_path / "plain").touch()
    finally:
        os.umask(before)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert modes == dict.fromkeys(("a.safetensors", "plain"), 0o666 & ~umask)


def test_sizes_show_something():
    said = [size_text(size) for size in (0, 850, 10_000, 38e6, 999_949_999, 1e9, 188e9)]
    assert said == ["0 bytes", "850 bytes", "10.0 kB", "38.0 MB", "999.9 MB", "1.00 GB", "188.00 GB"]


def test_block_that_writes_nothing_is_an_error(tmp_path):
    with pytest.raises(NovaError, match="nothing was written"), atomic_path(tmp_path / "a.txt"):
        pass
    assert os.listdir(tmp_path) == []


def test_folders_in_the_way(tmp_path):
    with pytest.raises(NovaError, match="is a folder"), atomic_path(tmp_path):
        pass
    blocker = atomic_write_text(tmp_path / "file", "x")
    for folder in (blocker, blocker / "below"):
        with pytest.raises(NovaError, match="a file is in the way"):
            require_writable_folder(folder)


def test_folder_that_refuses_writing(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("novakit.files.tempfile.TemporaryFile", refuse)
    with pytest.raises(NovaError, match="Permission denied.*Choose a folder"):
        atomic_write_text(tmp_path / "a.txt", "x")


def test_json_without_nan_and_hash_without_file(tmp_path):
    with pytest.raises(NovaError, match="as JSON"):
        atomic_write_json(tmp_path / "a.json", {"loss": float("nan")})
    assert os.listdir(tmp_path) == []
    with pytest.raises(NovaError, match="cannot read"):
        sha256(tmp_path / "missing")
