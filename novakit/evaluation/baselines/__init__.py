"""Baselines: the idea of each on the same base, one small file each."""

from novakit.evaluation.baselines.vace_multiframe import vace_multiframe

__all__ = ["vace_multiframe"]
