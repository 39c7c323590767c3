"""The most memory that a pass needs at once."""

from __future__ import annotations

from dataclasses import dataclass

from farthing.cost.architecture.shapes import Architecture, Layer

LOGIT_BYTES = 4


@dataclass(frozen=True, slots=True)
class Peak:
    """Bytes that are held at the fullest moment of a pass.

    Attributes:
        weights: of the whole model.
        kv: of the cache after the pass.
        activations: live at once, for the schedule that `peak` describes.
    """

    weights: int
    kv: int
    activations: int

    @property
    def total(self) -> int:
        """All together."""
        return self.weights + self.kv + self.activations


def peak(
    model: Architecture, new: int, past: int = 0, batch: int = 1, *, all_logits: bool = False
) -> Peak:
    """The peak of `batch` sequences that each read `new` tokens after `past` cached ones.

    The schedule is that of a server with fused attention (no matrix of scores) which frees each
    intermediate after its last use and adds to the residual stream in place: per token the
    residual, then in turn the normed input with queries, keys and values; queries, keys and
    values with the mixed values; the mixed values with the output; the normed input with what
    the feed-forward matrices make of it, all chosen experts at once; and at the end float32
    logits. A latent is expanded for all tokens seen where several are read, and absorbed where
    one is, as in `count`. Frameworks hold more: workspaces, fragmentation, captured graphs.
    """
    tokens = batch * new
    widest = max(_layer(model, layer, new, past, batch) for layer, _ in model.groups)
    inside = tokens * model.width + widest
    read_out = tokens if all_logits else batch
    size = model.plain.bits // 8
    at_end = size * (tokens * model.width + read_out * model.width)
    at_end += LOGIT_BYTES * read_out * model.vocabulary
    return Peak(
        weights=model.weight_bytes,
        kv=batch * model.kv_bytes(past + new),
        activations=max(size * inside, at_end),
    )


def _layer(model: Architecture, layer: Layer, new: int, past: int, batch: int) -> int:
    """Numbers that a layer holds beside the residual, at its fullest."""
    width, own = model.width, layer.attention
    kept = width if layer.parallel else 0
    mixed = own.heads * own.value
    moments = [mixed + width + kept]
    expanded = 0
    if own.latent:
        rank, rope = own.latent.rank, own.latent.rope
        low = own.latent.query_rank or 0
        queries, latent = own.heads * own.query, rank + rope
        moments += [width + low + (queries if low else 0), width + queries + latent]
        if new == 1:
            inner = own.heads * latent, own.heads * rank
            moments += [queries + latent + inner[0], latent + sum(inner), inner[1] + mixed]
        else:
            each = own.kv_heads * (own.query - rope + own.value)
            expanded = batch * (new * (queries + latent + each + mixed) + past * (latent + each))
    else:
        made = own.heads * own.query + own.kv_heads * (own.query + own.value)
        moments += [width + made, made + mixed + kept]
    inner_width = sum(m.used * m.outputs for m in layer.feed_forward if not m.closes)
    ends = [m for m in layer.feed_forward if m.closes]
    results = sum(m.used * m.outputs for m in ends)
    gathered = sum(m.used for m in ends if m.copies > 1) * width
    hidden = sum(m.used * m.inputs for m in ends)
    moments += [width + gathered + inner_width, hidden + results]
    return max(batch * new * max(moments), expanded)
