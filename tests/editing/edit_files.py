"""Small files for `novakit edit`, and its pieces on the tiny pipeline."""

from dataclasses import replace

import torch
from nova_tiny import tiny_clip
from PIL import Image

from novakit.editing.command import edit_file
from novakit.editing.windows.edit import EditJob
from novakit.presets import get_preset
from novakit.video import Geometry, KeyframeStore, choose_size, probe, write_clip

SIZE = (64, 96)
SHORT = replace(get_preset("nano"), num_frames=17)  # windows of 17 frames: a long clip is a short test


def make_source(path, frames=9, height=64, width=96, fps=12):
    return write_clip(path, tiny_clip(frames=frames, height=height, width=width), fps)


def make_keyframes(folder, indices=(0, 8), size=(96, 64)):
    folder.mkdir()
    for k in indices:
        Image.new("RGB", size, (200, 30 + k % 100, 30)).save(folder / f"{k:03d}.png")
    return folder


def make_mask(path, frames=9, height=64, width=96):
    """White in the left quarter."""
    mask = torch.zeros(1, frames, height, width)
    mask[..., : width // 4] = 1
    return write_clip(path, mask, 12)


def run(source, keyframes, out, pipe, **options):
    return edit_file(source, keyframes, out, pipeline=pipe, **{"steps": 1, **options})


def make_job(source, keyframes, pipe, **options):
    """What `edit_file` makes of its files."""
    info = probe(source)
    geometry = Geometry.between(info.size, choose_size(info, SHORT.sizes))
    store = KeyframeStore(keyframes, info.num_frames, geometry.size, geometry=geometry)
    return EditJob(info, geometry, store, **{"mask": None, "pipeline": pipe, "steps": 1, "quiet": True, **options})


def counted(pipe, monkeypatch):
    """The list grows by one with every call of the pipeline."""
    calls, call = [], type(pipe).__call__
    monkeypatch.setattr(type(pipe), "__call__", lambda *args, **options: calls.append(1) or call(*args, **options))
    return calls
