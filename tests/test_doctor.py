"""The doctor says what can run, what is missing and how to get it."""

from collections import namedtuple

import psutil
import pytest

from novakit import doctor
from novakit.device import DeviceChoice

CPU = DeviceChoice("cpu", "float32", "no CUDA device found")
GPU = DeviceChoice("cuda", "bfloat16", "a card")
Memory = namedtuple("Memory", "available")


def test_wan_needs_cuda_and_weights(monkeypatch):
    monkeypatch.setattr(doctor, "_hub_folder", lambda _: None)
    report = doctor.check_wan(CPU)
    notes = " ".join(report.notes)
    assert not report.ready
    assert "missing: a CUDA device" in notes and "missing: the base weights Wan-AI/" in notes
    assert "hf download" in notes and "published by nobody" in notes


def test_wan_is_ready_where_both_are(monkeypatch, tmp_path):
    monkeypatch.setattr(doctor, "_hub_folder", lambda _: tmp_path)
    monkeypatch.setattr(doctor, "_cuda_memory_gb", lambda: 12.0)
    report = doctor.check_wan(GPU)
    assert report.ready
    assert "GPU memory 12 GB" in report.notes[0]


def test_nano_needs_weights_and_memory(monkeypatch, tmp_path):
    monkeypatch.setattr(doctor, "shipped_weights", lambda: tmp_path)
    assert not doctor.check_nano().ready
    for part in ("vae", "transformer"):
        assert (
            f"missing: the shipped weights of {'transformer, vae' if part == 'vae' else 'transformer'}"
            in (doctor.check_nano().notes[0])
        )
        (tmp_path / "nano" / part).mkdir(parents=True)
        (tmp_path / "nano" / part / "x.safetensors").write_bytes(b"0" * 1_000_000)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: Memory(8e9))
    report = doctor.check_nano()
    assert report.ready and "2 files, 2.0 MB" in report.notes[0]
    monkeypatch.setattr(psutil, "virtual_memory", lambda: Memory(0.4e9))
    report = doctor.check_nano()
    assert not report.ready and "0.4 GB free" in report.notes[1]


@pytest.mark.parametrize(
    ("versions", "words"),
    [
        ({"torchcodec": "0.16.0"}, "torchcodec 0.16.0: a CUDA 13 build"),
        ({"diffusers": "0.30.0"}, "older than the Wan VACE classes"),
    ],
)
def test_known_bad_versions(monkeypatch, versions, words):
    monkeypatch.setattr(doctor, "installed_version", lambda name: versions.get(name, "99"))
    assert any(words in line for line in doctor.known_bad_versions())


def test_unmet_requirements(monkeypatch):
    assert doctor.unmet_requirements() == []
    found = {"kornia": "0.1", "ftfy": None}
    monkeypatch.setattr(doctor, "installed_version", lambda name: found.get(name, "99"))
    lines = " ".join(doctor.unmet_requirements())
    assert "kornia 0.1 is installed; novakit needs >=" in lines
    assert "ftfy is missing" in lines
    assert "nbval" not in lines, "an extra that nobody asked for"


def test_optional_parts_are_there_or_named_with_the_command(monkeypatch, tmp_path):
    monkeypatch.setattr(doctor, "installed_version", {"opencv-python-headless": "5.0"}.get)
    monkeypatch.setattr(doctor, "_hub_folder", lambda name, file: tmp_path)
    assert [line.partition(": ")[2] for line in doctor.optional_parts()] == [
        "OpenCV 5.0",
        "facebook/sam2.1-hiera-tiny is in the hub's cache",
    ]
    monkeypatch.setattr(doctor, "installed_version", lambda name: None)
    monkeypatch.setattr(doctor, "_hub_folder", lambda name, file: None)
    flow, sam = doctor.optional_parts()
    assert "missing: OpenCV. Run `pip install 'novakit[flow]'`" in flow
    assert "156 MB" in sam and "Run `hf download facebook/sam2.1-hiera-tiny" in sam


def test_a_model_in_the_cache_is_found_by_its_file(monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda name, file: str(tmp_path / file))
    assert doctor._hub_folder("Some/body") == tmp_path == doctor._hub_folder("Some/body", "config.json")


def test_report_names_everything(capsys):
    doctor.print_report()
    printed = capsys.readouterr().out
    for words in ("Python", "torch", "device: ", "preset nano: can", "preset wan-1.3b: can", "optional:", "versions:"):
        assert words in printed
