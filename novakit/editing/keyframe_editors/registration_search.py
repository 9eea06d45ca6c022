"""How shift and zoom are found: phase correlation on a small picture, then Gauss-Newton up to full size.

Pictures are compared in grey and by their *detail*: tones that vary slowly are taken out first, so that a change of
colour or light is no shift.

1. Coarse, at most `COARSE_SIDE` pixels: for every zoom of `ZOOMS` the masked phase correlation of scikit-image gives
   a shift; the pair that correlates best starts the second stage, and so does "nothing moved" (in a periodic
   texture several shifts fit; the smallest is meant).
2. Fine, at sizes that double up to the full one: the difference d(p) = edit(q(p)) - gain source(p) is linearised in
   the three numbers and solved for, with weights that let go of pixels which the edit changed. Source: ours.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from novakit.video.geometry import Size, resize

IDENTITY = torch.tensor([0.0, 0.0, 1.0])  # shift down, shift right (pixels), zoom: the numbers of this module
COARSE_SIDE = 128  # pixels
ZOOMS = (1.0, 0.98, 1.02, 0.96, 1.04, 0.94, 1.06, 0.92, 1.08, 0.9, 1.1)
GRAIN = 16  # pixels over which slow tones are averaged before they are taken out
BLOCKS = 6  # along each side, in which edit and source are compared at the end
BETTER = 0.03  # by how much a start must correlate better than "nothing moved"
ROUNDS = 12  # Gauss-Newton steps at one size, at most
NOISE = 3e-3  # least noise of a grey value that is believed, in [-1, 1]: about a step of an 8-bit picture
DONE = 0.005  # pixels at the rim: a step below this is the last one


@dataclass(frozen=True)
class Pair:
    """An edited frame and its source, and where they may be compared."""

    edited: Tensor  # (1, H, W) grey
    source: Tensor  # (1, H, W) grey
    weight: Tensor  # (1, H, W) in {0, 1}

    @property
    def size(self) -> Size:
        return tuple(self.source.shape[-2:])

    def detail(self, size: Size | None = None) -> Pair:
        """The pair at another size (H, W), without slow tones."""
        size = size or self.size
        weight = (resize(self.weight, size) > 0.999).float()
        edited, source = (_detail(resize(image, size), weight) for image in (self.edited, self.source))
        return Pair(edited, source, weight)

    def laid_over(self, numbers: Tensor) -> tuple[Tensor, Tensor]:
        """The edit with the numbers undone, and the weight of the pixels that it still shows, each (1, H, W)."""
        image, inside = sample(self.edited, numbers)
        return image, self.weight * inside

    def residual(self, numbers: Tensor) -> float:
        """Mean |edit - gain source| once the numbers are undone."""
        image, weight = self.laid_over(numbers)
        apart = (image - self.gain(image, weight) * self.source).abs()
        return ((apart * weight).sum() / weight.sum().clamp(min=1)).item()

    def gain(self, image: Tensor, weight: Tensor) -> Tensor:
        """The factor that brings the source nearest to an image; 0.1 or more: a reversed contrast is no edit of it."""
        fit = (image * self.source * weight).sum() / (self.source.square() * weight).sum().clamp(min=1e-9)
        return fit.clamp(min=0.1)

    def agreement(self, numbers: Tensor) -> float:
        """Correlation of edit and source once the numbers are undone, -1 to 1."""
        image, weight = self.laid_over(numbers)
        one, other = (_centred(x, weight) for x in (image, self.source))
        return ((one * other).sum() / (one.square().sum() * other.square().sum()).sqrt().clamp(min=1e-9)).item()

    def recognised(self, numbers: Tensor) -> float:
        """Correlation in the better part of `BLOCKS` x `BLOCKS` blocks: its 0.75 quantile, so an edit may spoil half.

        Unrelated photographs reach 0.2, small ones by chance 0.4; an edit in place has 0.8 and more.
        """
        image, weight = self.laid_over(numbers)
        products = torch.stack([image * self.source, image.square(), self.source.square(), torch.ones_like(weight)])
        both, one, other, share = F.adaptive_avg_pool2d((products * weight)[:, 0], BLOCKS).flatten(1)
        counted = (share > 0.1) & (torch.minimum(one, other) > NOISE**2 / 4)
        correlation = both[counted] / (one * other)[counted].sqrt()
        return correlation.quantile(0.75).item() if counted.any() else 0.0

    def spread(self, image: Tensor) -> float:
        """Standard deviation of an image (1, H, W) where it counts."""
        return (_centred(image, self.weight).square().sum() / self.weight.sum().clamp(min=1)).sqrt().item()


def _centred(image: Tensor, weight: Tensor) -> Tensor:
    return (image - (image * weight).sum() / weight.sum().clamp(min=1)) * weight


def _detail(image: Tensor, weight: Tensor) -> Tensor:
    """An image (1, H, W) minus its weighted mean over about `GRAIN` pixels."""
    size = tuple(image.shape[-2:])
    few = tuple(max(2, round(side / GRAIN)) for side in size)
    total, count = (resize(resize(x, few), size) for x in (image * weight, weight))
    return (image - total / count.clamp(min=1e-3)) * weight


def offsets(size: Size) -> tuple[Tensor, Tensor]:
    """p - c along both axes: (H, 1) and (1, W), in pixels."""
    down, right = (torch.arange(side, dtype=torch.float32) - (side - 1) / 2 for side in size)
    return down[:, None], right[None]


def sample(image: Tensor, numbers: Tensor, padding: str = "zeros") -> tuple[Tensor, Tensor]:
    """Undo shift and zoom: read the image at q = c + zoom (p - c) + shift, bicubic.

    Args:
        image: (C, H, W).
        numbers: (3,) shift down, shift right, zoom.
        padding: "zeros" or "border", for points outside the image.

    Returns:
        (C, H, W), and (1, H, W) in {0, 1}: 1 where q lies in the image.
    """
    size = tuple(image.shape[-2:])
    down, right = (numbers[2] * p + shift for p, shift in zip(offsets(size), numbers))
    down, right = (q * 2 / max(side - 1, 1) for q, side in zip((down, right), size))  # corner pixels are at -1 and 1
    grid = torch.stack(torch.broadcast_tensors(right, down), dim=-1)[None].to(image)  # (1, H, W, 2)
    read = F.grid_sample(image[None], grid, mode="bicubic", padding_mode=padding, align_corners=True)[0]
    return read, (grid.abs().amax(-1) <= 1).to(image)


def search(pair: Pair) -> tuple[Tensor, Tensor]:
    """Shift down, shift right and zoom of a pair (3,), and their standard errors in pixels at the rim (3,)."""
    sizes = _sizes(pair.size)
    numbers, error = _start(pair.detail(sizes[0])), None
    for last, size in zip([sizes[0], *sizes], sizes):
        numbers = numbers * torch.tensor([size[0] / last[0], size[1] / last[1], 1.0])
        numbers, error = _refine(pair.detail(size), numbers)
    return numbers, error


def _sizes(size: Size) -> list[Size]:
    """Sizes from coarse to full, each about twice the one before."""
    sizes = [size]
    while max(sizes[0]) > COARSE_SIDE:
        sizes.insert(0, tuple(max(16, round(side / 2)) for side in sizes[0]))
    return sizes


def _start(detail: Pair) -> Tensor:
    """The better of "nothing moved" and the best phase correlation, refined (3,)."""
    best = max((_correlate(detail, zoom) for zoom in ZOOMS), key=detail.agreement)
    still, moved = (_refine(detail, numbers)[0] for numbers in (IDENTITY, best))
    return moved if detail.agreement(moved) > detail.agreement(still) + BETTER else still


def _correlate(detail: Pair, zoom: float) -> Tensor:
    """The numbers that masked phase correlation finds at one zoom."""
    from skimage.registration import phase_cross_correlation

    image, weight = detail.laid_over(torch.tensor([0.0, 0.0, zoom]))
    shift, _, _ = phase_cross_correlation(
        detail.source[0].numpy(),
        (image * weight)[0].numpy(),
        reference_mask=(detail.weight[0] > 0).numpy(),
        moving_mask=(weight[0] > 0).numpy(),
        overlap_ratio=0.6,
    )
    return torch.tensor([-shift[0] * zoom, -shift[1] * zoom, zoom], dtype=torch.float32)


def _refine(detail: Pair, numbers: Tensor) -> tuple[Tensor, Tensor]:
    """Gauss-Newton from given numbers: the numbers at its end, and their standard errors in pixels at the rim."""
    reach = torch.tensor([1.0, 1.0, max(detail.size) / 2])  # numbers -> pixels at the rim
    unit = torch.eye(3, dtype=torch.float64)
    for _ in range(ROUNDS):
        slopes, difference, weight = _linearise(detail, numbers)
        slopes = slopes / reach  # (N, 3), per pixel at the rim
        normal = (slopes * weight[:, None]).T @ slopes + 1e-9 * unit  # (3, 3)
        damped = normal + 1e-6 * normal.trace() * unit  # no step where nothing pulls
        step = torch.linalg.solve(damped, slopes.T @ (weight * difference))
        numbers = numbers - (step / reach).float()
        if step.abs().max() < DONE:
            break
    variance = ((weight * difference.square()).sum() / weight.sum().clamp(min=1)).clamp(min=NOISE**2)
    return numbers, (torch.linalg.inv(normal).diagonal().clamp(min=0) * variance).sqrt()


def _linearise(detail: Pair, numbers: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """What one step is solved from: slopes (N, 3), difference (N,) and weight (N,) of N = H * W pixels, float64."""
    image, inside = detail.laid_over(numbers)
    expected = detail.gain(image, inside) * detail.source
    down, right = torch.gradient((image + expected)[0] / 2)  # of the mean of both: a step of second order
    along = [p * slope for p, slope in zip(offsets(detail.size), (down, right))]
    slopes = torch.stack([down, right, along[0] + along[1]], dim=-1).reshape(-1, 3)  # (N, 3)
    difference = (image - expected).reshape(-1)
    return slopes.double(), difference.double(), _trust(slopes, difference, inside.reshape(-1)).double()


def _trust(slopes: Tensor, difference: Tensor, inside: Tensor) -> Tensor:
    """Weights (N,) that fall with the difference, measured by its median where there is texture."""
    steep = slopes[:, :2].square().sum(-1)
    textured = (steep >= steep.mean()) & (inside > 0)
    typical = difference[textured].abs().median().clamp(min=1e-4) if textured.any() else torch.tensor(1.0)
    return inside / (1 + (difference / (2.0 * typical)).square()).square()
