"""How a pipeline runs: what waits in main memory, which attention kernel, what is compiled. The result stays the same.

(To rounding: other kernels round otherwise, and VAE tiles are blended where they overlap.) Source: diffusers' switches,
which ones fit NOVA is ours.
"""

from dataclasses import dataclass
from typing import Any

import torch

from novakit.device import DeviceChoice
from novakit.errors import NovaError
from novakit.models.weights_files import first_line

OFFLOADS = ("none", "model", "group")


@dataclass(frozen=True)
class Running:
    """Switches of `NovaEditPipeline.from_preset`."""

    offload: str = "none"  # "none"; "model" = one part at a time on the card; "group" = one layer at a time (slowest)
    attention: str | None = None  # kernel by diffusers' name (_native_cudnn, flash, sage ...); None = torch's choice
    compile: bool = False  # regional: every kind of block once, a minute at the first step
    tiling: bool = False  # the VAE works in tiles of 256 pixels: less memory, more time

    def check(self, choice: DeviceChoice) -> None:
        """Refuse what cannot work, before anything is loaded.

        Raises:
            NovaError: an unknown name, or switches that do not go together.
        """
        if self.offload not in OFFLOADS:
            raise NovaError(f"offload is {self.offload!r}; pass one of {', '.join(OFFLOADS)}.")
        if self.offload != "none" and choice.device == "cpu":
            raise NovaError(f"offload={self.offload} moves weights to a card and back; on a CPU leave it out.")
        if self.offload == "group" and self.compile:
            raise NovaError("offload=group moves weights inside of every block, which cannot be compiled: drop one.")
        if self.attention is not None:
            check_attention(self.attention)

    def apply(self, pipe: Any, device: torch.device) -> Any:
        """Set the pipeline up and put it where it runs; returns it.

        Args:
            pipe: NovaEditPipeline on the CPU.
            device: where it computes.
        """
        if self.tiling:
            pipe.vae.enable_tiling()
        if self.attention is not None:
            use_attention(pipe.transformer, self.attention)
        if self.compile:
            pipe.transformer.compile_repeated_blocks()
        return place(pipe, self.offload, device)


def check_attention(name: str) -> None:
    """Refuse a kernel that diffusers does not know, or that it would fetch from the hub as code.

    Raises:
        NovaError: such a name.
    """
    from diffusers.models.attention_dispatch import AttentionBackendName

    known = sorted(kind.value for kind in AttentionBackendName if not kind.value.endswith("_hub"))
    if name not in known:
        hub = "; those from the hub are code that would be fetched unseen" if name.endswith("_hub") else ""
        raise NovaError(f"attention is {name!r}{hub}; pass one of {', '.join(known)}, or leave it out.")


def use_attention(transformer: torch.nn.Module, name: str) -> None:
    """Compute every attention, the dense branch's too, with one kernel.

    diffusers then takes it for models loaded later in this process as well.

    Raises:
        NovaError: its package is not installed.
    """
    try:
        transformer.set_attention_backend(name)
    except Exception as error:  # RuntimeError, ValueError or ImportError, by the kernel
        raise NovaError(f"attention={name} cannot be used here: {first_line(error)} Or leave it out.") from error


def place(pipe: Any, offload: str, device: torch.device) -> Any:
    """Put the pipeline on a device, or let its parts wait in main memory until they are needed.

    "group" hooks every leaf (Linear, convolution, norm) rather than blocks: NOVA walks the base's blocks itself, twice
    (main branch and replica, which share them), and never calls the base's forward, whose hooks would not fire. The VAE
    (0.5 GB) stays on the card.

    Args:
        pipe: NovaEditPipeline.
        offload: one of OFFLOADS.
        device: where it computes.
    """
    if offload == "model":
        pipe.enable_model_cpu_offload(device=device)
    elif offload == "group":
        pipe.enable_group_offload(device, offload_type="leaf_level", exclude_modules="vae")
    else:
        pipe.to(device)
    return pipe
