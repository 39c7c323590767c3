"""A server as a queue sees it: a cache of so many tokens, and seconds for its passes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from farthing.core.errors import DataError
from farthing.cost.architecture import count, peak
from farthing.cost.runtime.roofline import Server

WATERMARK = 0.01


@dataclass(frozen=True)
class Engine:
    """A continuous-batching server.

    Prompts wait in order of arrival. The first is read, by itself, as soon as the cache has room
    for it; else all that run write a token. `admission` says what room is: "grow", for its
    prompt, while the last to come is thrown out and read again later when the cache runs full; or
    "whole", for prompt and answer, so that none is ever thrown out. Sliding windows are not made
    use of: every layer keeps all tokens.

    Attributes:
        server: the model and where it runs.
        most: requests that run at once.
        admission: when a request is let in.
        memory_share: of the memory that weights, activations and cache may fill.
    """

    server: Server
    most: int = 256
    admission: Literal["grow", "whole"] = "grow"
    memory_share: float = 0.9

    @cached_property
    def capacity(self) -> int:
        """Tokens that the cache holds; DataError if there is room for none."""
        held = peak(self.server.model, 1, 0, self.most)
        room = self.server.memory * self.memory_share - held.weights - held.activations
        tokens = int(room // self.server.model.kv_bytes_per_token)
        if tokens < 1:
            raise DataError(
                f"{self.server.model.name} does not fit: {held.weights / 1e9:.1f} GB of weights, "
                f"{self.server.memory / 1e9:.1f} GB of memory"
            )
        return tokens

    @cached_property
    def _coefficients(self) -> tuple[float, float]:
        """Seconds of compute and of memory for each token seen."""
        model = self.server.model
        flops = sum(2 * layer.attention.macs_per_pair(True) for layer in model.layers)
        return flops / self.server.flops_per_s, model.kv_bytes_per_token / self.server.bytes_per_s

    @cached_property
    def _fixed(self) -> dict[int, tuple[float, float]]:
        return {}

    def fixed(self, batch: int) -> tuple[float, float]:
        """Seconds of compute and of memory of a step of so many, whatever they see."""
        if batch not in self._fixed:
            work = count(self.server.model, 1, 0, batch)
            compute = (work.flops - work.attention) / self.server.flops_per_s
            memory = (work.weight_bytes + work.kv_written_bytes) / self.server.bytes_per_s
            self._fixed[batch] = compute, memory
        return self._fixed[batch]

    def step(self, batch: int, seen: float) -> float:
        """Seconds for one more token of each of `batch`, which see `seen` tokens together."""
        (compute, memory), (c, m) = self.fixed(batch), self._coefficients
        return max(compute + c * seen, memory + m * seen) + self.server.overhead_s

    def prefill(self, tokens: int) -> float:
        """Seconds to read a prompt of so many."""
        if tokens not in self._prefills:
            self._prefills[tokens] = self.server.prefill(tokens).seconds
        return self._prefills[tokens]

    @cached_property
    def _prefills(self) -> dict[int, float]:
        return {}
