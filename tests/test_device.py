"""Device and precision are chosen once, with a reason that a student can read."""

import pytest
import torch

from novakit.device import choose_device, print_versions, version_line
from novakit.errors import NovaError


def pretend_gpu(monkeypatch, capability):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "Card")


def test_without_cuda(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    choice = choose_device()
    assert str(choice) == "CPU: no CUDA device found; float32"
    assert choice.dtype is torch.float32
    with pytest.raises(NovaError, match="Use device=cpu or auto"):
        choose_device("cuda")


@pytest.mark.parametrize(
    ("capability", "dtype", "words"),
    [((9, 0), torch.bfloat16, "bfloat16 in hardware"), ((7, 5), torch.float32, "no bfloat16 in hardware")],
)
def test_precision_follows_the_hardware(monkeypatch, capability, dtype, words):
    pretend_gpu(monkeypatch, capability)
    choice = choose_device()
    assert (choice.device, choice.dtype) == ("cuda", dtype)
    assert "Card" in choice.reason and words in choice.reason
    assert str(choose_device("cpu")) == "CPU: asked for; float32"
    with pytest.raises(NovaError, match="cuda:0 to cuda:0"):
        choose_device("cuda:1")


def test_unknown_device():
    with pytest.raises(NovaError, match="auto, cpu or cuda"):
        choose_device("tpu")


def test_version_line(capsys):
    choice = print_versions("cpu")
    printed = capsys.readouterr().out.strip()
    assert printed == version_line("cpu")
    assert f"torch {torch.__version__}" in printed and printed.endswith(str(choice))
