"""A recorded number carries where it comes from."""

import json

import torch

from novakit import provenance as module
from novakit.provenance import provenance


def test_everything_is_named_and_can_be_written():
    origin = provenance(seed=3, device="cpu")
    assert set(origin) == {"date", "commit", "seed", "hardware", "versions"}
    assert origin["seed"] == 3
    assert origin["versions"]["torch"] == torch.__version__
    assert origin["hardware"]["cores"] >= 1 and origin["hardware"]["memory_gb"] > 0
    assert origin["hardware"]["device"] == "CPU: asked for; float32"
    assert json.loads(json.dumps(origin)) == origin


def test_without_a_repository_there_is_no_commit(monkeypatch):
    monkeypatch.setattr(module, "ROOT", None)
    assert provenance(device="cpu")["commit"] is None
