"""FLOP, as a list of matrix products with what each of them needs in the backward pass. Source: ours.

A linear layer y = x W of n tokens costs 2 n in out FLOP; its backward pass holds up to two products of the same size:
dx (when something below it learns) and dW (when W learns). An attention of q queries and k keys of width D costs
4 q k D; its backward pass holds twice that, or once when keys and values do not learn. Gradient checkpointing runs
the forward of a block again, up to the last thing that the backward pass needs; attention to many keys is left out of
it where its results are kept (`models.checkpointing`).
"""

from collections.abc import Iterable
from dataclasses import dataclass

from novakit.models.cost_shape import Shape

KEPT_KEYS = 4096
"""Keys from which on `keep_attention` keeps: 2 FLOP per key and kept byte. The prompt (512 keys) runs again."""


@dataclass(frozen=True)
class Product:
    """One linear layer, or the two products of one attention."""

    forward: int  # FLOP
    backward: int = 0  # how many times that in the backward pass
    again: bool = False  # recomputed by gradient checkpointing
    attention: bool = False


@dataclass(frozen=True)
class Flop:
    """FLOP by kind."""

    forward: int
    backward: int  # without anything computed twice
    recompute: int  # forward parts that gradient checkpointing runs again
    kernel: int  # scores that a flash-attention kernel computes again in its backward pass
    attention: int  # the share of attention in `forward`

    @property
    def model(self) -> int:
        """What the model needs, whatever the implementation: the numerator of MFU."""
        return self.forward + self.backward

    @property
    def executed(self) -> int:
        """What the device computes."""
        return self.model + self.recompute + self.kernel


def count(products: Iterable[Product]) -> Flop:
    """Add up. A flash kernel's backward holds 5 products where its forward holds 2."""
    products = list(products)
    return Flop(
        forward=sum(p.forward for p in products),
        backward=sum(p.forward * p.backward for p in products),
        recompute=sum(p.forward for p in products if p.again),
        kernel=sum(p.forward * (5 - 2 * p.backward) // 2 for p in products if p.attention and p.backward),
        attention=sum(p.forward for p in products if p.attention),
    )


@dataclass(frozen=True)
class Gradients:
    """What a block has to do in the backward pass."""

    passes: bool = False  # a gradient leaves it below: its input depends on something that learns
    self_learns: bool = False  # q, k, v, o of the self-attention learn
    all_learns: bool = False  # every weight learns
    checkpointing: bool = False
    keep_attention: bool = False  # with checkpointing: what attention to many keys gave

    @property
    def any(self) -> bool:
        """False: nothing in it or below it learns, so it has no backward pass."""
        return self.passes or self.self_learns or self.all_learns

    def again(self, keys: int = 0) -> bool:
        """Is a product run again in the backward pass, an attention to so many `keys`?"""
        return self.checkpointing and self.any and not (self.keep_attention and keys >= KEPT_KEYS)


NONE = Gradients()


def block(shape: Shape, tokens: int, gradients: Gradients = NONE) -> list[Product]:
    """One block of the DiT on sequences of `tokens`."""
    d, n, m = shape.width, shape.batch * tokens, shape.batch * shape.text
    whole, own = int(gradients.all_learns), int(gradients.all_learns or gradients.self_learns)
    below, there = int(gradients.passes), int(gradients.any)  # `there`: behind q, k, v a gradient always flows

    def linear(rows: int, inputs: int, outputs: int, backward: int) -> Product:
        return Product(2 * rows * inputs * outputs, backward, gradients.again())

    def attend(keys: int, backward: int) -> Product:
        return Product(4 * n * keys * d, backward, gradients.again(keys), attention=True)

    return [
        *[linear(n, d, d, below + own)] * 3,  # q, k, v of the self-attention
        attend(tokens, 2 * there),
        linear(n, d, d, there + own),
        linear(n, d, d, there + whole),  # q of the text cross-attention
        *[linear(m, d, d, whole)] * 2,  # k, v: below them is only the prompt
        attend(shape.text, there + whole),
        linear(n, d, d, there + whole),
        linear(n, d, shape.hidden, there + whole),
        linear(n, shape.hidden, d, there + whole),
    ]


def embedding(shape: Shape, tokens: int) -> list[Product]:
    """Patches, time and prompt to tokens of width D; never learned here."""
    d = shape.width
    time = shape.batch * (shape.time_width * d + d * d + d * 6 * d)
    text = shape.batch * shape.text * (shape.text_width * d + d * d)
    patches = shape.batch * tokens * shape.patch * shape.channels * d
    return [Product(2 * patches), Product(2 * time), Product(2 * text)]


def head(shape: Shape, learns: bool) -> Product:
    """Tokens back to latents."""
    return Product(2 * shape.batch * shape.tokens * shape.width * shape.patch * shape.channels, int(learns))


def sparse(shape: Shape, gradients: Gradients = NONE) -> list[Product]:
    """All VACE blocks, with the projections of control and hints."""
    n, d = shape.batch * shape.tokens, shape.width
    learns = gradients.all_learns
    blocks = block(shape, shape.tokens, gradients) * len(shape.sparse_layers)
    hints = [Product(2 * n * d * d, 2 * learns)] * len(shape.sparse_layers)  # a block's last product: not run again
    into = Product(2 * n * d * d, int(learns), gradients.again())
    return [Product(2 * n * shape.patch * shape.control_channels * d), into, *blocks, *hints]


def dense(shape: Shape, gradients: Gradients = NONE, keys: bool = True, queries: bool = True) -> list[Product]:
    """The dense cross-attention of every layer: keys and values, and what reads them."""
    n, d, twice = shape.batch * shape.tokens, shape.width, 2 * gradients.all_learns
    linear = Product(2 * n * d * d, twice, gradients.again())
    frame = 4 * shape.batch * shape.frame * d  # FLOP of one key for the queries of a latent frame
    read = [Product(frame * seen, twice, gradients.again(seen), attention=True) for seen in shape.dense_keys]
    out = Product(2 * n * d * d, twice)  # its last product: not run again
    return ([linear] * 2 * keys + [linear, *read, out] * queries) * len(shape.dense_layers)


def source_products(shape: Shape) -> dict[str, list[Product]]:
    """The source, read once: the replica up to the last dense layer, keys and values."""
    walked = max(shape.dense_layers) + 1
    replica = embedding(shape, shape.tokens) + block(shape, shape.tokens) * walked
    return {"replica": replica, "dense keys and values": dense(shape, queries=False)}


def forward_products(shape: Shape, scheme: str, cached: bool) -> dict[str, list[Product]]:
    """One denoising forward, by part."""
    if scheme == "official":
        joined = shape.joined_tokens
        blocks = block(shape, joined) * shape.layers
        return {"main": [*embedding(shape, joined), *blocks, head(shape, False)]}
    blocks = block(shape, shape.tokens) * shape.layers
    parts = {"main": [*embedding(shape, shape.tokens), *blocks, head(shape, False)], "sparse": sparse(shape)}
    if scheme == "vace":
        return parts
    before = {} if cached else source_products(shape)
    return {**parts, **before, "dense": dense(shape, keys=False)}


def step_products(
    shape: Shape, scheme: str, checkpointing: bool, keep_attention: bool = False
) -> dict[str, list[Product]]:
    """One training step, by part; the weights that learn are those of `cost.step_cost`."""
    tokens = shape.joined_tokens if scheme == "official" else shape.tokens
    first = {"nova": min(shape.dense_layers), "vace": min(shape.sparse_layers), "official": 0}[scheme]
    own, how = scheme == "official", {"checkpointing": checkpointing, "keep_attention": keep_attention}
    learning = Gradients(passes=True, all_learns=True, **how)
    blocks = []
    for layer in range(shape.layers):  # blocks above the first thing that learns pass a gradient on
        gradients = Gradients(passes=layer > first, self_learns=own, **how)
        blocks += block(shape, tokens, gradients)
    parts = {"main": [*embedding(shape, tokens), *blocks, head(shape, True)]}
    if own:
        return parts
    parts["sparse"] = sparse(shape, learning if scheme == "vace" else NONE)
    if scheme == "vace":
        return parts
    replica = source_products(shape)["replica"]
    return {**parts, "replica": replica, "dense": dense(shape, learning)}
