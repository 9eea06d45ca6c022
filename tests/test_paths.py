"""Folders are the same from any working directory, and artefacts stay in theirs."""

from pathlib import Path

import pytest

from novakit import paths
from novakit.errors import NovaError

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture
def no_variable(monkeypatch):
    monkeypatch.delenv("NOVAKIT_BUILD", raising=False)


def test_same_folders_from_any_working_directory(no_variable, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert paths.ROOT == REPOSITORY
    assert paths.data_samples() == REPOSITORY / "data_samples"
    assert paths.recorded() == REPOSITORY / "notebooks" / "recorded"
    assert paths.build() == REPOSITORY / "build"
    assert paths.shipped_weights() == REPOSITORY / "novakit" / "weights"


def test_the_variable_moves_the_build_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("NOVAKIT_BUILD", str(tmp_path / "elsewhere"))
    path = paths.artefact("02/control.bin")
    assert path == tmp_path / "elsewhere" / "artefacts" / "02" / "control.bin"
    assert path.parent.is_dir() and not path.exists()


def test_handed_on_prefers_what_a_notebook_produced(monkeypatch, tmp_path):
    monkeypatch.setenv("NOVAKIT_BUILD", str(tmp_path))
    shipped = tmp_path / "shipped.bin"
    assert paths.handed_on("nova.bin", otherwise=shipped) == shipped
    paths.artefact("nova.bin").write_bytes(b"new")
    assert paths.handed_on("nova.bin", otherwise=shipped).read_bytes() == b"new"


@pytest.mark.parametrize("name", ["../x", "/etc/x", "a/../../x", ".", ""])
def test_artefacts_do_not_leave_their_folder(name, monkeypatch, tmp_path):
    monkeypatch.setenv("NOVAKIT_BUILD", str(tmp_path))
    with pytest.raises(NovaError, match="leaves"):
        paths.artefact(name)


def test_without_a_repository(no_variable, monkeypatch):
    monkeypatch.setattr(paths, "ROOT", None)
    assert paths.build() == Path.home() / ".cache" / "novakit"
    with pytest.raises(NovaError, match="installed without its repository"):
        paths.data_samples()
