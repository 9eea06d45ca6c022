"""Encoders of frames behind one protocol: an embedded one that needs no download, CLIP and DINOv2."""

from novakit.evaluation.encoders.choose import ENCODERS, get_encoder
from novakit.evaluation.encoders.embedded import EmbeddedEncoder
from novakit.evaluation.encoders.protocol import Encoder

__all__ = ["ENCODERS", "EmbeddedEncoder", "Encoder", "get_encoder"]
