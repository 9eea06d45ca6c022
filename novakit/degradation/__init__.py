"""Degradation simulation: how one clean clip becomes a training pair.

Anchored control (eq. 2, keyframes.py) spoils sparse keyframes inside random regions b_k and interpolates
them to the control sequence; source fidelity (eq. 3, source.py) pastes moving patches of another clip under
masks m_t. The two are drawn independently of each other. The model must then recover the clean clip.
"""

from .augment import OPERATIONS, Augmented, AugmentLimits, augment
from .cut_outs import from_elsewhere, other_colours, paste_matte, widen
from .keyframes import (
    AnchoredControl,
    AnchoredControlConfig,
    Degradation,
    anchored_control,
    check_indices,
    interpolate_keyframes,
    sample_keyframe_indices,
)
from .regions import RegionConfig, Regions, random_regions
from .shapes import SHAPE_KINDS, SILHOUETTES
from .source import CutAndPasteConfig, PseudoSource, cut_and_paste

__all__ = [
    "OPERATIONS",
    "SHAPE_KINDS",
    "SILHOUETTES",
    "AnchoredControl",
    "AnchoredControlConfig",
    "AugmentLimits",
    "Augmented",
    "CutAndPasteConfig",
    "Degradation",
    "PseudoSource",
    "RegionConfig",
    "Regions",
    "anchored_control",
    "augment",
    "check_indices",
    "cut_and_paste",
    "from_elsewhere",
    "interpolate_keyframes",
    "other_colours",
    "paste_matte",
    "random_regions",
    "sample_keyframe_indices",
    "widen",
]
