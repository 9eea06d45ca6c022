"""CLIP and DINOv2 through transformers: weights from a folder or the hub's cache, fetched only when asked for.

Feature: CLIP's projected image embedding; DINOv2's pooler output (the class token). Pictures are made ready as
published: shorter side to the network's size (bicubic, antialiased), the middle cut out, mean and deviation of the
model. So of a wide clip both see the middle square only, as in VBench.

Source: OpenAI's CLIP, Meta's DINOv2; the loading is ours.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from novakit.errors import NovaError
from novakit.evaluation.encoders.protocol import check_frames, unit_length
from novakit.video.probing import reason

_CLIP_LOOK = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
_IMAGENET_LOOK = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
BATCH = 32  # frames a forward pass


@dataclass(frozen=True)
class Published:
    """What a user should know about weights before fetching them, and how to make pictures ready for them."""

    hub_id: str
    model_type: str  # of its config.json
    about: str  # what it is and how large
    look: tuple  # mean and deviation per channel, for pictures in [0, 1]
    resize_ratio: float = 1.0  # shorter side after resizing / side of the square that is cut out


PUBLISHED = {
    "clip-vit-b32": Published(
        "openai/clip-vit-base-patch32", "clip", "CLIP ViT-B/32: 151 million parameters, 0.6 GB", _CLIP_LOOK
    ),
    "clip-vit-l14": Published(
        "openai/clip-vit-large-patch14", "clip", "CLIP ViT-L/14: 428 million parameters, 1.7 GB", _CLIP_LOOK
    ),
    "dinov2-base": Published(
        "facebook/dinov2-base", "dinov2", "DINOv2 base: 87 million parameters, 0.35 GB", _IMAGENET_LOOK, 256 / 224
    ),
}


class PublishedEncoder:
    """A published network as an `Encoder`; `get_encoder` loads it.

    Args:
        name: one of PUBLISHED.
        model: `CLIPModel` or `Dinov2Model`.
        place: folder or hub id, for the tokenizer.
        download: whether a missing tokenizer may be fetched.
    """

    def __init__(self, name: str, model: Any, place: str, download: bool = False):
        self.name, self.model, self.place, self.download = name, model, place, download
        config = getattr(model.config, "vision_config", model.config)
        # DINOv2 was published for 518 px and is used at 224, its processor's size; CLIP at the size of its config
        self.side = config.image_size if PUBLISHED[name].model_type == "clip" else min(config.image_size, 224)

    def ready(self, frames: Tensor) -> Tensor:
        """Frames `(N, 3, H, W)` in [-1, 1] as the network wants them, `(N, 3, side, side)`."""
        about = PUBLISHED[self.name]
        short = round(self.side * about.resize_ratio)
        factor = short / min(frames.shape[2:])
        size = [max(short, int(n * factor)) for n in frames.shape[2:]]
        frames = F.interpolate(frames.float(), size, mode="bicubic", antialias=True).clamp(-1.0, 1.0)
        top, left = ((n - self.side) // 2 for n in size)
        frames = (frames[:, :, top : top + self.side, left : left + self.side] + 1.0) / 2.0
        mean, deviation = (torch.tensor(values, device=frames.device).view(1, 3, 1, 1) for values in about.look)
        return (frames - mean) / deviation

    @torch.no_grad()
    def encode(self, frames: Tensor) -> Tensor:
        """Features `(N, D)` of length 1 of frames `(N, 3, H, W)` in [-1, 1], on the device of the frames."""
        check_frames(frames)
        parts = [self._features(self.ready(part.to(self.model.device))) for part in frames.split(BATCH)]
        return unit_length(torch.cat(parts).float()).to(frames.device)

    def _features(self, pictures: Tensor) -> Tensor:
        pictures = pictures.to(self.model.dtype)
        if PUBLISHED[self.name].model_type == "clip":
            return self.model.visual_projection(self.model.vision_model(pixel_values=pictures).pooler_output)
        return self.model(pixel_values=pictures).pooler_output

    @torch.no_grad()
    def encode_text(self, texts: list[str]) -> Tensor:
        """CLIP's features `(N, D)` of length 1 of texts.

        Raises:
            NovaError: DINOv2, which reads no text, or a missing tokenizer.
        """
        if PUBLISHED[self.name].model_type != "clip":
            raise NovaError(f"{self.name} reads no text. Use clip-vit-b32 or clip-vit-l14.")
        words = self._tokenizer()(texts, padding=True, truncation=True, return_tensors="pt").to(self.model.device)
        pooled = self.model.text_model(**words).pooler_output
        return unit_length(self.model.text_projection(pooled).float())

    def _tokenizer(self) -> Any:
        from transformers import CLIPTokenizer

        try:
            tokenizer = CLIPTokenizer.from_pretrained(self.place, local_files_only=not self.download)
            if "a</w>" not in tokenizer.get_vocab():  # transformers makes an empty one where there are no files
                raise OSError("no vocabulary of CLIP")
        except Exception as error:  # transformers and the hub have no common class
            raise NovaError(
                f"the tokenizer of {self.name} is missing in {self.place}: {reason(error)}. "
                "Put vocab.json and merges.txt (or tokenizer.json) beside the weights."
            ) from error
        return tokenizer

    @property
    def logit_scale(self) -> float:
        """What CLIP multiplies cosines with before a softmax; 100 as published."""
        return float(self.model.logit_scale.exp())


def load_published(
    name: str, folder: str | Path | None = None, device: str = "cpu", download: bool = False
) -> PublishedEncoder:
    """Load a published network. Arguments and errors as `get_encoder`."""
    import transformers

    about = PUBLISHED[name]
    place = str(folder or about.hub_id)
    if folder is not None and Path(folder).is_dir():
        _check_folder(Path(folder), about)
    kind = transformers.CLIPModel if about.model_type == "clip" else transformers.Dinov2Model
    try:
        with _quiet():
            model, info = kind.from_pretrained(place, local_files_only=not download, output_loading_info=True)
    except Exception as error:  # missing, damaged, offline: no common class
        raise NovaError(_missing(name, place, error)) from error
    if info["missing_keys"]:
        first = sorted(info["missing_keys"])[0]
        lacking = f"{place} lacks {len(info['missing_keys'])} tensors of {about.about}, first {first}"
        raise NovaError(f"{lacking}. {_ways(name)}")
    return PublishedEncoder(name, model.eval().requires_grad_(False).to(device), place, download)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without transformers' progress bar and its report on tensors; what is missing is said by NovaError."""
    from transformers.utils import logging

    shown, verbosity = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if shown:
            logging.enable_progress_bar()


def _check_folder(folder: Path, about: Published) -> None:
    """Refuse a folder of another model: transformers would load it and only warn."""
    try:
        kind = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("model_type")
    except (OSError, ValueError, AttributeError) as error:
        raise NovaError(
            f"{folder} holds no readable config.json. Pass a folder like that of {about.hub_id}."
        ) from error
    if kind != about.model_type:
        raise NovaError(f"{folder} holds a model of type {kind!r}; wanted {about.model_type!r}, as in {about.hub_id}.")


def _missing(name: str, place: str, error: BaseException) -> str:
    about = PUBLISHED[name]
    return f"the weights of encoder {name} ({about.about}) cannot be read from {place}: {reason(error)}. {_ways(name)}"


def _ways(name: str) -> str:
    hub_id = PUBLISHED[name].hub_id
    return (
        f'Fetch them with `get_encoder("{name}", download=True)`, pass the folder of a copy of {hub_id}, '
        "or use the embedded encoder, which needs no download."
    )
