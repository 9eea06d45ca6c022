"""Where an editor put the frame: shift and zoom of an edited frame against its source, measured and undone.

Editors that work near one megapixel return the frame a few pixels off or a few percent larger; in a clip such edits
swim. The model: the edit shows the source's point p at

    q = c + zoom (p - c) + shift          c: the centre of the frame

`registration_search` finds the three numbers on the pixels outside the mask. What cannot be measured (no texture, an
edit that shows something else) is left as it came, with a notice. Source: ours.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from novakit.editing.inputs import notice
from novakit.editing.keyframe_editors.registration_search import IDENTITY, Pair, sample, search
from novakit.errors import NovaError
from novakit.video.geometry import Size

MARGIN = 0.02  # share of the longer side by which the mask is grown: a shifted edit looks out of its mask
MIN_SIDE, MIN_PIXELS = 16, 256  # of a frame, and outside its mask: below this nothing is measured
MIN_TEXTURE = 2e-3  # standard deviation of the detail, in [-1, 1]: half a step of an 8-bit picture
MIN_AGREEMENT = 0.55  # correlation with the source once undone, in the better blocks (`Pair.recognised`)
MAX_ERROR = 0.5  # pixels: largest standard error of where the rim of the frame lies
LARGEST_SHIFT, LARGEST_ZOOM = 0.12, 0.12  # share of the side, and |zoom - 1|: beyond this it is no editor's slip
NEGLIGIBLE = 0.05  # pixels at the corner of the frame: below this an edit is not resampled


@dataclass(frozen=True)
class Registration:
    """How an edited frame lay against its source, and what was left after undoing it."""

    shift: tuple[float, float] = (0.0, 0.0)  # (down, right) in pixels: where the centre of the source went
    zoom: float = 1.0  # 1.02 = the edit shows everything 2 % larger
    residual_before: float = 0.0  # mean difference to the source in grey detail (0 to 2), outside the mask
    residual_after: float = 0.0  # the same once undone; without a mask the edit itself counts in both
    measured: bool = True  # False: nothing could be measured, the edit was left as it came

    def __str__(self) -> str:
        if not self.measured:
            return "shift and zoom not measured"
        down, right = self.shift
        return f"shift {down:+.1f} {right:+.1f} px, zoom {self.zoom:.3f} undone, rest {self.residual_after:.3f}"

    def corner(self, size: Size) -> float:
        """How far the farthest corner of a frame (H, W) was moved, in pixels."""
        down, right = (abs(s) + abs(self.zoom - 1) * side / 2 for s, side in zip(self.shift, size))
        return (down**2 + right**2) ** 0.5

    def at(self, own: Size, other: Size) -> Registration:
        """The same registration in pixels of another size (H, W) of the same frame."""
        return replace(self, shift=tuple(s * new / old for s, old, new in zip(self.shift, own, other)))


def register(edited: Tensor, source: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Registration]:
    """Measure shift and zoom of an edited frame against its source, and undo them.

    Args:
        edited: (3, H, W) in [-1, 1].
        source: (3, H, W) in [-1, 1], the frame before the edit.
        mask: (1, H, W) in {0, 1}, 1 where the edit may differ; None = measure on all pixels, robustly.

    Returns:
        The edit (3, H, W) laid over the source, and its `Registration` in pixels of this size.

    Raises:
        NovaError: edit, source and mask have different sizes.
    """
    found = measure(edited, source, mask)
    return undo(edited, found, source), found


def measure(edited: Tensor, source: Tensor, mask: Tensor | None = None) -> Registration:
    """The measurement alone; arguments as in `register`. A notice says why when nothing could be measured."""
    pair = _pair(edited, source, mask)
    detail = pair.detail()
    before, reason = detail.residual(IDENTITY), _too_little(pair, detail)
    if not reason:
        numbers, error = search(pair)
        found = Registration(tuple(numbers[:2].tolist()), numbers[2].item(), before, detail.residual(numbers))
        reason = _doubt(found, error, detail.recognised(numbers), pair.size)
    if reason:
        notice(f"the edited frame was not registered to its source: {reason}.")
        return Registration(residual_before=before, residual_after=before, measured=False)
    return found


def undo(edited: Tensor, found: Registration, source: Tensor) -> Tensor:
    """Take shift and zoom out of a frame by bicubic sampling.

    Args:
        edited: (3, H, W) in [-1, 1].
        found: registration in pixels of this size.
        source: (3, H, W) in [-1, 1]; it fills the rim that the edit no longer shows, in the edit's tones.

    Returns:
        (3, H, W) in [-1, 1]; `edited` itself when it lies in place.
    """
    if found.corner(edited.shape[-2:]) < NEGLIGIBLE:
        return edited
    straight, shown = sample(edited, torch.tensor([*found.shift, found.zoom]), padding="border")
    return torch.where(shown > 0, straight, _in_tones_of(straight, source, shown)).clamp(-1, 1)


def _in_tones_of(edited: Tensor, source: Tensor, shown: Tensor) -> Tensor:
    """The source with contrast and brightness of each channel as in the edit, near the rim.

    Args:
        edited, source: (3, H, W).
        shown: (1, H, W) in {0, 1}: where `edited` counts.
    """
    band = [max(1, side // 8) for side in shown.shape[1:]]
    near = shown.clone()
    near[:, band[0] : -band[0], band[1] : -band[1]] = 0
    means = [(image * near).sum((1, 2), keepdim=True) / near.sum().clamp(min=1) for image in (edited, source)]
    one, other = ((image - mean) * near for image, mean in zip((edited, source), means))
    gain = (one * other).sum((1, 2), keepdim=True) / other.square().sum((1, 2), keepdim=True).clamp(min=1e-6)
    return means[0] + gain.clamp(0.5, 2.0) * (source - means[1])


def _pair(edited: Tensor, source: Tensor, mask: Tensor | None) -> Pair:
    """Grey pictures (1, H, W) and the weight of every pixel: 0 on the mask, grown by `MARGIN`."""
    sizes = {tuple(image.shape[-2:]) for image in (edited, source, mask) if image is not None}
    if len(sizes) > 1:
        raise NovaError(f"edit, source and mask have the sizes (H, W) {sorted(sizes)}; wanted one. Resize them.")
    weight = torch.ones_like(source[:1])
    if mask is not None:
        margin = max(1, round(MARGIN * max(source.shape[-2:])))
        weight = 1 - F.max_pool2d(mask[None].float(), 2 * margin + 1, stride=1, padding=margin)[0]  # (1, H, W)
    return Pair(edited.float().mean(0, keepdim=True), source.float().mean(0, keepdim=True), weight)


def _too_little(pair: Pair, detail: Pair) -> str:
    """Why there is nothing to measure on; "" = there is."""
    if min(pair.size) < MIN_SIDE or pair.weight.sum() < MIN_PIXELS:
        return "too few pixels lie outside the mask"
    if not (pair.source.isfinite().all() and pair.edited.isfinite().all()):
        return "it holds NaN or infinite values"
    if min(detail.spread(detail.source), detail.spread(detail.edited)) < MIN_TEXTURE:
        return "there is no texture outside the mask to measure by"
    return ""


def _doubt(found: Registration, error: Tensor, agreement: float, size: Size) -> str:
    """Why a measurement is not believed; "" = it is.

    Args:
        found: the measurement.
        error: (3,) standard errors of shift down, shift right and zoom, in pixels at the rim.
        agreement: how far the source is recognised in the edit once undone, -1 to 1.
        size: (H, W).
    """
    if not (error[:2].max() + error[2]).item() <= MAX_ERROR:  # NaN is not believed either
        return "the texture outside the mask is too poor to measure by"
    if agreement < MIN_AGREEMENT:
        return "what it shows outside the mask is not the source"
    share = max(abs(shift) / side for shift, side in zip(found.shift, size))
    if share > LARGEST_SHIFT or abs(found.zoom - 1) > LARGEST_ZOOM:
        return "no shift and zoom of a few percent lays it over the source"
    return ""
