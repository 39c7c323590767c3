"""Peak performance of long-context serving (Fu, 2024): four numbers that the cache decides."""

from __future__ import annotations

from dataclasses import dataclass

from farthing.cost.architecture import peak
from farthing.cost.runtime.roofline import Server


@dataclass(frozen=True, slots=True)
class LongContext:
    """What a server can do at a context length; modelled.

    Attributes:
        context: tokens of a user's prompt.
        users: whose caches fit beside the weights at once; 0 if not one does.
        prefill_s: seconds to read the prompt.
        decode_s: seconds to write the answer, alone on the server.
        switch_s: seconds to move one user's cache out over the link and another's in; None if
            the link is unknown.
        kv_bytes: of one user, answer included.
    """

    context: int
    users: int
    prefill_s: float
    decode_s: float
    switch_s: float | None
    kv_bytes: int


def long_context(server: Server, context: int, output: int) -> LongContext:
    """The four numbers for prompts of `context` tokens and answers of `output`."""
    each = server.model.kv_bytes(context + output)
    link = server.device.link
    return LongContext(
        context=context,
        users=users(server, context + output),
        prefill_s=server.prefill(context).seconds,
        decode_s=server.decoding(context, output),
        switch_s=None if link is None else 2 * each / (link * server.devices),
        kv_bytes=each,
    )


def users(server: Server, tokens: int) -> int:
    """Sequences of so many tokens that fit into the memory together while they are decoded."""
    held = peak(server.model, 1, tokens - 1)
    room = server.memory - held.weights
    return max(0, int(room // (held.kv + held.activations)))
