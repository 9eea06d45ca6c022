"""NovaEditPipeline: a source clip and a few edited keyframes go in, the edited clip comes out.

The way of an edit: keyframes -> control sequence (linear interpolation) -> VACE context (sparse branch);
    source -> latents -> keys and values, once (dense branch); noise -> denoising steps that read both -> VAE decoder.
A user who knows diffusers knows this class. Source: paper section 3 (inference); decisions of ours are marked.
"""

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from diffusers.pipelines.pipeline_utils import DiffusionPipeline
from diffusers.utils.accelerate_utils import apply_forward_hook
from diffusers.utils.torch_utils import randn_tensor
from torch import Tensor

from novakit.editing.denoise import Conditions, denoise
from novakit.editing.inputs import EditInputs, Keyframes, notice, prepare_inputs
from novakit.editing.options import check_cache, check_noise_source, check_prompts, check_scales, check_steps
from novakit.editing.text import text_tokens
from novakit.errors import NovaError
from novakit.models.attention_maps import AttentionRequest
from novakit.models.latents import check_clip, decode_latents, encode_clip, latent_shape
from novakit.models.sparse_branch import prepare_control
from novakit.presets import Preset, get_preset
from novakit.video.probing import reason


@dataclass(frozen=True)
class NovaEditOutput:
    """What the pipeline returns."""

    frames: Any  # the edit: (B, 3, T, H, W) in [-1, 1], or what `output_type` asked for
    control: Tensor  # the control sequence r that the sparse branch read, (B, 3, T, H, W)
    indices: tuple[tuple[int, ...], ...]  # keyframe indices of every edit
    mask: Tensor | None  # the mask as given: for paste-back and scoring, the network never sees it
    steps: int  # denoising steps
    seconds: float  # wall time of the call
    is_nova: bool  # False: no trained dense branch, this is plain VACE


class NovaEditPipeline(DiffusionPipeline):
    """Keyframe-guided video editing with NOVA.

    Args:
        vae: AutoencoderKLWan.
        transformer: NovaTransformer3DModel.
        scheduler: FlowMatchEulerDiscreteScheduler (UniPCMultistepScheduler with flow sigmas works too).
        text_encoder: UMT5EncoderModel, or None: one null token.
        tokenizer: its tokenizer, or None.
        preset: name of the preset, which gives default steps and the longest clip; None = no such limits.
    """

    model_cpu_offload_seq = "text_encoder->transformer->vae"
    _optional_components = ["text_encoder", "tokenizer"]
    _callback_tensor_inputs = ["latents"]
    prompts = None  # a PromptReader: text tokens kept on disk, in the place of a loaded text encoder

    def __init__(self, vae, transformer, scheduler, text_encoder=None, tokenizer=None, preset: str | None = None):
        super().__init__()
        self.register_modules(
            vae=vae,
            transformer=transformer,
            scheduler=scheduler,
            text_encoder=text_encoder,
            tokenizer=tokenizer,
        )
        self.register_to_config(preset=preset)
        self.set_progress_bar_config(disable=None)  # a bar on a terminal only

    @classmethod
    def from_preset(
        cls, preset: str = "nano", *, base=None, dense=None, device="auto", download=False, **running
    ) -> "NovaEditPipeline":
        """The pipeline of a preset with its weights.

        Args:
            preset: "nano" (weights ship with the package) or "wan-1.3b".
            base: for wan-1.3b: folder (diffusers' or Wan's own), safetensors file, or hub id of the published base.
            dense: for wan-1.3b: safetensors file of a trained dense branch, or hub id of one; without it the pipeline
                is plain VACE and says so.
            device: "auto", "cpu" or "cuda".
            download: fetch what is missing from the hub, after a notice with licence and size; never unasked.
            **running: offload, attention, compile, tiling, as in `novakit.editing.running.Running`.

        Raises:
            NovaError: weights missing, corrupt or of another model, or no CUDA for wan-1.3b; names the file, its size
                and the way out.
        """
        from novakit.editing.loading import load_preset
        from novakit.editing.running import Running

        how = Running(**running)
        return load_preset(cls, preset, base=base, dense=dense, device=device, running=how, download=download)

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | os.PathLike, **options) -> "NovaEditPipeline":
        """The pipeline of a folder of `save_pretrained` or of a hub id ("owner/name").

        Args:
            pretrained_model_name_or_path: a folder, checked as `folder_checks.check_folder` says; or a hub id.
            **options: as in diffusers' `DiffusionPipeline.from_pretrained`.

        Raises:
            NovaError: the folder is missing, damaged or of another model, or the hub does not give the id.
        """
        from novakit.editing.loading import check_place

        check_place(pretrained_model_name_or_path, given=options)
        try:
            return super().from_pretrained(pretrained_model_name_or_path, **{**options, "use_safetensors": True})
        except Exception as error:  # diffusers, the hub and safetensors have no common class
            raise NovaError(
                f"{pretrained_model_name_or_path} cannot be loaded: {reason(error)}. Check the path or hub id."
            ) from error

    @property
    def is_nova(self) -> bool:
        """False while the dense branch is untrained: such a pipeline is plain VACE and says so."""
        return self.transformer.is_nova

    @property
    def preset(self) -> Preset | None:
        """The preset that this pipeline belongs to."""
        return get_preset(self.config.preset) if self.config.preset else None

    @torch.no_grad()
    def __call__(
        self,
        source: Any,
        keyframes: Keyframes | Sequence[Keyframes],
        mask: Any = None,
        prompt: str | list[str] = "",
        num_inference_steps: int | None = None,
        guidance_scale: float = 1.0,
        negative_prompt: str = "",
        generator: torch.Generator | list[torch.Generator] | None = None,
        latents: Tensor | None = None,
        sparse_scale: float | list[float] = 1.0,
        dense_scale: float = 1.0,
        control_mode: str = "reactive",
        use_cache: bool | str = True,
        step_cache: float = 0.0,
        attention_request: AttentionRequest | None = None,
        callback_on_step_end: Callable[[Any, int, Tensor, dict], dict] | None = None,
        output_type: str = "clip",
    ) -> NovaEditOutput:
        """Edit a clip.

        Args:
            source: clip (B or 1, 3, T, H, W) in [-1, 1], T = 4k+1; or a novakit Clip, a list of PIL images, an
                array (T, H, W, 3) of uint8.
            keyframes: {frame index: edited frame}; any interval, even irregular, frame 0 not required; a list
                of dicts for a batch.
            mask: (B, 1, T, H, W), 1 = content changes. It never enters the network; the output carries it.
            prompt: text for presets with a text encoder.
            num_inference_steps: denoising steps; None = the preset's.
            guidance_scale: classifier-free guidance; 1 = none (default, as in the official release).
            negative_prompt: prompt of the guidance pass, which is skipped when it would equal the first.
            generator: source of the starting noise; a list gives every clip of a batch its own.
            latents: starting noise (B, Z, t, h, w) itself, instead of a generator.
            sparse_scale: factor of the sparse branch, 0 = off.
            dense_scale: factor of the dense branch, 0 = off.
            control_mode: "reactive" or "inactive", see `prepare_control`.
            use_cache: read the source once (True), or in every step (False: same result, slower); "features" keeps
                half as much of it in memory and projects keys and values in every step (same result).
            step_cache: skip most of a step where the first block changed by less than this (relative); 0 = never. Other
                pictures, sooner: see `novakit.models.step_cache`.
            attention_request: filled with attention maps of the dense branch.
            callback_on_step_end: diffusers' callback(pipeline, step, timestep, {"latents": ...}) -> dict.
            output_type: "clip" (B, 3, T, H, W) in [-1, 1]; "np" (B, T, H, W, 3) in [0, 1]; "pil" images;
                "latent" (B, Z, t, h, w), normalised.

        Raises:
            NovaError: bad input; the message says what came, what was wanted and what to do.
        """
        started = time.perf_counter()
        steps = check_steps(num_inference_steps, self.preset, output_type)
        switches = {"sparse_scale": sparse_scale, "dense_scale": dense_scale, "guidance_scale": guidance_scale}
        check_scales(switches)
        check_cache(use_cache, step_cache)
        inputs = prepare_inputs(source, keyframes, mask)
        self._check_size(inputs.source)
        noise = self._noise(inputs, generator, latents)
        conditions = self._conditions(inputs, prompt, negative_prompt, control_mode, use_cache, switches)
        with self.progress_bar(total=steps) as bar:

            def on_step(i: int, timestep: Tensor, now: Tensor) -> Tensor:
                bar.update()
                changed = callback_on_step_end(self, i, timestep, {"latents": now}) if callback_on_step_end else None
                return (changed or {}).get("latents", now)

            options = {"request": attention_request, "step_cache": step_cache}
            final = denoise(self.transformer, self.scheduler, noise, steps, conditions, on_step, **options)
        del conditions  # at full size its keys and values are 6 GB, which the decoder can use
        frames = self._finish(final, output_type)
        self.maybe_free_model_hooks()
        seconds = time.perf_counter() - started
        is_nova = self.is_nova and bool(dense_scale)
        return NovaEditOutput(frames, inputs.control, inputs.indices, inputs.mask, steps, seconds, is_nova)

    def _check_size(self, clip: Tensor) -> None:
        """Length and size that the VAE, the patches and the preset can take."""
        check_clip(self.vae, clip, "source")
        num_frames, (height, width) = clip.shape[2], clip.shape[3:]
        step = self.vae.config.scale_factor_spatial * self.transformer.base.config.patch_size[1]
        if height % step or width % step:
            raise NovaError(f"source is {width}x{height} pixels; both must be multiples of {step}. Resize it.")
        longest = self.preset.num_frames if self.preset else num_frames
        if num_frames > longest:
            raise NovaError(
                f"source has {num_frames} frames; {self.preset.name} takes at most {longest}. "
                f"Cut it to {longest} frames (source[:, :, :{longest}])."
            )

    def _noise(self, inputs: EditInputs, generator, latents: Tensor | None) -> Tensor:
        """Starting noise (B, Z, t, h, w), float32, drawn on the generator's device."""
        grid = latent_shape(self.vae, inputs.source)
        shape = (len(inputs.control), self.vae.config.z_dim, *grid)
        check_noise_source(generator, latents, shape)
        device = self._execution_device
        if latents is not None:
            return latents.to(device, torch.float32)
        return randn_tensor(shape, generator=generator, device=device, dtype=torch.float32)

    def _conditions(self, inputs: EditInputs, prompt, negative, control_mode, use_cache, switches) -> Conditions:
        """Everything the network reads: VACE context, source (cached or not), text."""
        device, dtype = self._execution_device, self.transformer.dtype
        batch = len(inputs.control)
        prompts = check_prompts(prompt, batch)
        negatives = check_prompts(negative, batch) if switches["guidance_scale"] != 1.0 else prompts
        text, other, empty = text_tokens(self, prompts, negatives, [""] * len(inputs.source))
        sparse, dense = switches["sparse_scale"], switches["dense_scale"]
        control = None
        if any(sparse) if isinstance(sparse, list | tuple) else sparse:
            control = prepare_control(self.vae, inputs.control.to(device), mode=control_mode).to(dtype)
        latents = cache = None
        if dense and self.is_nova:
            latents = encode_clip(self.vae, inputs.source.to(device)).to(dtype)
            if use_cache and self.transformer.config.dense_timestep == "zero":
                read = apply_forward_hook(type(self.transformer).encode_source)  # brings an offloaded model in
                latents, cache = None, read(self.transformer, latents, empty, use_cache == "features")
        elif dense:
            notice("the dense branch is untrained: this is plain VACE, not NOVA. Load weights with dense=FILE.")
        negative_text = None if torch.equal(other, text) else other  # equal passes need not run twice
        return Conditions(control, latents, cache, text, negative_text, empty, **switches)

    def _finish(self, latents: Tensor, output_type: str) -> Any:
        """Latents in the form that was asked for."""
        if output_type == "latent":
            return latents
        clip = decode_latents(self.vae, latents)  # (B, 3, T, H, W)
        if output_type == "clip":
            return clip
        pixels = ((clip + 1) / 2).permute(0, 2, 3, 4, 1).cpu().numpy()  # (B, T, H, W, 3)
        return pixels if output_type == "np" else [_pil_images(frames) for frames in pixels]


def _pil_images(frames) -> list:
    """PIL images of frames (T, H, W, 3) in [0, 1]."""
    from PIL import Image

    return [Image.fromarray((frame * 255).round().astype("uint8")) for frame in frames]
