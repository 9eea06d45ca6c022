"""Section 10 of notebook 06, the real run cell by cell, with nano in place of the large model and little footage."""

from pathlib import Path

import matplotlib
import torch

from novakit.course.notebooks import read_notebook
from novakit.scenes import render_clips
from novakit.video import probe, write_clip

NOTEBOOK = Path(__file__).resolve().parents[2] / "notebooks" / "06_training.ipynb"


def cells():
    """The code of the imports and of section 10; no dense file goes with nano, whose weights ship."""
    code = {cell.id: cell.source for cell in read_notebook(NOTEBOOK).cells if cell.cell_type == "code"}
    imports = [code[name].replace("%matplotlib inline", "") for name in ("06-003", "06-003b")]
    wanted = [source for name, source in code.items() if name.startswith("06-full")]
    return [*imports, *(source.replace("wan-1.3b", "nano").replace(", *trained)", ")") for source in wanted[1:])]


def test_the_real_run_cell_by_cell(tmp_path, monkeypatch, capsys):
    matplotlib.use("agg")
    monkeypatch.setenv("NOVAKIT_BUILD", str(tmp_path / "build"))
    footage = tmp_path / "footage"
    for number, clip in enumerate(render_clips(torch.arange(3), split="train", num_frames=33)):
        write_clip(footage / f"{number}.mp4", clip, 12)
    names = {"profile": "gpu", "footage": str(footage), "base": "", "gpus": 1}
    names |= {"seed": 0, "minutes": 5, "train_steps": 2, "display": lambda *_: None}
    for source in cells():
        exec(source, names)
    said = capsys.readouterr().out
    assert "novakit prepare" in said and "3 clips kept" in said
    assert (tmp_path / "build" / "06_full_run" / "dense.safetensors").exists()
    edited = tmp_path / "build" / "06_full_edit.mp4"
    assert probe(edited).num_frames == 33
