"""What a user hands to the pipeline, checked and turned into tensors, before anything is computed."""

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from novakit.degradation.keyframes import interpolate_keyframes
from novakit.errors import NovaError, NovaNotice
from novakit.video.geometry import resize, same_aspect
from novakit.video.keyframe_files import is_transparent, on_black

Keyframes = Mapping[int, Any] | Iterable[tuple[int, Any]]


def notice(text: str) -> None:
    """Say what was adapted, through `warnings`."""
    warnings.warn(text, NovaNotice, stacklevel=2)


@dataclass(frozen=True)
class EditInputs:
    """Checked inputs of one call; B is the batch size, S is B or 1 (several edits of one source)."""

    source: Tensor  # (S, 3, T, H, W) in [-1, 1]
    control: Tensor  # control sequence r, (B, 3, T, H, W)
    indices: tuple[tuple[int, ...], ...]  # keyframe indices of every edit
    mask: Tensor | None  # (S or 1, 1, T, H, W), kept for post-processing and scoring only


def prepare_inputs(source: Any, keyframes: Keyframes | Sequence[Keyframes], mask: Any = None) -> EditInputs:
    """Check a source, its keyframes and a mask, and interpolate the keyframes into the control sequence.

    Args:
        source: see `as_clip`.
        keyframes: frame index -> edited frame, a PIL image, an array (H, W, 3) of uint8, or a tensor (3, H,
            W) in [-1, 1], (B, 3, H, W) for a batch; or a list of such dicts, one per edit.
        mask: (S or 1, 1, T, H, W) or None.

    Raises:
        NovaError: anything that does not fit; the message says what to do.
    """
    clip = as_clip(source)
    edits = [_control_of(edit, clip) for edit in split_batch(keyframes, len(clip))]
    control = torch.stack([control for control, _ in edits])  # (B, 3, T, H, W)
    return EditInputs(clip, control, tuple(indices for _, indices in edits), check_mask(mask, clip))


def as_clip(source: Any) -> Tensor:
    """A clip tensor (S, 3, T, H, W), float32 in [-1, 1].

    Args:
        source: clip (S, 3, T, H, W) or (3, T, H, W) in [-1, 1]; a novakit Clip; a list of PIL images; or an
            array (T, H, W, 3) of uint8.

    Raises:
        NovaError: another type, shape or mixed sizes, NaN or infinite values, or values outside [-1, 1].
    """
    clip = getattr(source, "frames", source)
    if isinstance(clip, np.ndarray) and (clip.dtype != np.uint8 or clip.ndim != 4 or 0 in clip.shape):
        raise NovaError(f"source is an array {clip.shape} of {clip.dtype}; wanted uint8 (T, H, W, 3), or a tensor.")
    if isinstance(clip, list | tuple | np.ndarray) and len(clip):
        clip = _stack_frames([image_to_tensor(image, f"source frame {i}") for i, image in enumerate(clip)])
    if not isinstance(clip, Tensor):
        raise NovaError(f"source is {type(source).__name__}; wanted a clip tensor, a Clip or a list of PIL images.")
    clip = clip[None] if clip.ndim == 4 else clip
    if clip.ndim != 5 or clip.shape[1] != 3 or 0 in clip.shape:
        raise NovaError(f"source has shape {tuple(clip.shape)}; wanted (B, 3, T, H, W). Add or move the axes.")
    return check_values(clip.float(), "source")


def _stack_frames(frames: list[Tensor]) -> Tensor:
    """T frames (3, H, W) as (3, T, H, W); they must have one size."""
    odd = next((i for i, frame in enumerate(frames) if frame.shape != frames[0].shape), None)
    if odd is not None:
        sizes = [f"{frame.shape[2]}x{frame.shape[1]}" for frame in (frames[0], frames[odd])]
        raise NovaError(f"source frame 0 is {sizes[0]} pixels, frame {odd} {sizes[1]}; wanted one size. Resize them.")
    return torch.stack(frames, dim=1)


def check_values(pixels: Tensor, what: str) -> Tensor:
    """Refuse NaN, infinity and values outside [-1, 1] (a tolerance of 0.05 is clamped)."""
    bad = int((~pixels.isfinite()).sum())
    if bad:
        raise NovaError(f"{what} holds {bad} NaN or infinite values of {pixels.numel()}; replace them first.")
    low, high = pixels.min().item(), pixels.max().item()
    if low < -1.05 or high > 1.05:
        raise NovaError(f"{what} has values from {low:.4g} to {high:.4g}; wanted [-1, 1]. Use x / 127.5 - 1 for bytes.")
    return pixels.clamp(-1, 1)


def image_to_tensor(image: Any, what: str) -> Tensor:
    """A PIL image, uint8 array (H, W, 3) or tensor (3, H, W) in [-1, 1] as (3, H, W) float32 in [-1, 1].

    Raises:
        NovaError: something else, an image that cannot be decoded, or values outside [-1, 1].
    """
    if isinstance(image, Tensor):
        if image.ndim != 3 or image.shape[0] != 3 or 0 in image.shape:
            raise NovaError(f"{what} has shape {tuple(image.shape)}; wanted (3, H, W). Move the channels to the front.")
        return check_values(image.float(), what)
    pixels = _pil_pixels(image, what) if isinstance(image, Image.Image) else image
    is_picture = isinstance(pixels, np.ndarray) and pixels.dtype == np.uint8 and pixels.ndim == 3
    if not is_picture or pixels.shape[2] != 3 or 0 in pixels.shape:
        raise NovaError(f"{what} is {type(image).__name__}; wanted a PIL image, a tensor or uint8 (H, W, 3).")
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1).float() / 127.5 - 1  # (3, H, W)


def _pil_pixels(image: Image.Image, what: str) -> np.ndarray:
    """uint8 (H, W, 3); transparency is laid on black, as in files, and said."""
    try:
        if not is_transparent(image):
            return np.array(image.convert("RGB"))
        picture = on_black(image)
    except OSError as error:  # Pillow decodes only now
        raise NovaError(f"{what} cannot be decoded: {error}. Save it again.") from error
    notice(f"{what} is transparent in places: these were laid on black.")
    return picture


def split_batch(keyframes: Keyframes | Sequence[Keyframes], num_sources: int) -> list[dict[int, Any]]:
    """Keyframes of every edit of the batch, as one dict each.

    Raises:
        NovaError: the number of edits does not go with the number of sources.
    """
    if isinstance(keyframes, list | tuple) and any(isinstance(edit, Mapping) for edit in keyframes):
        edits = [_as_dict(edit) for edit in keyframes]
    else:
        shared = _as_dict(keyframes)
        sizes = {len(image) for image in shared.values() if _is_batch(image)}
        batch = max(sizes | {num_sources})
        if sizes - {batch}:
            raise NovaError(
                f"keyframes hold batches of {sorted(sizes)} images for {num_sources} sources; pass as many."
            )
        edits = [{k: image[i] if _is_batch(image) else image for k, image in shared.items()} for i in range(batch)]
    if num_sources not in (1, len(edits)):
        raise NovaError(f"{num_sources} sources and keyframes of {len(edits)} edits; pass as many, or one source.")
    return edits


def _is_batch(image: Any) -> bool:
    return isinstance(image, Tensor) and image.ndim == 4


def _as_dict(keyframes: Keyframes) -> dict[int, Any]:
    """Index -> image, from a dict or pairs; refuses what is no index, comes twice, or is not there."""
    found: dict[int, Any] = {}
    for index, image in _pairs(keyframes):
        if isinstance(index, bool) or not isinstance(index, int | np.integer):
            raise NovaError(f"keyframe index {index!r} is {type(index).__name__}; wanted an int, the frame's number.")
        if int(index) in found:
            raise NovaError(f"keyframe {index} was given twice; keep one of the two images.")
        found[int(index)] = image
    if not found:
        raise NovaError("no keyframe was given; NOVA spreads edited keyframes. Pass keyframes={0: image, 8: image}.")
    return dict(sorted(found.items()))


def _pairs(keyframes: Any) -> list[tuple[Any, Any]]:
    """(index, image) of every keyframe; refuses what is neither a dict nor pairs."""
    if keyframes is None or isinstance(keyframes, Mapping):
        return list((keyframes or {}).items())
    is_list = isinstance(keyframes, Iterable) and not isinstance(keyframes, str | Tensor | np.ndarray)
    pairs = list(keyframes) if is_list else [keyframes]
    strange = [pair for pair in pairs if not isinstance(pair, list | tuple) or len(pair) != 2]
    if strange:
        came = f"{type(keyframes).__name__} with {type(strange[0]).__name__}" if is_list else type(keyframes).__name__
        raise NovaError(
            f"keyframes are {came}; wanted a dict from frame index to image. Pass e.g. {{0: image, 8: image}}."
        )
    return pairs


def _control_of(edit: dict[int, Any], clip: Tensor) -> tuple[Tensor, tuple[int, ...]]:
    """Control sequence (3, T, H, W) of one edit: its keyframes, interpolated; and their indices."""
    num_frames, size = clip.shape[2], tuple(clip.shape[3:])
    outside = [index for index in edit if not 0 <= index < num_frames]
    if outside:
        raise NovaError(
            f"keyframe index {outside[0]} lies outside the clip of {num_frames} frames "
            f"(0..{num_frames - 1}). Rename the keyframe, or pass a longer clip."
        )
    images = [fit_image(image_to_tensor(image, f"keyframe {k}"), size, f"keyframe {k}") for k, image in edit.items()]
    stacked = torch.stack(images, dim=1)[None].to(clip.device)  # (1, 3, K, H, W)
    return interpolate_keyframes(stacked, list(edit), num_frames)[0], tuple(edit)


def fit_image(image: Tensor, size: tuple[int, int], what: str) -> Tensor:
    """Resize (C, H, W) to the clip's size with a notice when the aspect agrees; refuse it when not."""
    own = tuple(image.shape[-2:])
    if own == size:
        return image
    if not same_aspect(own, size):
        raise NovaError(
            f"{what} is {own[1]}x{own[0]} pixels, the clip {size[1]}x{size[0]}: another aspect. "
            f"Crop or redraw it as {size[1]}x{size[0]}."
        )
    notice(f"{what} resized from {own[1]}x{own[0]} to the clip's {size[1]}x{size[0]} pixels.")
    return resize(image, size)


def check_mask(mask: Any, clip: Tensor) -> Tensor | None:
    """A mask (S or 1, 1, T, H, W) in {0, 1} of the clip's length and size, or None.

    Raises:
        NovaError: no tensor, another shape or aspect, NaN or infinite values.
    """
    mask = getattr(mask, "frames", mask)
    if mask is None:
        return None
    if not isinstance(mask, Tensor):
        raise NovaError(
            f"mask is {type(mask).__name__}; wanted a tensor (1, 1, T, H, W). Read files with novakit.video.read_mask."
        )
    num_frames, size = clip.shape[2], tuple(clip.shape[3:])
    if mask.ndim != 5 or mask.shape[1] != 1 or mask.shape[2] != num_frames or len(mask) not in (1, len(clip)):
        raise NovaError(
            f"mask has shape {tuple(mask.shape)}; wanted ({len(clip)}, 1, {num_frames}, "
            f"{size[0]}, {size[1]}). Read it with novakit.video.read_mask."
        )
    if not mask.isfinite().all():
        raise NovaError("mask holds NaN or infinite values; wanted 1 where content changes, else 0. Replace them.")
    own = tuple(mask.shape[3:])
    if own != size and not same_aspect(own, size):
        raise NovaError(
            f"mask is {own[1]}x{own[0]} pixels, the clip {size[1]}x{size[0]}: another aspect. Crop the mask."
        )
    if own != size:
        notice(f"mask resized from {own[1]}x{own[0]} to the clip's {size[1]}x{size[0]} pixels.")
        mask = F.interpolate(mask.float(), size=(num_frames, *size), mode="nearest-exact")
    return (mask > 0.5).to(torch.float32).to(clip.device)
