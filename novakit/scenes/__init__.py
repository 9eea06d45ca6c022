"""The nano world: a procedural renderer of small clips with exact ground truth for every kind of edit."""

from novakit.scenes.clips import ClipsWithCutOuts, render_clips, render_cut_outs
from novakit.scenes.edits import EDITS
from novakit.scenes.scene import SceneBatch, render_scenes

__all__ = ["EDITS", "ClipsWithCutOuts", "SceneBatch", "render_clips", "render_cut_outs", "render_scenes"]
