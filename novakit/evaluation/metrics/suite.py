"""The six metrics of the paper's tables, each labelled with the encoder and the pairing that made it.

Source: names from the paper; recipes from public code, since the paper's are not public (see each function).
"""

from __future__ import annotations

from torch import Tensor

from novakit.evaluation.encoders.protocol import Encoder
from novakit.evaluation.metrics.background import DILATION, background_ssim
from novakit.evaluation.metrics.clip_checks import check_all
from novakit.evaluation.metrics.consistency import (
    PAIRINGS,
    background_consistency,
    clip_features,
    frame_consistency,
    temporal_consistency,
)
from novakit.evaluation.metrics.interpolators import matched_midpoint
from novakit.evaluation.metrics.smoothness import (
    FEWEST_FRAMES,
    Interpolator,
    interpolator_name,
    motion_smoothness,
)
from novakit.evaluation.metrics.success import KEPT, MARGIN, edit_success

METRICS = ("SR", "TC", "FC", "BG-SSIM", "MS", "BC")


def measure_clips(
    output: Tensor,
    source: Tensor,
    mask: Tensor,
    encoder: Encoder,
    truth: Tensor | None = None,
    *,
    interpolator: Interpolator = matched_midpoint,
    dilation: int = DILATION,
) -> dict[str, Tensor]:
    """All six metrics of a batch of edited clips. Nothing is post-processed, and no mask reaches an encoder.

    Args:
        output: the edited clips `(B, 3, T, H, W)` in [-1, 1], T >= 3.
        source: the source clips.
        mask: `(B, 1, T, H, W)` in {0, 1}, 1 where content changes.
        encoder: of `get_encoder`.
        truth: the true edits, for SR.
        interpolator: of MS, see `motion_smoothness`.
        dilation: of BG-SSIM, pixels.

    Returns:
        {name: `(B,)`} for METRICS, larger is better. NaN, and only these: SR without a truth (see `clip_preference`
        and `human_success`), with an empty mask, or with nothing edited inside it; BG-SSIM of a mask that covers
        everything.

    Raises:
        NovaError: clips of different number, length or size, NaN, another range than [-1, 1], no mask.
    """
    check_all(output, source, mask, truth, FEWEST_FRAMES)
    features = clip_features(output, encoder)
    background = background_ssim(output, source, mask, dilation)
    success = background * float("nan")
    if truth is not None:
        success = edit_success(output, source, mask, truth, background=background)
    return {
        "SR": success,
        "TC": temporal_consistency(features),
        "FC": frame_consistency(features),
        "BG-SSIM": background,
        "MS": motion_smoothness(output, interpolator),
        "BC": background_consistency(features),
    }


def metric_labels(
    encoder: Encoder | str, *, interpolator: Interpolator = matched_midpoint, dilation: int = DILATION
) -> dict[str, str]:
    """The label of every metric, with the recipe in brackets: `TC[embedded, adjacent]`. Arguments as `measure_clips`.

    Args:
        encoder: or its name.
    """
    name = encoder if isinstance(encoder, str) else encoder.name
    recipes = {key: f"{name}, {pairing}" for key, pairing in PAIRINGS.items()}
    recipes["SR"] = f"truth nearer by {MARGIN:.0%}, BG-SSIM >= {KEPT:g}"
    recipes["BG-SSIM"] = f"outside the mask + {dilation} px"
    recipes["MS"] = interpolator_name(interpolator)
    return {metric: f"{metric}[{recipes[metric]}]" for metric in METRICS}
