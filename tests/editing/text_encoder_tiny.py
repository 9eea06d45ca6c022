"""A tiny UMT5 with its tokenizer, saved as transformers has them."""

from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast, UMT5Config, UMT5EncoderModel

WORDS = ["<pad>", "</s>", "<unk>", "a", "red", "blue", "coat", "it's", "sunny"]


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """One token per word, </s> behind."""
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>")


def tiny_encoder(seed: int = 0) -> UMT5EncoderModel:
    """8 numbers per token."""
    torch.manual_seed(seed)
    sizes = {"vocab_size": len(WORDS), "d_model": 8, "d_kv": 4, "d_ff": 16, "num_layers": 1, "num_heads": 2}
    return UMT5EncoderModel(UMT5Config(**sizes)).eval()


def save_text(folder: Path, seed: int = 0) -> Path:
    """text_encoder/ and tokenizer/ in a folder."""
    tiny_encoder(seed).save_pretrained(folder / "text_encoder")
    tiny_tokenizer().save_pretrained(folder / "tokenizer")
    return folder
