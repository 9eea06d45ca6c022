"""The shipped samples are whole, small, and what the script makes."""

import hashlib
import runpy

import pytest
import torch

from novakit.paths import data_samples
from novakit.scenes import render_scenes
from novakit.video import read_clip, read_keyframes, read_mask

FOLDER = data_samples()
NAMES = sorted(path.name for path in FOLDER.iterdir() if path.is_dir())


def test_there_are_ten_and_they_are_small():
    assert len(NAMES) == 10
    assert sum(path.stat().st_size for path in FOLDER.rglob("*") if path.is_file()) < 10e6


def test_sums_agree():
    lines = (FOLDER / "SHA256SUMS").read_text().splitlines()
    assert len(lines) == 10 * (3 + 5)
    for line in lines:
        digest, name = line.split("  ")
        assert hashlib.sha256((FOLDER / name).read_bytes()).hexdigest() == digest, name


@pytest.mark.parametrize("name", NAMES)
def test_sample_is_the_scene_that_the_script_names(name):
    seed, edit, walker = runpy.run_path(str(FOLDER / "make.py"))["SAMPLES"][name]
    scene = render_scenes([seed], split="test", edit=edit, walker=walker)
    for file, clip in (("source", scene.source), ("truth", scene.truth)):  # 4:2:0 colour costs up to 0.053
        assert (read_clip(FOLDER / name / f"{file}.mp4").frames - clip).abs().mean() < 0.06
    frames = read_keyframes(FOLDER / name / "keyframes", 33, (64, 96))
    assert sorted(frames) == [0, 8, 16, 24, 32]
    torch.testing.assert_close(frames[16], scene.truth[0, :, 16], atol=1 / 127, rtol=0)
    mask = read_mask(FOLDER / name / "mask.mp4", 33, (64, 96))
    assert (mask - scene.mask).abs().mean() < 0.02
