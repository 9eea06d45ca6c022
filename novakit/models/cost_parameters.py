"""How many numbers the network holds, by part, and how many of them learn. Source: ours."""

from dataclasses import dataclass

from novakit.models.cost_shape import Shape


@dataclass(frozen=True)
class Parameters:
    """Counts of numbers (not bytes)."""

    main: int  # the DiT with its embeddings
    sparse: int  # VACE blocks and their patch embedding
    dense: int  # dense cross-attention of every layer; the replica shares the main branch's weights
    learning: int  # those that the scheme trains
    float32: int  # those that stay float32 when the rest is bfloat16 (norms, time embedder, modulation tables)

    @property
    def total(self) -> int:
        """All that is in memory."""
        return self.main + self.sparse + self.dense


def count_parameters(shape: Shape, scheme: str = "nova") -> Parameters:
    """Count from the formulas.

    Args:
        shape: the network.
        scheme: "nova"; "vace" has no dense branch, "official" has neither branch.

    Returns:
        The counts; "learning" is what `step_cost` trains in that scheme.
    """
    sparse = _sparse(shape) if scheme != "official" else 0
    dense = len(shape.dense_layers) * _dense_layer(shape) if scheme == "nova" else 0
    blocks = sparse - _linear(shape.patch * shape.control_channels, shape.width)  # the patch embedding is frozen
    learning = {"nova": dense, "vace": blocks, "official": shape.layers * _attention(shape)}[scheme]
    return Parameters(_main(shape), sparse, dense, learning, _float32(shape, scheme))


def learning_float32(shape: Shape, scheme: str) -> int:
    """How many of `Parameters.float32` learn (they would be float32 anyway)."""
    if scheme == "nova":
        return 4 * shape.width * len(shape.dense_layers)
    return len(shape.sparse_layers) * _modulation(shape) if scheme == "vace" else 0


def _linear(inputs: int, outputs: int) -> int:
    return inputs * outputs + outputs


def _attention(shape: Shape) -> int:
    """q, k, v, o and the two norms of queries and keys."""
    return 4 * _linear(shape.width, shape.width) + 2 * shape.width


def block_parameters(shape: Shape) -> int:
    """One block of the DiT: self-attention, text cross-attention, feed-forward, modulation table."""
    d = shape.width
    feed_forward = _linear(d, shape.hidden) + _linear(shape.hidden, d)
    return 2 * _attention(shape) + feed_forward + _modulation(shape)


def _main(shape: Shape) -> int:
    d = shape.width
    patches = _linear(shape.patch * shape.channels, d) + _linear(d, shape.patch * shape.channels) + 2 * d
    time = _linear(shape.time_width, d) + _linear(d, d) + _linear(d, 6 * d)
    text = _linear(shape.text_width, d) + _linear(d, d)
    return patches + time + text + shape.layers * block_parameters(shape)


def _sparse(shape: Shape) -> int:
    """VACE blocks have a projection of the hint; the first one also has one of the control."""
    d, count = shape.width, len(shape.sparse_layers)
    projections = (count + 1) * _linear(d, d)
    return _linear(shape.patch * shape.control_channels, d) + count * block_parameters(shape) + projections


def _dense_layer(shape: Shape) -> int:
    """The cross-attention and two LayerNorms with weights."""
    return _attention(shape) + 4 * shape.width


def _float32(shape: Shape, scheme: str) -> int:
    d = shape.width
    blocks = shape.layers + (len(shape.sparse_layers) if scheme != "official" else 0)
    time = _linear(shape.time_width, d) + _linear(d, d)
    norms = 4 * d * len(shape.dense_layers) if scheme == "nova" else 0
    return time + 2 * d + blocks * _modulation(shape) + norms


def _modulation(shape: Shape) -> int:
    """A block's table of shifts, scales and gates, and its LayerNorm with weights."""
    return 6 * shape.width + (2 * shape.width if shape.text_norm else 0)
