"""The dry run of a training: parameters, memory, FLOP, hours and money, before anything is allocated.

    print(plan("wan-1.3b", gpus=8, gpu="h200", price=3.5))

Memory and FLOP are counted (`novakit.models.cost`); hours rest on an assumed share of the data sheet's rate,
which is an argument and is printed: no MFU, which is of what a matrix product reaches (`novakit bench --suite gpu`).
Source: ours; 8,000 steps are the paper's, whose batch size and number of GPUs are not public.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import combinations

from novakit.errors import NovaError
from novakit.models.cost import Cost, Work, step_cost
from novakit.presets import Preset, get_preset


@dataclass(frozen=True)
class Gpu:
    """A device as its maker sells it."""

    name: str
    tflops: float  # dense bfloat16 matrix products with float32 sums, 10^12 FLOP/s
    memory: float  # GB (10^9 bytes)


# Makers' data sheets and architecture white papers. Where a sheet states the rate "with sparsity", half of it is here.
GPUS = {
    "h200": Gpu("H200 SXM", 989.4, 141),  # NVIDIA H200 data sheet: 1,979 with sparsity, 141 GB
    "h100": Gpu("H100 SXM", 989.4, 80),  # NVIDIA H100 data sheet: 1,979 with sparsity, 80 GB
    "h100-pcie": Gpu("H100 PCIe", 756, 80),  # the same: 1,513 with sparsity
    "b200": Gpu("B200", 2250, 180),  # NVIDIA HGX B200 data sheet: 36 PFLOP/s with sparsity and 1,440 GB for 8
    "a100": Gpu("A100 80 GB", 312, 80),  # NVIDIA A100 data sheet
    "a100-40": Gpu("A100 40 GB", 312, 40),
    "l40s": Gpu("L40S", 362, 48),  # NVIDIA L40S data sheet: 733 with sparsity, rounded there
    "a6000": Gpu("RTX A6000", 154.8, 48),  # NVIDIA RTX A6000 data sheet: 309.7 with sparsity
    "rtx5090": Gpu("RTX 5090", 209.5, 32),  # NVIDIA RTX Blackwell white paper, float32 sums
    "rtx4090": Gpu("RTX 4090", 165.2, 24),  # NVIDIA Ada white paper, float32 sums
    "rtx3090": Gpu("RTX 3090", 71, 24),  # NVIDIA GA102 white paper, float32 sums
    "mi300x": Gpu("MI300X", 1307.4, 192),  # AMD Instinct MI300X data sheet
}

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
    sheet_share: float  # assumed share of the data sheet's rate that model FLOP reach
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
        """Seconds of one update at the assumed share; data and communication are taken to hide behind it."""
        return self.accumulate * self.cost.flop.model / (self.sheet_share * 1e12 * self.gpu.tflops)

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
            f"{'FLOP per step':16s}{self.accumulate * flop.model / 1e15:.3g} PFLOP per GPU "
            f"({self.accumulate * flop.executed / 1e15:.3g} with what is computed twice)",
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

    def _switches(self) -> str:
        work = self.work
        window = "full attention" if work.window is None else f"window {work.window}"
        parts = [f"batch {work.batch} per GPU", window, "checkpointing" if work.checkpointing else "no checkpointing"]
        parts += ["activations offloaded"] * work.offload + [f"accumulate {self.accumulate}"] * (self.accumulate > 1)
        return ", ".join(parts)

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
        sheet_share: assumed share of the GPU's rate, as its data sheet says it, that model FLOP reach, in (0, 1].
        price: money per GPU and hour, in any currency.
        **work: the other fields of `Work`: scheme, frames, height, width, keyframes, window, checkpointing, offload.

    Raises:
        NovaError: an unknown GPU or an impossible number. A plan that does not fit is no error: see `require_fit`.
    """
    if not isinstance(gpu, Gpu):
        gpu = _gpu_of_the_table(gpu)
    if sharding not in ("ddp", "fsdp"):
        raise NovaError(f"sharding is {sharding!r}; pass 'ddp' (every GPU holds everything) or 'fsdp' (split).")
    if min(gpus, accumulate, steps) < 1 or not 0 < sheet_share <= 1 or (price is not None and price < 0):
        raise NovaError(
            f"gpus {gpus}, accumulate {accumulate}, steps {steps}, sheet_share {sheet_share}, price {price} came; the "
            "first three must be at least 1, sheet_share between 0 and 1, price not negative."
        )
    given = Work(preset, batch=batch, shards=gpus if sharding == "fsdp" else 1, **work)
    made = Plan(given, gpu, gpus, sharding, accumulate, steps, sheet_share, price, step_cost(given))
    return made if made.fits else replace(made, advice=_advice(made))


def _gpu_of_the_table(name: str) -> Gpu:
    if name not in GPUS:
        raise NovaError(f"GPU {name!r} is not in the table; pass one of {', '.join(GPUS)}, or the closest one.")
    return GPUS[name]


def _advice(made: Plan) -> str:
    """The switches that make it fit and cost least, or the GPU that would do."""
    sets = [group for count in range(1, len(_SWITCHES) + 1) for group in combinations(_SWITCHES, count)]
    for group in sorted(sets, key=lambda group: sum(switch.slows for switch in group)):
        changed = made
        for switch in group:
            changed = switch.change(changed)
        if changed.fits and all(switch.change(made) != made for switch in group):
            names = " and ".join(switch.name.format(changed) for switch in group)
            return f"It fits with {names}: {changed.memory / 1e9:.1f} GB.{_on_the_host(changed)}"
    big = [name for name, gpu in GPUS.items() if made.memory <= 1e9 * gpu.memory]
    smallest = min(big, key=lambda name: GPUS[name].memory, default=None)
    if smallest:
        return f"No switch is enough; as it is, it fits on {smallest} ({GPUS[smallest].memory:g} GB)."
    return "No switch is enough and no GPU of the table holds it: pass fewer frames or a smaller size."


def _on_the_host(made: Plan) -> str:
    """What offloading asks of the CPU's memory."""
    if not made.work.offload:
        return ""
    kept = step_cost(replace(made.work, offload=False)).memory.parts["kept for the backward pass"]
    return f" Each GPU then wants {kept / 1e9:.1f} GB of CPU memory."


def _changed(made: Plan, accumulate: int | None = None, sharding: str | None = None, **switches) -> Plan:
    work = replace(made.work, **switches)
    accumulate, sharding = accumulate or made.accumulate, sharding or made.sharding
    return replace(made, work=work, accumulate=accumulate, sharding=sharding, cost=step_cost(work))


def _split(made: Plan) -> Plan:
    return _changed(made, sharding="fsdp", shards=made.gpus) if made.gpus > 1 else made


def _single(made: Plan) -> Plan:
    return _changed(made, batch=1, accumulate=made.accumulate * made.work.batch)


@dataclass(frozen=True)
class _Switch:
    """Something to change when memory is short."""

    name: str  # in Python and on the command line; {0} is the plan with it
    slows: int  # how much it slows down, to choose the cheapest set
    change: Callable[[Plan], Plan]


_SWITCHES = (
    _Switch("checkpointing=True (--gradient-checkpointing)", 1, lambda made: _changed(made, checkpointing=True)),
    _Switch("batch=1, accumulate={0.accumulate} (--accumulation {0.accumulate})", 2, _single),
    _Switch("sharding='fsdp' (--fsdp)", 3, _split),
    _Switch("offload=True (--activation-offload)", 8, lambda made: _changed(made, offload=True)),
)
