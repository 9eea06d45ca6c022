"""The measurements of the suite "gpu": one forward, one training step, one edit from end to end. Source: ours.

Each takes a Setup and the numbers known so far, and returns numbers without prefix. MFU is the model's own FLOP per
second, nothing counted that checkpointing computes again, as a share of the matrix product measured on the same card;
the share of a data sheet's rate, which no product reaches, is smaller and has another name (`training.full_size.plan`).
"""

from __future__ import annotations

from collections.abc import Callable

from novakit.evaluation.benchmark.gpu_setup import (
    SCHEMES,
    Setup,
    build_network,
    clock,
    forget_peak,
    peak,
    random_inputs,
    require_finite,
)

Numbers = dict[str, float]
BACKENDS = ("native", "_native_flash", "_native_cudnn", "flash", "_flash_3")
"""Exact attention kernels by diffusers' names; those that are not installed are left out."""


def measure_matmul(setup: Setup, _known: Numbers) -> Numbers:
    """TFLOP/s that a large bfloat16 matrix product reaches: what MFU is taken of."""
    import torch

    side = setup.matmul
    a, b = (torch.randn(side, side, device=setup.device, dtype=torch.bfloat16) for _ in range(2))
    count = 10 if setup.device.startswith("cuda") else 1

    def several() -> None:
        for _ in range(count):
            a @ b

    return {"tflops": 2 * count * side**3 / clock(setup, several) / 1e12}


def measure_attention(setup: Setup, _known: Numbers) -> Numbers:
    """TFLOP/s of one self-attention at the real shape, for every exact kernel that is here."""
    import torch
    from diffusers.models.attention_dispatch import AttentionBackendName, dispatch_attention_fn

    shape = setup.work("cached").shape
    heads = shape.width // shape.head
    size = (shape.batch, shape.tokens, heads, shape.head)
    query, key, value = (torch.randn(size, device=setup.device, dtype=torch.bfloat16) for _ in range(3))
    flop, found = 4 * shape.batch * shape.tokens**2 * shape.width, {}
    for name in BACKENDS:
        try:
            backend = AttentionBackendName(name)
            taken = clock(setup, lambda backend=backend: dispatch_attention_fn(query, key, value, backend=backend))
        except Exception as error:  # a missing package, or a kernel that this card does not have: each says it its way
            print(f"  attention by {name}: not here ({str(error).splitlines()[0][:80] if str(error) else error!r})")
            continue
        found[f"{name}.tflops"] = flop / taken / 1e12
    return found


def quickest_attention(known: Numbers, learning: bool = False) -> str:
    """The quickest kernel that `measure_attention` found; in training one of torch's own, which have a backward."""
    rates = {name: known.get(f"attention.{name}.tflops", 0.0) for name in BACKENDS}
    if learning:
        rates = {name: rate for name, rate in rates.items() if "native" in name}
    return max(rates, key=rates.get) if any(rates.values()) else "native"


def measure_forward(setup: Setup, known: Numbers, name: str, compiled: bool = False) -> Numbers:
    """Seconds of one denoising forward, in which the source is read only by "naive" and "official"."""
    import torch

    from novakit.models.cost import forward_cost

    network = build_network(setup, name)
    use_attention(network, quickest_attention(known))
    if compiled:
        torch._dynamo.reset()
        _diffusers_part(network).compile_repeated_blocks(backend=setup.compiler)
    given = random_inputs(setup, name, torch.bfloat16)
    with torch.no_grad():
        forward = forward_action(network, name, given)
        require_finite(forward(), f"the forward of {name}")
        forget_peak(setup)
        taken = clock(setup, forward, warm=0)  # so did the first forward
    cost = forward_cost(setup.work(name))
    return _rates(known, taken, cost.flop.forward) | {"counted_gb": cost.memory.total / 1e9} | peak(setup)


def measure_source(setup: Setup, known: Numbers) -> Numbers:
    """Seconds of reading the source, once per edit, and the size of its keys and values."""
    import torch

    from novakit.models.cost import source_cost

    network = build_network(setup, "cached")
    use_attention(network, quickest_attention(known))
    given = random_inputs(setup, "cached", torch.bfloat16)
    with torch.no_grad():
        size = network.encode_source(given.source, given.text).num_bytes
        forget_peak(setup)
        taken = clock(setup, lambda: network.encode_source(given.source, given.text))
    cost = source_cost(setup.work("cached"))
    return _rates(known, taken, cost.flop.forward) | {"cache_gb": size / 1e9} | peak(setup)


def measure_training(setup: Setup, known: Numbers, name: str, keep_attention: bool = False) -> Numbers:
    """Seconds of one training step: batch 1, checkpointing (of all, or all but attention), bfloat16 autocast, AdamW.

    What learns: "cached" and "local" the dense cross-attention, "official" the self-attention, "vace" the VACE blocks.
    """
    import torch

    from novakit.models.cost import step_cost

    forget_peak(setup)
    network = build_network(setup, name, learning=True, keep_attention=keep_attention)
    use_attention(network, quickest_attention(known, learning=True))
    step = _training_step(setup, network, name)
    loss = step()
    require_finite(loss, f"the training step of {name}")
    forget_peak(setup)
    taken = clock(setup, step, warm=0)  # the first step warmed up
    cost = step_cost(setup.work(name, keep_attention=keep_attention))
    torch._dynamo.reset()
    executed = {"executed_tflop": cost.flop.executed / 1e12, "counted_gb": cost.memory.total / 1e9}
    return _rates(known, taken, cost.flop.model) | executed | peak(setup)


def _training_step(setup: Setup, network, name: str) -> Callable:
    """`step()` = noise, forward, loss, backward, AdamW; returns the loss."""
    import torch

    from novakit.training.objective import add_noise, flow_matching_loss

    learning = [weight for weight in network.parameters() if weight.requires_grad]
    optimiser = torch.optim.AdamW(learning, lr=1e-4, fused=True)
    given = random_inputs(setup, name, torch.float32)
    sigmas = torch.full((len(given.latents),), 0.5)

    def step():
        noise = torch.randn_like(given.latents)
        noisy = add_noise(given.latents, noise, sigmas)
        with torch.autocast(setup.device.partition(":")[0], torch.bfloat16):
            velocity = _call(network, name, given, noisy, source_latents=given.source)
        loss = flow_matching_loss(velocity, noise, given.latents, sigmas)
        loss.backward()
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        return loss.detach()

    return step


def forward_action(network, name: str, given) -> Callable:
    """One denoising forward as an action; the cache is made here, outside of it."""
    if name in ("cached", "local"):
        source = {"dense_cache": network.encode_source(given.source, given.text)}
    else:
        source = {"source_latents": given.source}
    return lambda: _call(network, name, given, given.latents, **source)


def _call(network, name: str, given, latents, **source):
    if name == "vace":
        source = {}
    return network(latents, given.timestep, given.text, given.control, **source, return_dict=False)[0]


def _diffusers_part(network):
    """The ModelMixin inside: NOVA itself, or the base that a scheme wraps."""
    return network if hasattr(network, "encode_source") else network.base


def use_attention(network, backend: str) -> None:
    if backend != "native":
        _diffusers_part(network).set_attention_backend(backend)


def _rates(known: Numbers, taken: float, flop: int) -> Numbers:
    """Seconds, counted TFLOP, and MFU where the matrix product is known."""
    rate = flop / taken / 1e12
    share = {"mfu": rate / known["matmul.tflops"]} if known.get("matmul.tflops") else {}
    return {"seconds": taken, "tflop": flop / 1e12, "tflops": rate, **share}


def counted_bytes(setup: Setup, kind: str, name: str) -> int:
    """What a measurement will need by the count, to refuse it before it fails."""
    from novakit.models.cost import forward_cost, source_cost, step_cost

    if name not in SCHEMES:
        return source_cost(setup.work("cached")).memory.total if kind == "source" else 0
    if kind in ("train", "kept"):
        return step_cost(setup.work(name, keep_attention=kind == "kept")).memory.total
    return forward_cost(setup.work(name)).memory.total
