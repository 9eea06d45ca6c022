"""One place that knows every encoder by name."""

from __future__ import annotations

from pathlib import Path

from novakit.errors import NovaError
from novakit.evaluation.encoders.embedded import EmbeddedEncoder
from novakit.evaluation.encoders.protocol import Encoder
from novakit.evaluation.encoders.published import PUBLISHED, load_published

ENCODERS = ("embedded", *PUBLISHED)


def get_encoder(
    name: str = "embedded", folder: str | Path | None = None, device: str = "cpu", download: bool = False
) -> Encoder:
    """An encoder, ready to encode.

    Args:
        name: "embedded" (needs nothing), "clip-vit-b32", "clip-vit-l14" or "dinov2-base".
        folder: the published weights on disk (config.json, model.safetensors ...), or a hub id; None = the hub id of
            `name`, looked up in the hub's cache.
        device: where the network runs.
        download: True = fetch missing weights from the hub.

    Returns:
        An `Encoder`.

    Raises:
        NovaError: unknown name, missing or damaged weights; names model and size, and offers the embedded encoder.

    Source: ours; the networks are OpenAI's CLIP and Meta's DINOv2 through transformers.
    """
    if name not in ENCODERS:
        raise NovaError(f"There is no encoder {name!r}; the encoders are: {', '.join(ENCODERS)}.")
    if name != "embedded":
        return load_published(name, folder, device, download)
    if folder is not None:
        raise NovaError(f"the embedded encoder has no weights, but the folder {folder} was given. Leave it out.")
    return EmbeddedEncoder()
