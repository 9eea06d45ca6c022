"""The paper's six metrics, each with its recipe, and what the nano world's truth adds to them (`truth.py`)."""

from novakit.evaluation.metrics.background import background_region, background_ssim, background_ssim_zeroed
from novakit.evaluation.metrics.consistency import (
    background_consistency,
    clip_features,
    frame_consistency,
    temporal_consistency,
)
from novakit.evaluation.metrics.human import human_success, human_success_rate, read_ratings
from novakit.evaluation.metrics.interpolators import amt_interpolator, matched_midpoint, mean_midpoint
from novakit.evaluation.metrics.preference import clip_preference
from novakit.evaluation.metrics.smoothness import motion_smoothness
from novakit.evaluation.metrics.success import edit_success
from novakit.evaluation.metrics.suite import METRICS, measure_clips, metric_labels
from novakit.evaluation.metrics.truth import flicker, region_mean, region_psnr, region_ssim, ssim_map, trace_of

__all__ = [
    "METRICS",
    "amt_interpolator",
    "background_consistency",
    "background_region",
    "background_ssim",
    "background_ssim_zeroed",
    "clip_features",
    "clip_preference",
    "edit_success",
    "flicker",
    "frame_consistency",
    "human_success",
    "human_success_rate",
    "matched_midpoint",
    "mean_midpoint",
    "measure_clips",
    "metric_labels",
    "motion_smoothness",
    "read_ratings",
    "region_mean",
    "region_psnr",
    "region_ssim",
    "ssim_map",
    "temporal_consistency",
    "trace_of",
]
