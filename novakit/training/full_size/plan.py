"""The dry run of a training: parameters, memory, FLOP, hours and money, before anything is allocated.

    print(plan("wan-1.3b", gpus=8, gpu="h200", price=3.5))

Memory and FLOP are counted (`novakit.models.cost`); hours rest on an assumed share of the data sheet's rate,
which is an argument and is printed: no MFU, which is of what a matrix product reaches (`novakit bench --suite gpu`).
Source: ours; 8,000 steps are the paper's, whose batch size and number of GPUs are not public.
"""

from dataclasses import dataclass, replace

from novakit.errors import NovaError
from novakit.models.cost import Cost, Work, step_cost
from novakit.presets import Preset, get_preset
from novakit.training.full_size.advice import advice_for
from novakit.training.full_size.gpus import Gpu, gpu_of_the_table

SHEET_SHARE = 0.32  # measured on one H200 (notebooks/recorded/gpu_bench.json: 317 TFLOP/s), assumed of other GPUs
CONTEXT = 1.0e9  # bytes that the CUDA context and its libraries take; assumed
SLACK = 0.05  # part of the allocated bytes that the allocator loses between blocks of different sizes; assumed


@dataclass(frozen=True)
class Plan:
    """A training before it starts; `print` it."""

    work: Work  # network, clip, batch per GPU and switches
    gpu: Gpu
    gpus: int
    sharding: str  # "ddp" = every GPU holds everything, "fsdp" = weights and optimiser state are split
    accumulate: int  # batches per update
    steps: int  # updates
    sheet_share: float  # assumed share of the data sheet's rate that model FLOP reach under checkpointing
    price: float | None  # money per GPU and hour
    cost: Cost  # of one batch on one GPU
    advice: str = ""  # what to switch when it does not fit

    @property
    def memory(self) -> float:
        """Bytes needed on one GPU: counted peak, context and slack. DDP's buckets are the gradients themselves."""
        return (1 + SLACK) * self.cost.memory.total + CONTEXT

    @property
    def fits(self) -> bool:
        """True when one GPU has that much."""
        return self.memory <= 1e9 * self.gpu.memory

    @property
    def clips(self) -> int:
        """Clips in one update, over all GPUs."""
        return self.gpus * self.work.batch * self.accumulate

    @property
    def seconds_per_step(self) -> float:
        """Seconds of one update at the assumed share; data and communication are taken to hide behind it.

        The share is that of model FLOP where every block is run again; who computes less needs as much less time.
        """
        measured = step_cost(replace(self.work, checkpointing=True, keep_attention=False)).flop
        work = measured.model * self.cost.flop.executed / measured.executed
        return self.accumulate * work / (self.sheet_share * 1e12 * self.gpu.tflops)

    @property
    def hours(self) -> float:
        """Wall-clock hours of all steps."""
        return self.steps * self.seconds_per_step / 3600

    @property
    def money(self) -> float | None:
        """What all GPUs cost over these hours; None without a price."""
        return None if self.price is None else self.price * self.gpus * self.hours

    @property
    def exchanged(self) -> int:
        """Bytes that one GPU sends in one update.

        DDP: gradients, summed and then handed round (twice, as a ring does). FSDP: gradients once, to their owners, and
        bfloat16 weights of every walk: main blocks as replica, forward and backward; dense ones forward and backward;
        VACE blocks forward only, nothing in them learns.
        """
        if self.gpus == 1:
            return 0
        counted = self.cost.parameters
        gradients = 4 * counted.learning
        walks = 3 * counted.main + counted.sparse + 2 * counted.dense
        sent = gradients + 2 * walks * self.accumulate if self.sharding == "fsdp" else 2 * gradients
        return sent * (self.gpus - 1) // self.gpus

    def require_fit(self) -> "Plan":
        """The plan itself when it fits.

        Raises:
            NovaError: it does not; says how much is needed, how much there is, and which switches make it fit.
        """
        if not self.fits:
            raise NovaError(
                f"training needs {self.memory / 1e9:.1f} GB on each GPU; there are {self.gpu.memory:.4g} GB "
                f"({self.gpu.name}). {self.advice}"
            )
        return self

    def __str__(self) -> str:
        shape, parameters, flop = self.work.shape, self.cost.parameters, self.cost.flop
        preset = get_preset(self.work.preset)
        size = f"{self.work.width or preset.width}x{self.work.height or preset.height}"
        lines = [
            f"{preset.name}, scheme {self.work.scheme}, {self.work.frames or preset.num_frames} frames of {size} "
            f"({shape.tokens:,} tokens), {self._switches()}",
            f"{'GPUs':16s}{self.gpus} x {self.gpu.name} ({self.gpu.tflops:g} TFLOP/s bfloat16, {self.gpu.memory:g} GB)"
            + (f", {self.sharding.upper()}" if self.gpus > 1 else ""),
            f"{'parameters':16s}{parameters.total / 1e6:,.1f} M, of which {parameters.learning / 1e6:,.1f} M learn",
            f"{'memory per GPU':16s}{self.memory / 1e9:.1f} GB of {self.gpu.memory:g} GB: "
            f"{'fits' if self.fits else 'DOES NOT FIT'}. Tensors {self.cost.memory}, "
            "the rest for CUDA and the allocator",
            f"{'PFLOP per step':16s}{self._peta(flop.model)} per GPU ({self._peta(flop.executed)} computed: "
            f"checkpointing repeats {self._peta(flop.recompute)}, attention's backward {self._peta(flop.kernel)})",
            f"{'seconds a step':16s}{self.seconds_per_step:.2f}, "
            f"at {self.sheet_share:.0%} of the sheet's rate (32% on one H200; else assumed)",
            f"{f'{self.steps:,} steps':16s}{self.hours:.1f} hours, {self.gpus * self.hours:,.0f} GPU-hours, "
            f"{self.steps * self.clips:,} clips ({self.clips} a step)",
            f"{'money':16s}{self._money()}",
        ]
        if self.gpus > 1:
            same = self.hours / self.gpus
            lines.append(f"{'same clips':16s}as {self.steps:,} steps of one GPU: {same:.1f} hours")
            lines.append(f"{'exchanged':16s}{self.exchanged / 1e9:.1f} GB a step from each GPU")
        return "\n".join([*lines, self.advice] if self.advice else lines)

    def _peta(self, flop: int) -> str:
        return f"{self.accumulate * flop / 1e15:.3g}"

    def _switches(self) -> str:
        work = self.work
        window = "full attention" if work.window is None else f"window {work.window}"
        parts = [f"batch {work.batch} per GPU", window, self._recompute()]
        parts += ["activations offloaded"] * work.offload + [f"accumulate {self.accumulate}"] * (self.accumulate > 1)
        return ", ".join(parts)

    def _recompute(self) -> str:
        if not self.work.checkpointing:
            return "no checkpointing"
        return "checkpointing of all but attention" if self.work.keep_attention else "checkpointing"

    def _money(self) -> str:
        if self.price is None:
            return "pass price= (--price), money per GPU and hour"
        return f"{self.money:,.0f} at {self.price:g} per GPU and hour"


def plan(
    preset: str | Preset = "wan-1.3b",
    gpus: int = 1,
    gpu: str | Gpu = "h200",
    batch: int = 1,
    *,
    sharding: str = "ddp",
    accumulate: int = 1,
    steps: int = 8000,
    sheet_share: float = SHEET_SHARE,
    price: float | None = None,
    **work,
) -> Plan:
    """What a training will need, with nothing allocated.

    Args:
        preset: network.
        gpus: number of GPUs, >= 1.
        gpu: a name of `GPUS`, or a Gpu of your own.
        batch: clips per GPU and batch.
        sharding: "ddp" or "fsdp".
        accumulate: batches per update.
        steps: updates (paper: 8,000).
        sheet_share: assumed share of the GPU's rate, as its data sheet says it, that model FLOP reach under
            checkpointing, in (0, 1].
        price: money per GPU and hour, in any currency.
        **work: the other fields of `Work`: scheme, frames, height, width, keyframes, window, checkpointing,
            keep_attention, offload.

    Raises:
        NovaError: an unknown GPU or an impossible number. A plan that does not fit is no error: see `require_fit`.
    """
    if not isinstance(gpu, Gpu):
        gpu = gpu_of_the_table(gpu)
    if sharding not in ("ddp", "fsdp"):
        raise NovaError(f"sharding is {sharding!r}; pass 'ddp' (every GPU holds everything) or 'fsdp' (split).")
    if min(gpus, accumulate, steps) < 1 or not 0 < sheet_share <= 1 or (price is not None and price < 0):
        raise NovaError(
            f"gpus {gpus}, accumulate {accumulate}, steps {steps}, sheet_share {sheet_share}, price {price} came; the "
            "first three must be at least 1, sheet_share between 0 and 1, price not negative."
        )
    given = Work(preset, batch=batch, shards=gpus if sharding == "fsdp" else 1, **work)
    made = Plan(given, gpu, gpus, sharding, accumulate, steps, sheet_share, price, step_cost(given))
    return made if made.fits else replace(made, advice=advice_for(made))
