"""Prompts read through a cache on disk: the text encoder (11 GB) is loaded only for a prompt that was never read here.

Source: Wan 2.1 (the states); the cache is ours.
"""

import gc
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from novakit.editing.inputs import notice
from novakit.editing.text import MAX_TOKENS, clean, encode_prompt
from novakit.errors import NovaError
from novakit.files import atomic_path
from novakit.models.weights_files import first_line, weight_files
from novakit.paths import build

ENCODER_WEIGHTS = "model.safetensors"  # transformers' name
ADVICE = "Fetch the text encoder of the base again."


class PromptReader:
    """Reads prompts through a cache on disk; loads the text encoder for those that are new, then drops it again.

    Args:
        folder: text_encoder/ and tokenizer/ as transformers has them.
        dtype: precision of the encoder.
        cache: folder of the kept states; None = `prompts/` in novakit's build folder.
    """

    def __init__(self, folder: Path, dtype: torch.dtype, cache: Path | None = None) -> None:
        self.folder, self.dtype, self.cache = Path(folder), dtype, cache or build() / "prompts"
        self._known: dict[str, Tensor] = {}  # name of the cache entry -> states (L, text_dim), L tokens of the prompt
        self._encoder_print: str | None = None

    def read(self, prompts: list[str], device: torch.device) -> Tensor:
        """Text tokens (B, 512, text_dim) on the CPU, zero behind each prompt's end.

        Args:
            prompts: B texts; "" is one too.
            device: where the encoder runs if it has to.

        Raises:
            NovaError: the encoder is missing or damaged, and a prompt is new.
        """
        names = [self._name(clean(prompt)) for prompt in prompts]
        for name in {*names} - self._known.keys():
            self._recall(name)
        new = {name: prompt for name, prompt in zip(names, prompts, strict=True) if name not in self._known}
        if new:
            self._encode(new, device)
        states = [self._known[name] for name in names]  # each (L, text_dim)
        return torch.stack([torch.nn.functional.pad(each, (0, 0, 0, MAX_TOKENS - len(each))) for each in states])

    @property
    def fingerprint(self) -> str:
        """SHA-256 (16 hex digits) of the tokenizer's files and of the first numbers of every tensor of the encoder."""
        if self._encoder_print is None:
            digest = hashlib.sha256()
            for file in sorted(file for file in (self.folder / "tokenizer").iterdir() if file.is_file()):
                digest.update(file.name.encode() + file.read_bytes())
            for name, numbers in sorted(_first_numbers(self.folder / "text_encoder")):
                digest.update(name.encode() + numbers)
            self._encoder_print = digest.hexdigest()[:16]
        return self._encoder_print

    def _name(self, prompt: str) -> str:
        """Name of a cache entry: it changes with the encoder, the prompt, its longest length and the precision."""
        about = json.dumps([self.fingerprint, prompt, MAX_TOKENS, str(self.dtype)])
        return hashlib.sha256(about.encode()).hexdigest()[:32]

    def _recall(self, name: str) -> None:
        """Read an entry from disk; one that is missing or damaged is as if it were not there."""
        from safetensors.torch import load_file

        path = self.cache / f"{name}.safetensors"
        try:
            states = load_file(str(path))["states"]
        except Exception:  # not there, cut off, no right to read: the prompt is encoded again
            return
        if states.ndim == 2 and 0 < len(states) <= MAX_TOKENS and states.isfinite().all():
            self._known[name] = states

    def _encode(self, new: dict[str, str], device: torch.device) -> None:
        """Encode prompts and keep their states in memory and, where the disk lets us, in the cache."""
        tokenizer, encoder = self._load(device)
        states = encode_prompt(tokenizer, encoder, list(new.values()), torch.device("cpu"), self.dtype)
        for (name, prompt), each in zip(new.items(), states, strict=True):
            end = int(each.any(dim=1).nonzero().max()) + 1  # behind the prompt all is zero
            self._known[name] = each[:end].clone()
            self._keep(name, prompt)
        del encoder
        gc.collect()
        if device.type == "cuda":
            torch.cuda.empty_cache()

    def _keep(self, name: str, prompt: str) -> None:
        from safetensors.torch import save_file

        about = {"prompt": clean(prompt), "encoder": self.fingerprint, "length": MAX_TOKENS}
        try:
            with atomic_path(self.cache / f"{name}.safetensors") as path:
                save_file({"states": self._known[name]}, str(path), metadata={"novakit": json.dumps(about)})
        except (NovaError, OSError) as error:
            notice(f"the states of a prompt could not be kept, the next run will encode it again: {first_line(error)}")

    def _load(self, device: torch.device) -> tuple[Any, Any]:
        """Tokenizer and UMT5; every weight must be there."""
        from transformers import AutoTokenizer, UMT5EncoderModel

        folder = self.folder / "text_encoder"
        weight_files(folder, ADVICE, ENCODER_WEIGHTS)
        options = {"use_safetensors": True, "local_files_only": True, "output_loading_info": True}
        try:
            tokenizer = AutoTokenizer.from_pretrained(str(self.folder / "tokenizer"), local_files_only=True)
            encoder, info = UMT5EncoderModel.from_pretrained(str(folder), dtype=self.dtype, **options)
        except Exception as error:  # whatever a damaged folder does inside transformers
            raise NovaError(f"the text encoder in {folder} cannot be read: {first_line(error)}. {ADVICE}") from error
        lacking = sorted(info["missing_keys"])
        if lacking:
            raise NovaError(f"the text encoder in {folder} lacks {len(lacking)} weights, e.g. {lacking[0]}. {ADVICE}")
        return tokenizer, encoder.eval().to(device)


def _first_numbers(folder: Path) -> Iterator[tuple[str, bytes]]:
    """(name, first 16 numbers as bfloat16) of every tensor; the file is not read as a whole."""
    from safetensors import safe_open

    for path in weight_files(folder, ADVICE, ENCODER_WEIGHTS):
        try:
            with safe_open(str(path), framework="pt") as file:
                for name in file.keys():  # noqa: SIM118
                    numbers = file.get_slice(name)[:1].flatten()[:16].to(torch.bfloat16).contiguous()
                    yield name, numbers.view(torch.int16).numpy().tobytes()
        except Exception as error:  # SafetensorError is not importable in all versions
            raise NovaError(f"{path} is corrupt ({first_line(error)}). {ADVICE}") from error
