"""What FLUX.1 Kontext and Qwen-Image-Edit have in common as keyframe editors: weights, device, seed, size, place.

A subclass says at which size its model works and how it is called; everything else is here, once. Source: ours.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from novakit.device import choose_device
from novakit.editing.inputs import notice
from novakit.editing.keyframe_editors.checks import check_prompt, check_request
from novakit.editing.keyframe_editors.licence import Weights, find_weights
from novakit.editing.keyframe_editors.protocol import EditedKeyframe
from novakit.editing.keyframe_editors.registration import Registration
from novakit.editing.keyframe_editors.sizes import bring_back
from novakit.errors import NovaError
from novakit.video.probing import reason

OFFLOADS = ("model", "sequential", None)
SLOW_GIGABYTES = 2.0  # of weights, above which a CPU is no place for a model


class DiffusionEditor(ABC):
    """A keyframe editor on a diffusers pipeline.

    Args:
        model: folder of the pipeline, or hub id; the published weights by default.
        device: "auto", "cpu" or "cuda"; bfloat16 on CUDA, float32 on a CPU.
        offload: "model" keeps one part at a time on the GPU, "sequential" one layer (slow, least memory), None all of
            it; the rest waits in main memory.
        steps: denoising steps.
        download: True = fetch missing weights, after a notice with their licence and size.

    Attributes:
        registrations: frame index -> how that edit lay against its frame before it was laid over it.

    Raises:
        NovaError: an impossible option, or weights that are missing (named, with size and command).
    """

    name: ClassVar[str]
    needs_prompt: ClassVar[bool] = True
    weights: ClassVar[Weights]

    def __init__(self, model: str | Path, *, device: str, offload: str | None, steps: int, download: bool):
        if offload not in OFFLOADS:
            raise NovaError(f"offload is {offload!r}; pass 'model', 'sequential' or None.")
        if isinstance(steps, bool) or not isinstance(steps, int) or not 1 <= steps <= 1000:
            raise NovaError(f"steps is {steps!r}; pass a whole number from 1 to 1000.")
        self.choice = choose_device(device)
        self.offload, self.steps = offload, steps
        self.folder = find_weights(model, self.weights, download)
        self.registrations: dict[int, Registration] = {}
        self._pipe: Any = None
        self._warn_of_slowness()

    @torch.no_grad()
    def edit(
        self,
        frame: Tensor,
        prompt: str = "",
        mask: Tensor | None = None,
        reference: EditedKeyframe | None = None,
        *,
        index: int = 0,
        seed: int = 0,
    ) -> Tensor:
        """Edit one frame; see `KeyframeEditor.edit`. Registration: `registrations[index]`."""
        check_request(frame, mask, index)
        check_prompt(self, prompt)
        if reference is not None and reference.edited.shape != frame.shape:
            raise NovaError(
                f"the reference is {_say(reference.edited)} pixels, keyframe {index} {_say(frame)}; wanted keyframes "
                "of one clip. Edit that clip's first keyframe again."
            )
        self._load_once()
        source, where = frame.float().cpu(), None if mask is None else mask.float().cpu()
        generator = torch.Generator("cpu").manual_seed(seed)
        try:
            picture = self._generate(source, prompt.strip(), where, reference, generator).float().cpu() * 2 - 1
        except torch.OutOfMemoryError as error:
            raise NovaError(
                f"editor {self.name}: {self.choice.device} has too little memory with offload={self.offload!r}. "
                "Pass offload='model', then 'sequential' (slow), or close what else runs there."
            ) from error
        edited, self.registrations[index] = bring_back(picture, source, where)
        return edited.to(frame.device)

    @abstractmethod
    def _generate(
        self, frame: Tensor, prompt: str, mask: Tensor | None, reference: EditedKeyframe | None, generator: Any
    ) -> Tensor:
        """The model's picture (3, h, w) in [0, 1], at its own size."""

    @abstractmethod
    def _load(self) -> Any:
        """The pipeline of `self.folder`, in memory."""

    def _load_once(self) -> None:
        """Read the weights and put them on the device, at the first edit."""
        if self._pipe is not None:
            return
        try:
            with quiet():
                pipe = self._load()
        except Exception as error:  # diffusers, transformers and safetensors have no common class
            raise NovaError(f"{self.folder} cannot be loaded: {reason(error)}. Fetch the folder again.") from error
        self._pipe = place(pipe, self.choice.device, self.offload)

    def _as(self, kind: str) -> Any:
        """The loaded parts as another pipeline class of diffusers."""
        import diffusers

        if type(self._pipe).__name__ != kind:
            self._pipe.remove_all_hooks()  # of offloading, which belong to the former class
            pipe = getattr(diffusers, kind)(**self._pipe.components)
            self._pipe = place(pipe, self.choice.device, self.offload)
        return self._pipe

    def _warn_of_slowness(self) -> None:
        gigabytes = sum(file.stat().st_size for file in self.folder.glob("*/*.safetensors")) / 1e9
        if self.choice.device == "cpu" and gigabytes > SLOW_GIGABYTES:
            notice(
                f"editor {self.name} runs on the CPU ({self.choice.reason}): {gigabytes:.0f} GB of weights take "
                f"up to {2 * gigabytes:.0f} GB of memory in float32 and hours for one keyframe."
            )


def place(pipe: Any, device: str, offload: str | None) -> Any:
    """Put a pipeline on its device, whole or part by part through accelerate (a CPU has its weights at hand)."""
    if offload is None or device == "cpu":
        pipe.to(device)
    elif offload == "model":
        pipe.enable_model_cpu_offload(device=device)
    else:
        pipe.enable_sequential_cpu_offload(device=device)
    pipe.set_progress_bar_config(disable=None)  # a bar on a terminal only
    return pipe


@contextmanager
def quiet():
    """No progress bars and no remarks on missing extras while weights are read."""
    import diffusers.utils.logging
    import transformers.utils.logging

    level = transformers.utils.logging.get_verbosity()
    transformers.utils.logging.set_verbosity_error()
    for library in (diffusers, transformers):
        library.utils.logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers.utils.logging.set_verbosity(level)
        for library in (diffusers, transformers):
            library.utils.logging.enable_progress_bar()


def _say(image: Tensor) -> str:
    return f"{image.shape[-1]}x{image.shape[-2]}"
