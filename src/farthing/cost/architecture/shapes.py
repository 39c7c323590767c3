"""A transformer as the matrices it multiplies by and the tokens it attends to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from farthing.cost.architecture.formats import Format


@dataclass(frozen=True, slots=True)
class Matrix:
    """A weight matrix, or the like matrices of all experts.

    Attributes:
        name: as Hugging Face names it within its layer, such as `self_attn.q_proj`.
        inputs, outputs: its sizes.
        format: how its numbers are stored.
        plain: how its bias is stored.
        bias: whether it has one, a number an output.
        copies: experts that have one.
        used: of the copies, how many each token is multiplied by.
        closes: whether what it makes is added to the residual stream.
    """

    name: str
    inputs: int
    outputs: int
    format: Format
    plain: Format
    bias: bool = False
    copies: int = 1
    used: int = 1
    closes: bool = False

    @property
    def each(self) -> int:
        """Parameters of one copy."""
        return self.inputs * self.outputs + (self.outputs if self.bias else 0)

    @property
    def each_bytes(self) -> int:
        """Bytes of one copy."""
        bias = self.plain.nbytes(1, self.outputs) if self.bias else 0
        return self.format.nbytes(self.inputs, self.outputs) + bias

    def touched(self, tokens: int) -> float:
        """Copies that a batch of so many tokens reads.

        All of them, for one copy or one token exactly; else the expectation when every token
        picks its experts at random, all alike, which is modelled.
        """
        if tokens == 0:
            return 0.0
        if tokens == 1 or self.used == self.copies:
            return float(self.used)
        return self.copies * (1.0 - (1.0 - self.used / self.copies) ** tokens)


@dataclass(frozen=True, slots=True)
class Latent:
    """The compressed keys and values of multi-head latent attention.

    Attributes:
        rank: numbers of a token's latent, from which all heads' keys and values are made.
        rope: numbers of the key that all heads share, with the position in it.
        query_rank: numbers of the queries' latent; None if queries are not compressed.
    """

    rank: int
    rope: int
    query_rank: int | None


@dataclass(frozen=True, slots=True)
class Attention:
    """How a layer attends.

    Attributes:
        heads: of queries.
        kv_heads: of keys and values.
        query: numbers of a head's query and key.
        value: numbers of a head's value.
        window: tokens that a token sees, itself included; None for all before it.
        latent: of multi-head latent attention, else None.
    """

    heads: int
    kv_heads: int
    query: int
    value: int
    window: int | None = None
    latent: Latent | None = None

    @property
    def kv_numbers(self) -> int:
        """Numbers that the cache holds of a token."""
        if self.latent:
            return self.latent.rank + self.latent.rope
        return self.kv_heads * (self.query + self.value)

    def macs_per_pair(self, absorbed: bool) -> int:
        """Multiply-adds for a token that sees a token: its score, and the sum of values.

        `absorbed` means that queries meet the latent itself, with the matrices that expand it
        multiplied into the queries and the outputs instead.
        """
        if self.latent and absorbed:
            return self.heads * (2 * self.latent.rank + self.latent.rope)
        return self.heads * (self.query + self.value)

    def held(self, tokens: int) -> int:
        """Tokens that the cache keeps of a sequence of so many."""
        return tokens if self.window is None else min(tokens, self.window)


@dataclass(frozen=True, slots=True)
class Layer:
    """One block.

    Attributes:
        attention: how it attends.
        projections: the matrices of its attention.
        feed_forward: those after it: of a dense layer, or of router, experts and shared experts.
        others: parameters of norms, sinks and the like, never quantised.
        parallel: whether attention and feed-forward read the same normed input.
    """

    attention: Attention
    projections: tuple[Matrix, ...]
    feed_forward: tuple[Matrix, ...]
    others: int
    parallel: bool = False


@dataclass(frozen=True)
class Architecture:
    """A decoder-only transformer.

    Attributes:
        name: the file's, or what it calls itself.
        family: its `model_type`.
        width: of the residual stream.
        vocabulary: tokens that there are.
        layers: its blocks, first to last.
        head: the matrix of the logits; with tied embeddings the embedding's own numbers.
        tied: whether it is the embedding.
        embedded: parameters of the embedding, positions included.
        others: parameters of the last norm.
        positions: tokens of the context window; None if the file does not say.
        plain: the format of what is not quantised, and of activations.
        kv_bits: of a number in the cache.
        notes: what the counts leave out.
    """

    name: str
    family: str
    width: int
    vocabulary: int
    layers: tuple[Layer, ...]
    head: Matrix
    tied: bool
    embedded: int
    others: int
    positions: int | None
    plain: Format
    kv_bits: int
    notes: tuple[str, ...] = ()

    @cached_property
    def groups(self) -> tuple[tuple[Layer, int], ...]:
        """Layers that differ, and how many there are of each."""
        return tuple(Counter(self.layers).items())

    def matrices(self) -> Iterator[Matrix]:
        """Those of all layers; not the head's."""
        for layer in self.layers:
            yield from layer.projections
            yield from layer.feed_forward

    @cached_property
    def parameters(self) -> int:
        """All of them; tied embeddings count once."""
        total = self.embedded + self.others + sum(layer.others for layer in self.layers)
        total += sum(matrix.copies * matrix.each for matrix in self.matrices())
        return total + (0 if self.tied else self.head.each)

    @cached_property
    def active_parameters(self) -> int:
        """Those that one token passes: of the experts only the chosen, the embedding whole."""
        idle = ((m.copies - m.used) * m.each for m in self.matrices())
        return self.parameters - sum(idle)

    @cached_property
    def weight_bytes(self) -> int:
        """Bytes of all weights."""
        total = self.plain.nbytes(1, self.embedded + self.others)
        total += sum(self.plain.nbytes(1, layer.others) for layer in self.layers)
        total += sum(matrix.copies * matrix.each_bytes for matrix in self.matrices())
        return total + (0 if self.tied else self.head.each_bytes)

    @cached_property
    def kv_bytes_per_token(self) -> int:
        """Bytes that a token adds to the cache while every layer still keeps all tokens."""
        return sum(self.kv_bits * layer.attention.kv_numbers for layer in self.layers) // 8

    def kv_bytes(self, tokens: int) -> int:
        """Bytes of the cache of one sequence of so many tokens; scales are not counted."""
        numbers = (n * a.attention.kv_numbers * a.attention.held(tokens) for a, n in self.groups)
        bits = self.kv_bits * sum(numbers)
        return -(-bits // 8)

    @property
    def compute(self) -> str:
        """The type that most products are computed in, as device cards name it."""
        sizes: dict[str, int] = {}
        for matrix in self.matrices():
            kind = matrix.format.compute
            sizes[kind] = sizes.get(kind, 0) + matrix.used * matrix.each
        return max(sizes, key=lambda kind: sizes[kind])
