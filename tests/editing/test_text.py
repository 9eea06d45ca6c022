"""Prompts: the same UMT5 states as diffusers' own pipeline, without downloading anything."""

import torch
from nova_tiny import tiny_clip, tiny_nova, tiny_vae
from transformers import BatchEncoding, UMT5Config, UMT5EncoderModel

from novakit.editing import NovaEditPipeline
from novakit.editing.text import encode_prompt
from novakit.models import build_scheduler


class Words:
    """A tokenizer in a few lines: one number per word, 1 at the end, 0 behind."""

    def __call__(self, prompts, max_length, **_):
        rows = [[2 + len(word) for word in prompt.split()] + [1] for prompt in prompts]
        ids = torch.tensor([row + [0] * (max_length - len(row)) for row in rows])
        return BatchEncoding({"input_ids": ids, "attention_mask": (ids > 0).long()})


def tiny_encoder():
    torch.manual_seed(0)
    sizes = {"vocab_size": 40, "d_model": 8, "d_kv": 4, "d_ff": 16, "num_layers": 1, "num_heads": 2}
    return UMT5EncoderModel(UMT5Config(**sizes)).eval()


def test_prompts_are_encoded_as_in_diffusers():
    from diffusers import WanVACEPipeline

    parts = {"vae": tiny_vae(), "transformer": tiny_nova().base, "scheduler": build_scheduler("nano")}
    reference = WanVACEPipeline(tokenizer=Words(), text_encoder=tiny_encoder(), **parts)
    prompts = ["a red coat", ""]
    with torch.no_grad():
        expected = reference._get_t5_prompt_embeds(prompts, max_sequence_length=512)
    got = encode_prompt(Words(), tiny_encoder(), prompts, torch.device("cpu"), torch.float32)
    assert got.shape == (2, 512, 8)
    torch.testing.assert_close(got, expected)
    assert got[1, 1:].abs().max() == 0  # behind the empty prompt's end token


def test_a_prompt_and_guidance_change_the_edit():
    pipe = NovaEditPipeline(tiny_vae(), tiny_nova(), build_scheduler("nano"), tiny_encoder(), Words())
    clip = tiny_clip()

    def edit(**options):
        generator = torch.Generator().manual_seed(0)
        return pipe(clip, {0: clip[0, :, 0]}, num_inference_steps=2, generator=generator, **options).frames

    plain, red, guided = edit(), edit(prompt="a red coat"), edit(prompt="a red coat", guidance_scale=4.0)
    assert not torch.equal(plain, red) and not torch.equal(red, guided)
    torch.testing.assert_close(edit(prompt="a red coat", use_cache=False), red)
