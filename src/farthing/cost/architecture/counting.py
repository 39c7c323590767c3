"""FLOPs and bytes of one pass: a prefill, a decode step, or a chunk between the two."""

from __future__ import annotations

from dataclasses import dataclass

from farthing.core.errors import DataError
from farthing.cost.architecture.shapes import Architecture, Attention


@dataclass(frozen=True, slots=True)
class Work:
    """What a pass computes and moves.

    FLOPs are two for each multiply-add of the matrix products and of attention over the tokens
    that are seen; norms, softmax, activations, biases and look-ups are left out. Bytes are the
    least that must move, each weight and each cached number once; activations are left out.

    Attributes:
        projections, attention, feed_forward, head: FLOPs by part; `attention` is the scores and
            the weighted sums, and what expands a latent again.
        weight_bytes: read; with experts, the expectation for random choices, rounded.
        kv_read_bytes, kv_written_bytes: of the cache.
    """

    projections: int
    attention: int
    feed_forward: int
    head: int
    weight_bytes: int
    kv_read_bytes: int
    kv_written_bytes: int

    @property
    def flops(self) -> int:
        """All parts together."""
        return self.projections + self.attention + self.feed_forward + self.head

    @property
    def nbytes(self) -> int:
        """All bytes together."""
        return self.weight_bytes + self.kv_read_bytes + self.kv_written_bytes

    @property
    def intensity(self) -> float:
        """Operational intensity: FLOPs for each byte moved."""
        return self.flops / self.nbytes


def count(
    model: Architecture,
    new: int,
    past: int = 0,
    batch: int = 1,
    *,
    all_logits: bool = False,
    absorbed: bool | None = None,
) -> Work:
    """The work of `batch` sequences that each read `new` tokens after `past` cached ones.

    Args:
        model: whose work.
        new: tokens read by each sequence, at least 1; 1 is a decode step.
        past: tokens of each sequence in the cache before.
        batch: sequences, at least 1.
        all_logits: whether each new token gets logits, not only the last of a sequence.
        absorbed: for latent attention, whether queries meet the latent itself. None: where one
            token is read, else keys and values are expanded, as servers do it.

    Raises:
        DataError: for numbers of tokens or sequences that cannot be.
    """
    if new < 1 or past < 0 or batch < 1:
        raise DataError(f"cannot read {new} tokens after {past} in {batch} sequences")
    absorbed = new == 1 if absorbed is None else absorbed
    tokens = batch * new
    projections = attention = feed_forward = kv_read = kv_written = 0
    weights = 0.0
    for layer, alike in model.groups:
        own, sequences = layer.attention, alike * batch
        projections += 2 * alike * tokens * sum(m.inputs * m.outputs for m in layer.projections)
        attention += 2 * sequences * pairs(own, new, past) * own.macs_per_pair(absorbed)
        if own.latent and not absorbed:
            expand = own.latent.rank * own.heads * (own.query - own.latent.rope + own.value)
            attention += 2 * sequences * expand * past
        products = sum(m.used * m.inputs * m.outputs for m in layer.feed_forward)
        feed_forward += 2 * alike * tokens * products
        kv_read += sequences * own.kv_numbers * _seen(own, new, past)
        kv_written += sequences * own.kv_numbers * own.held(new)
        weights += alike * model.plain.nbytes(1, layer.others)
        for matrix in (*layer.projections, *layer.feed_forward):
            weights += alike * matrix.each_bytes * matrix.touched(tokens)
    read_out = tokens if all_logits else batch
    weights += model.head.each_bytes + model.plain.nbytes(1, model.others + tokens * model.width)
    return Work(
        projections=projections,
        attention=attention,
        feed_forward=feed_forward,
        head=2 * read_out * model.head.inputs * model.head.outputs,
        weight_bytes=round(weights),
        kv_read_bytes=-(-kv_read * model.kv_bits // 8),
        kv_written_bytes=-(-kv_written * model.kv_bits // 8),
    )


def pairs(attention: Attention, new: int, past: int) -> int:
    """How many times one of `new` tokens sees a token, itself included, after `past` others."""
    full = new * past + new * (new + 1) // 2
    window = attention.window
    if window is None:
        return full
    beyond = past + new - window
    if beyond <= 0:
        return full
    inside = max(0, window - past)
    return inside * past + inside * (inside + 1) // 2 + (new - inside) * window


def _seen(attention: Attention, new: int, past: int) -> int:
    """Tokens whose keys and values are read by a pass."""
    if attention.window is None:
        return past + new
    return new + min(past, attention.window - 1)
