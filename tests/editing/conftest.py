"""Puts the tiny models of tests/models and this folder's helpers on the path, in every import mode of pytest; a
folder of weights to spoil."""

import shutil
import sys
from pathlib import Path

import pytest
import torch

from novakit.editing import loading

sys.path[:0] = [str(Path(__file__).parent.with_name("models")), str(Path(__file__).parent)]


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Weights as they ship: bfloat16 on disk."""
    from nova_tiny import tiny_pipeline

    folder = tmp_path_factory.mktemp("weights") / "nano"
    pipe = tiny_pipeline(preset="nano")
    pipe.vae.to(torch.bfloat16), pipe.transformer.to(torch.bfloat16)
    pipe.save_pretrained(folder)
    return folder


@pytest.fixture
def shipped(saved, tmp_path, monkeypatch):
    """A copy to spoil, in the place of the package's weights."""
    shutil.copytree(saved, tmp_path / "nano")
    monkeypatch.setattr(loading, "shipped_weights", lambda: tmp_path)
    return tmp_path / "nano"
