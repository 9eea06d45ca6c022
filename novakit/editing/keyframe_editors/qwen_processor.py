"""Two repairs that Qwen-Image-Edit needs with transformers 5 under diffusers 0.42.

1. Its processor has a part for videos that needs torchvision, which nothing here uses: `PicturesAndText` leaves it out.
2. Since transformers 5 the text encoder places the tokens of a picture in two dimensions only when it is told which
   tokens they are (`mm_token_type_ids`), and diffusers does not tell it: without an error, pictures are read as if
   they were text (huggingface/diffusers issue 14194). `tell_pictures_from_text` adds it. Source: ours.
"""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

from transformers import Qwen2Tokenizer, Qwen2VLImageProcessorPil, Qwen2VLProcessor


class PicturesAndText(Qwen2VLProcessor):
    """Qwen2VLProcessor without videos."""

    def __init__(self, image_processor: Any = None, tokenizer: Any = None):  # transformers reads its parts from here
        super().__init__(image_processor, tokenizer)


def load_processor(folder: Path) -> PicturesAndText:
    """The published processor's pictures and text, from its folder."""
    pictures = Qwen2VLImageProcessorPil.from_pretrained(folder, local_files_only=True)
    return PicturesAndText(pictures, Qwen2Tokenizer.from_pretrained(folder, local_files_only=True))


def tell_pictures_from_text(text_encoder: Any) -> None:
    """Give the text encoder `mm_token_type_ids` whenever it is called with pictures and without them."""
    if "mm_token_type_ids" not in inspect.signature(text_encoder.forward).parameters:
        return  # transformers 4 finds out by itself

    def add(module: Any, args: tuple, given: dict) -> tuple[tuple, dict]:
        if given.get("image_grid_thw") is not None and given.get("mm_token_type_ids") is None:
            given["mm_token_type_ids"] = (given["input_ids"] == module.config.image_token_id).int()
        return args, given

    text_encoder.register_forward_pre_hook(add, with_kwargs=True)
