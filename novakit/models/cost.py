"""What a denoising forward and a training step cost: parameters, FLOP and bytes, from a preset, with nothing allocated.

    work = Work("wan-1.3b", frames=81, height=480, width=832)
    print(forward_cost(work).flop.forward / 1e12, "TFLOP")
    print(step_cost(work).memory)

Three schemes: "nova" (naive with cached=False, frame-local with window=0), "vace" (diffusers' plain Wan VACE) and
"official" (the release's scheme: source, cue and target latents joined in time, no sparse and no dense branch).
The counts are closed formulas. Tests hold them against `torch.utils.flop_counter` to the FLOP, and the bytes against
the same code run on tensors that have a shape but no memory.

What is counted: matrix products, attention and the patch convolutions. What is not: norms, RoPE, activations (less
than 0.1 % of the FLOP), the VAE and the text encoder, which run once per clip and not once per step.
Source: ours; the counts to compare with are those of FastVideo's MFU formula, 8d^2 + 4d^2 + 4 d ffn + 4 L d per token.
"""

from dataclasses import dataclass, field

from novakit.errors import NovaError
from novakit.models.cost_memory import Memory, forward_memory, source_memory, step_memory
from novakit.models.cost_parameters import Parameters, count_parameters
from novakit.models.cost_products import Flop, count, forward_products, source_products, step_products
from novakit.models.cost_shape import Shape
from novakit.presets import Preset, get_preset

SCHEMES = ("nova", "vace", "official")

__all__ = [
    "SCHEMES",
    "Cost",
    "Flop",
    "Memory",
    "Parameters",
    "Work",
    "count_parameters",
    "forward_cost",
    "source_cost",
    "step_cost",
]


@dataclass(frozen=True)
class Work:
    """A network, a clip and the switches that change what it costs. None = the preset's own value.

    Raises:
        NovaError: an unknown scheme, or a clip that the VAE and the patches do not divide.
    """

    preset: str | Preset = "wan-1.3b"
    scheme: str = "nova"  # "nova", "vace" or "official"
    frames: int | None = None  # T of the clip, 4k+1 (frames)
    height: int | None = None  # H (pixels)
    width: int | None = None  # W (pixels)
    keyframes: int | None = None  # edited keyframes; only "official" pays for them (cue tokens). None = every interval
    batch: int = 1  # clips at a time on one device
    window: int | None = None  # dense cross-attention: None = full, n = own latent frame +- n
    cached: bool = True  # denoising: keys and values of the source computed once per edit
    checkpointing: bool = True  # training: recompute activations block by block in the backward pass
    keep_attention: bool = False  # training: recompute all but attention (`models.checkpointing`)
    offload: bool = False  # denoising: weights wait in CPU memory; training: kept activations do
    shards: int = 1  # training: devices over which weights, gradients and optimiser state are split (FSDP)
    text_tokens: int | None = None  # L of the prompt; None = 512 with a text encoder, 1 (the null token) without

    def __post_init__(self) -> None:
        if self.scheme not in SCHEMES:
            raise NovaError(f"scheme {self.scheme!r} does not exist; pass one of {', '.join(SCHEMES)}.")
        if self.batch < 1 or self.shards < 1:
            raise NovaError(f"batch is {self.batch} and shards {self.shards}; both must be at least 1.")
        if self.window is not None and self.window < 0:
            raise NovaError(f"window is {self.window}; pass None (full attention) or a number of latent frames >= 0.")
        if self.keep_attention and (self.offload or not self.checkpointing):
            raise NovaError("keep_attention goes with checkpointing=True and offload=False; drop it or change these.")
        self.shape  # noqa: B018  checks the clip

    @property
    def shape(self) -> Shape:
        """The numbers that the formulas read."""
        preset = get_preset(self.preset)
        clip = (self.frames or preset.num_frames, self.height or preset.height, self.width or preset.width)
        cues = 1 + (clip[0] - 1) // preset.interval if self.keyframes is None else self.keyframes
        text = self.text_tokens or (512 if preset.text else 1)
        return Shape.of(preset, clip, cues, self.batch, text, self.window)


@dataclass(frozen=True)
class Cost:
    """Cost of one forward or one training step on one device."""

    parameters: Parameters
    flop: Flop
    memory: Memory
    parts: dict[str, Flop] = field(default_factory=dict)  # the same FLOP by part: main, sparse, replica, ...


def forward_cost(work: Work) -> Cost:
    """One denoising forward, without gradients.

    Args:
        work: network, clip and switches; `checkpointing`, `keep_attention` and `shards` have no meaning here.

    Returns:
        FLOP of one forward (with a cache the source's share is not in it, see `source_cost`) and the peak of memory.
    """
    products = forward_products(work.shape, work.scheme, work.cached)
    return _cost(work, products, forward_memory(work.shape, work.scheme, work.cached, work.offload))


def source_cost(work: Work) -> Cost:
    """Reading the source once per edit: the replica's walk and the keys and values of every layer."""
    return _cost(work, source_products(work.shape), source_memory(work.shape, work.offload))


def step_cost(work: Work) -> Cost:
    """One training step: forward, backward, optimiser; bfloat16 autocast, learning weights in float32, AdamW.

    What learns: "nova" the dense cross-attention (paper), "official" the self-attention of every block (as the release
    does), "vace" the VACE blocks (as VideoX-Fun does).

    Args:
        work: network, clip and switches; `cached` has no meaning here: the source changes with every step, so the
            replica runs in every step, without gradients.

    Returns:
        FLOP by kind (`Flop.model` is what MFU counts) and the peak of memory on one device.
    """
    products = step_products(work.shape, work.scheme, work.checkpointing, work.keep_attention)
    how = {"checkpointing": work.checkpointing, "keep_attention": work.keep_attention}
    memory = step_memory(work.shape, work.scheme, **how, offload=work.offload, shards=work.shards)
    return _cost(work, products, memory)


def _cost(work: Work, products: dict, memory: Memory) -> Cost:
    everything = [product for part in products.values() for product in part]
    parts = {name: count(part) for name, part in products.items()}
    return Cost(count_parameters(work.shape, work.scheme), count(everything), memory, parts)
