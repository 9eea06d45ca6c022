"""FLUX.1 Kontext and Qwen-Image-Edit with a few thousand random weights, in the format in which they are published.

The tokenizers know single letters only, so nothing has to be fetched. One token is 16 x 16 pixels, as in the real ones.
"""

import json
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from novakit.video.geometry import resize


def save_flux(folder: Path) -> Path:
    """A FluxKontextPipeline in a folder."""
    from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, FluxKontextPipeline, FluxTransformer2DModel
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer, T5Config, T5EncoderModel, T5TokenizerFast

    torch.manual_seed(0)
    words = [*_letters(), *(f"{letter}</w>" for letter in _letters()), "<|startoftext|>", "<|endoftext|>"]
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -1.0), *((chr(i), -2.0) for i in range(33, 127))]
    clip_sizes = {"hidden_size": 32, "intermediate_size": 37, "num_attention_heads": 4, "num_hidden_layers": 2}
    ends = {"bos_token_id": len(words) - 2, "eos_token_id": len(words) - 1, "pad_token_id": len(words) - 1}
    t5_sizes = {"d_model": 32, "d_kv": 8, "d_ff": 37, "num_layers": 2, "num_heads": 4}
    FluxKontextPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
        text_encoder=CLIPTextModel(CLIPTextConfig(vocab_size=len(words), projection_dim=32, **clip_sizes, **ends)),
        text_encoder_2=T5EncoderModel(T5Config(vocab_size=len(pieces), **t5_sizes)),
        tokenizer=CLIPTokenizer(vocab={word: i for i, word in enumerate(words)}, merges=[], model_max_length=77),
        tokenizer_2=T5TokenizerFast(vocab=pieces, extra_ids=0, model_max_length=512),
        transformer=FluxTransformer2DModel(
            in_channels=16,
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=32,
            pooled_projection_dim=32,
            guidance_embeds=True,
            axes_dims_rope=[4, 4, 8],
        ),
        vae=AutoencoderKL(
            block_out_channels=(4, 4, 4, 4),
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            latent_channels=4,
            norm_num_groups=1,
            use_quant_conv=False,
            use_post_quant_conv=False,
            shift_factor=0.0609,
            scaling_factor=1.5035,
        ),
    ).save_pretrained(folder)
    _publish_tokenizer(folder / "tokenizer")
    return folder


def save_qwen(folder: Path) -> Path:
    """A QwenImageEditPlusPipeline in a folder."""
    from diffusers import (
        AutoencoderKLQwenImage,
        FlowMatchEulerDiscreteScheduler,
        QwenImageEditPlusPipeline,
        QwenImageTransformer2DModel,
    )
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration, Qwen2Tokenizer

    torch.manual_seed(0)
    marks = ["im_start", "im_end", "vision_start", "vision_end", "image_pad", "video_pad"]
    tokens = Qwen2Tokenizer(vocab={letter: i for i, letter in enumerate(_letters())}, merges=[])
    tokens.add_special_tokens({"extra_special_tokens": [f"<|{mark}|>" for mark in marks]})
    start, end, image, video = tokens.convert_tokens_to_ids([f"<|{mark}|>" for mark in marks[2:]])
    sizes = {"hidden_size": 16, "intermediate_size": 16}
    heads = {"num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 2}
    rope = {"mrope_section": [1, 1, 2], "rope_type": "default", "rope_theta": 1000000.0}
    ends = {"bos_token_id": 256, "eos_token_id": 256}
    encoder = Qwen2_5_VLConfig(
        text_config={"vocab_size": len(tokens), "rope_parameters": rope, **sizes, **heads, **ends},
        vision_config={"depth": 2, "num_heads": 2, "out_hidden_size": 16, **sizes},
        vision_start_token_id=start,
        vision_end_token_id=end,
        image_token_id=image,
        video_token_id=video,
    )
    QwenImageEditPlusPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
        vae=AutoencoderKLQwenImage(
            base_dim=8,
            z_dim=4,
            dim_mult=[1, 1, 1, 1],
            num_res_blocks=1,
            temperal_downsample=[False, True, True],
            latents_mean=[0.0] * 4,
            latents_std=[1.0] * 4,
        ),
        text_encoder=Qwen2_5_VLForConditionalGeneration(encoder),
        tokenizer=tokens,
        processor=None,
        transformer=QwenImageTransformer2DModel(
            in_channels=16,
            out_channels=4,
            num_layers=1,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=16,
            axes_dims_rope=(8, 4, 4),
        ),
    ).save_pretrained(folder)
    _publish_processor(folder)
    return folder


def _letters() -> list[str]:
    """The 256 letters that stand for bytes in vocabularies of GPT-2's kind."""
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    return list(bytes_to_unicode().values())


def _publish_tokenizer(folder: Path) -> None:
    """vocab.json and merges.txt in the place of tokenizer.json, as both repositories have them."""
    model = json.loads((folder / "tokenizer.json").read_text())["model"]
    (folder / "vocab.json").write_text(json.dumps(model["vocab"]))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    (folder / "tokenizer.json").unlink()


def _publish_processor(folder: Path) -> None:
    """The processor's folder, which cannot be saved as a whole where torchvision is missing."""
    import shutil

    shutil.copytree(folder / "tokenizer", folder / "processor")
    _publish_tokenizer(folder / "tokenizer")
    pictures = {"image_processor_type": "Qwen2VLImageProcessorFast", "processor_class": "Qwen2VLProcessor"}
    pictures |= {"patch_size": 14, "merge_size": 2, "temporal_patch_size": 2, "min_pixels": 784, "max_pixels": 1003520}
    (folder / "processor/preprocessor_config.json").write_text(json.dumps(pictures))
    index = json.loads((folder / "model_index.json").read_text())
    index["processor"] = ["transformers", "Qwen2VLProcessor"]
    (folder / "model_index.json").write_text(json.dumps(index))


def photograph(name: str, size: tuple[int, int]) -> Tensor:
    """A photograph of scikit-image as a frame (3, *size) in [-1, 1]."""
    from skimage import data

    return resize(torch.from_numpy(getattr(data, name)()).permute(2, 0, 1).float() / 127.5 - 1, size)


def box_mask(size: tuple[int, int]) -> Tensor:
    """(1, *size): 1 in a box off the middle, a quarter of the frame."""
    mask = torch.zeros(1, *size)
    mask[:, size[0] // 4 : 3 * size[0] // 4, size[1] // 5 : 7 * size[1] // 10] = 1
    return mask


def to_tensor(image: Image.Image) -> Tensor:
    """A PIL image as (3, H, W) in [-1, 1]."""
    import numpy as np

    return torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 127.5 - 1


class Spy:
    """Records how a pipeline class is called, and calls through or answers with `answer(**call)` (3, h, w)."""

    def __init__(self, monkeypatch, kind: type, answer=None):
        self.calls: list[dict] = []
        original = kind.__call__

        def call(pipe, **given):
            self.calls.append(given)
            if answer is None:
                return original(pipe, **given)
            return type("Output", (), {"images": [answer(**given)]})

        monkeypatch.setattr(kind, "__call__", call)
