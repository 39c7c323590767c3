"""Token counts in disjoint leaves, so that nothing can be charged twice."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Self

from farthing.core.errors import UsageError


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of an attempt. No token is in two leaves; each leaf has its own price.

    Attributes:
        input: prompt tokens that were neither read from nor written to a cache.
        cache_read: prompt tokens read from the provider's cache.
        cache_write: prompt tokens written to the provider's cache.
        output: generated tokens that are not reasoning.
        reasoning: generated tokens of hidden or shown reasoning.
    """

    input: int = 0
    cache_read: int = 0
    cache_write: int = 0
    output: int = 0
    reasoning: int = 0

    def __post_init__(self) -> None:
        for field in fields(self):
            count = getattr(self, field.name)
            if count < 0:
                raise UsageError(f"usage leaf {field.name!r} is negative: {count}")

    @classmethod
    def from_inclusive(
        cls,
        input_tokens: int,
        output_tokens: int,
        *,
        cached_tokens: int = 0,
        cache_write_tokens: int = 0,
        reasoning_tokens: int = 0,
    ) -> Self:
        """Leaves from counters in OpenAI's sense: input includes cached, output reasoning.

        Raises UsageError when a part is larger than its whole.
        """
        if cached_tokens + cache_write_tokens > input_tokens:
            raise UsageError(
                f"{cached_tokens} cached and {cache_write_tokens} cache-write tokens do not fit "
                f"into {input_tokens} input tokens"
            )
        if reasoning_tokens > output_tokens:
            raise UsageError(
                f"{reasoning_tokens} reasoning tokens do not fit into {output_tokens} output tokens"
            )
        return cls(
            input_tokens - cached_tokens - cache_write_tokens,
            cached_tokens,
            cache_write_tokens,
            output_tokens - reasoning_tokens,
            reasoning_tokens,
        )

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.input + other.input,
            self.cache_read + other.cache_read,
            self.cache_write + other.cache_write,
            self.output + other.output,
            self.reasoning + other.reasoning,
        )

    @property
    def input_tokens(self) -> int:
        """All prompt tokens, cached ones included."""
        return self.input + self.cache_read + self.cache_write

    @property
    def output_tokens(self) -> int:
        """All generated tokens, reasoning included."""
        return self.output + self.reasoning
