"""The nano world: a procedural renderer of small clips with exact ground truth for every kind of edit."""

from novakit.scenes.edits import EDITS
from novakit.scenes.scene import SceneBatch, render_clips, render_scenes

__all__ = ["EDITS", "SceneBatch", "render_clips", "render_scenes"]
