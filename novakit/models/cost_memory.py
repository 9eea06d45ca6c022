"""Bytes, as a list of what is in memory at the worst moment. Source: ours.

Written down from what the code holds, and held against it by tests that run it on tensors without memory; the worst
moments are, in a forward, the feed-forward of the last block (its hidden width is 5.8 times the token width), and in a
training step either that or the first block whose activations are recomputed. A device needs some more: the context
and libraries of CUDA (about 0.5 to 1 GB) and what the allocator loses between blocks of different sizes.
"""

from dataclasses import dataclass

from novakit.models.cost_parameters import block_parameters, count_parameters, learning_float32
from novakit.models.cost_products import KEPT_KEYS
from novakit.models.cost_shape import Shape

HALF, FULL = 2, 4  # bytes of bfloat16 and float32


@dataclass(frozen=True)
class Memory:
    """What is in device memory at the worst moment, in bytes by name."""

    parts: dict[str, int]

    @property
    def total(self) -> int:
        """Peak of allocated bytes."""
        return sum(self.parts.values())

    def __str__(self) -> str:
        parts = ", ".join(f"{name} {size / 1e9:.1f}" for name, size in self.parts.items() if size >= 5e7)
        return f"{self.total / 1e9:.1f} GB ({parts})"


def forward_memory(shape: Shape, scheme: str, cached: bool, offload: bool) -> Memory:
    """Peak of one denoising forward in bfloat16, without gradients.

    Args:
        shape: network and clip.
        scheme: "nova", "vace" or "official".
        cached: nova: keys and values are there; else the replica's features are.
        offload: weights wait in CPU memory, two blocks are on the device (one runs, one arrives).
    """
    unit = _tokens(shape, scheme) * shape.width * HALF  # one bfloat16 tensor of all tokens
    nova = scheme == "nova"
    parts = {"weights": _resting_weights(shape, scheme, offload)}
    if nova and cached:
        parts["source cache"] = 2 * len(shape.dense_layers) * unit
    elif nova:
        parts["source features"] = (max(shape.dense_layers) + 1) * unit
    if scheme != "official":
        parts["hints"] = len(shape.sparse_layers) * unit
    return Memory(parts | {"working set": (5 + nova) * unit + 2 * _inner(shape, unit) + _rotary(shape, scheme)})


def source_memory(shape: Shape, offload: bool) -> Memory:
    """Peak of reading the source once: in the last feed-forward, all other layers' keys and values are there."""
    unit = _tokens(shape, "nova") * shape.width * HALF
    return Memory(
        {
            "weights": _resting_weights(shape, "nova", offload),
            "source cache": 2 * (len(shape.dense_layers) - 1) * unit,
            "working set": 4 * unit + 2 * _inner(shape, unit) + _rotary(shape, "nova"),
        }
    )


def step_memory(
    shape: Shape, scheme: str, checkpointing: bool, keep_attention: bool, offload: bool, shards: int
) -> Memory:
    """Peak of one training step on one device, under bfloat16 autocast.

    Args:
        shape: network and clip.
        scheme: "nova", "vace" or "official"; what learns is said in `cost.step_cost`.
        checkpointing: blocks keep their inputs only.
        keep_attention: and what attention to many keys gave.
        offload: what the forward keeps for the backward pass waits in CPU memory.
        shards: devices over which weights, gradients and optimiser state are split (FSDP).
    """
    moments = (_last_forward(shape, scheme), _first_backward(shape, scheme, checkpointing))
    results = _attention_results(shape, scheme) if keep_attention else []
    if not offload:
        kept = kept_activations(shape, scheme, checkpointing) + sum(results)
        moments[1]["freed"] = moments[1].get("freed", 0) + sum(results[: _passed(shape, scheme)])
        moments = tuple(moment | {"kept for the backward pass": kept - moment.pop("freed", 0)} for moment in moments)
    worst = max(moments, key=lambda moment: sum(moment.values()))
    worst.pop("freed", None)
    return Memory(_learning_state(shape, scheme, shards) | worst)


def kept_activations(shape: Shape, scheme: str, checkpointing: bool) -> int:
    """Bytes that the forward keeps for the backward pass, the source's features not among them.

    Units are tensors of all tokens: a frozen block keeps 5 in float32 and 6 in bfloat16 beside the hidden layer of its
    feed-forward; a dense cross-attention that learns 4 and 7; a block whose self-attention learns 7 and 9.
    """
    values = _tokens(shape, scheme) * shape.width
    if scheme == "nova":
        blocks = shape.layers - 1 - min(shape.dense_layers)  # those below the first dense layer keep nothing
        terms = len(shape.dense_layers)
        if checkpointing:
            return (blocks + terms) * values * FULL
        return blocks * (values * FULL + frozen_block(shape, values)) + terms * (values * FULL + dense_term(values))
    if scheme == "official":
        each = 0 if checkpointing else self_learning_block(shape, values)
        return shape.layers * (values * FULL + each)
    blocks = shape.layers - 1 - min(shape.sparse_layers)
    hints = len(shape.sparse_layers)
    if checkpointing:
        return (blocks + hints + 1) * values * HALF
    return blocks * frozen_block(shape, values, FULL) + hints * learning_block(shape, values)


def _attention_results(shape: Shape, scheme: str) -> list[int]:
    """Bytes of what each attention to many keys gave: a number for each value, and a float32 sum for each head.

    In the order in which the backward pass comes to them.
    """
    tokens = _tokens(shape, scheme)
    each = tokens * (shape.width * HALF + shape.width // shape.head * FULL)
    own = each if tokens // shape.batch >= KEPT_KEYS else 0
    if scheme == "official":
        return [own] * shape.layers
    if scheme == "vace":
        return [own] * (shape.layers - 1 - min(shape.sparse_layers) + len(shape.sparse_layers))
    term = each * sum(seen >= KEPT_KEYS for seen in shape.dense_keys) // len(shape.dense_keys)
    return [term] + [own] * (shape.layers - 1 - min(shape.dense_layers)) + [term] * (len(shape.dense_layers) - 1)


def _passed(shape: Shape, scheme: str) -> int:
    """How many of these results are gone, or belong to the block at work, when the first block is run again."""
    return {"nova": 2, "official": 1, "vace": shape.layers - min(shape.sparse_layers)}[scheme]


def frozen_block(shape: Shape, values: int, extra: int = 0) -> int:
    """Kept by a block that only passes gradients; `values` = numbers in one tensor of all tokens."""
    return values * (5 * FULL + 6 * HALF + extra) + _inner(shape, values * HALF)


def dense_term(values: int) -> int:
    """Kept by a dense cross-attention that learns."""
    return values * (4 * FULL + 7 * HALF)


def self_learning_block(shape: Shape, values: int) -> int:
    """Kept by a block whose self-attention learns."""
    return values * (7 * FULL + 9 * HALF) + _inner(shape, values * HALF)


def learning_block(shape: Shape, values: int) -> int:
    """Kept by a VACE block that learns."""
    return values * 35 * HALF + 2 * _inner(shape, values * HALF)


def _last_forward(shape: Shape, scheme: str) -> dict[str, int]:
    """What is there beside the kept activations in the feed-forward of the last block."""
    values = _tokens(shape, scheme) * shape.width
    parts = {}
    if scheme == "nova":
        parts["source features"] = (max(shape.dense_layers) + 1) * values * FULL
        parts["hints"] = len(shape.sparse_layers) * values * HALF
    working = values * (2 * _stream(scheme) + 2 * HALF) + 2 * _inner(shape, values * HALF)
    return parts | {"working set": working + _rotary(shape, scheme)}


def _first_backward(shape: Shape, scheme: str, checkpointing: bool) -> dict[str, int]:
    """The same when the activations of the first block (of those that keep most) are there again.

    "freed" = what of the kept activations is gone by then: the last dense term's input, or the main branch.
    """
    values = _tokens(shape, scheme) * shape.width
    inner = _inner(shape, values * HALF)
    working = 2 * values * _stream(scheme) + _rotary(shape, scheme)
    if not checkpointing:
        features = {"source features": max(shape.dense_layers) * values * FULL} if scheme == "nova" else {}
        return features | {"working set": working + 2 * inner}
    if scheme == "official":
        return {"working set": working + 2 * inner + self_learning_block(shape, values)}
    if scheme == "nova":
        again = max(frozen_block(shape, values), dense_term(values))
        features = max(shape.dense_layers) * values * FULL
        return {"source features": features, "working set": working + 2 * inner + again, "freed": values * FULL}
    gradients = len(shape.sparse_layers) * values * HALF  # of every hint
    main = (shape.layers - 1 - min(shape.sparse_layers)) * values * HALF
    return {"hints": gradients, "working set": working + inner + learning_block(shape, values), "freed": main}


def _stream(scheme: str) -> int:
    """Bytes of a number in the stream of tokens: diffusers' own forward keeps it in bfloat16, NOVA in float32."""
    return HALF if scheme == "vace" else FULL


def _learning_state(shape: Shape, scheme: str, shards: int) -> dict[str, int]:
    """Weights (frozen in bfloat16, learning in float32), gradients, AdamW's two moments, bfloat16 casts."""
    counted = count_parameters(shape, scheme)
    frozen, learning = counted.total - counted.learning, counted.learning
    weights = HALF * (frozen + counted.float32 - learning_float32(shape, scheme)) + FULL * learning
    gathered = 2 * HALF * block_parameters(shape) if shards > 1 else 0  # one block runs, the next one arrives
    return {
        "weights": weights // shards + gathered,
        "gradients": FULL * learning // shards,
        "optimiser": 2 * FULL * learning // shards,
        "bfloat16 casts of learning weights": HALF * learning if shards == 1 else 0,
    }


def _resting_weights(shape: Shape, scheme: str, offload: bool) -> int:
    counted = count_parameters(shape, scheme)
    if offload:
        return 2 * HALF * (block_parameters(shape) + shape.width**2)
    return HALF * (counted.total + counted.float32)


def _tokens(shape: Shape, scheme: str) -> int:
    return shape.batch * (shape.joined_tokens if scheme == "official" else shape.tokens)


def _inner(shape: Shape, unit: int) -> int:
    """Bytes of the feed-forward's hidden layer where one tensor of all tokens has `unit` bytes."""
    return unit * shape.hidden // shape.width


def _rotary(shape: Shape, scheme: str) -> int:
    """cos and sin of every token in float32."""
    return 2 * FULL * shape.head * _tokens(shape, scheme) // shape.batch
