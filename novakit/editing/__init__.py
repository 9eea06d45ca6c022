"""Keyframe-guided editing: the pipeline and the command behind `novakit edit`."""

from novakit.editing.pipeline import NovaEditOutput, NovaEditPipeline

__all__ = ["NovaEditOutput", "NovaEditPipeline"]
