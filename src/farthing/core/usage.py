"""Token counts in disjoint leaves, so that nothing can be charged twice."""

from __future__ import annotations

from dataclasses import dataclass, fields
from operator import add, attrgetter
from typing import Self

from farthing.core.errors import UsageError


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of an attempt. No token is in two leaves; each leaf has its own price.

    Attributes:
        input: prompt tokens of text that were neither read from nor written to a cache.
        cache_read: prompt tokens of any kind read from the provider's cache.
        cache_write: prompt tokens written to the provider's cache for its default lifetime.
        output: generated tokens of text that are not reasoning.
        reasoning: generated tokens of hidden or shown reasoning.
        cache_write_1h: prompt tokens written to the cache for the longer lifetime.
        input_audio: prompt tokens of audio that no cache held.
        output_audio: generated tokens of audio.
        input_image: prompt tokens of images that no cache held, where they are told apart.
    """

    input: int = 0
    cache_read: int = 0
    cache_write: int = 0
    output: int = 0
    reasoning: int = 0
    cache_write_1h: int = 0
    input_audio: int = 0
    output_audio: int = 0
    input_image: int = 0

    def __post_init__(self) -> None:
        counts = _counts(self)
        if min(counts) < 0:
            name = next(name for name, count in zip(LEAVES, counts, strict=True) if count < 0)
            raise UsageError(f"usage leaf {name!r} is negative: {getattr(self, name)}")

    @classmethod
    def from_inclusive(
        cls,
        input_tokens: int,
        output_tokens: int,
        *,
        cached_tokens: int = 0,
        cache_write_tokens: int = 0,
        cache_write_1h_tokens: int = 0,
        input_audio_tokens: int = 0,
        input_image_tokens: int = 0,
        reasoning_tokens: int = 0,
        output_audio_tokens: int = 0,
    ) -> Self:
        """Leaves from counters in OpenAI's sense: input and output include all their parts.

        The parts exclude each other: `cache_write_tokens` are those of the default lifetime,
        `input_audio_tokens` and `input_image_tokens` those that no cache held.

        Raises UsageError when the parts are larger than their whole.
        """
        cache_writes = cache_write_tokens + cache_write_1h_tokens
        media = input_audio_tokens + input_image_tokens
        text = input_tokens - cached_tokens - cache_writes - media
        if text < 0:
            more = f" and {media} audio and image tokens" if media else ""
            raise UsageError(
                f"{cached_tokens} cached and {cache_writes} cache-write tokens{more} do not fit "
                f"into {input_tokens} input tokens"
            )
        written = output_tokens - reasoning_tokens - output_audio_tokens
        if written < 0:
            more = f" and {output_audio_tokens} audio tokens" if output_audio_tokens else ""
            raise UsageError(
                f"{reasoning_tokens} reasoning tokens{more} do not fit into {output_tokens} "
                "output tokens"
            )
        return cls(
            text,
            cached_tokens,
            cache_write_tokens,
            written,
            reasoning_tokens,
            cache_write_1h_tokens,
            input_audio_tokens,
            output_audio_tokens,
            input_image_tokens,
        )

    def __add__(self, other: Usage) -> Usage:
        return Usage(*map(add, _counts(self), _counts(other)))

    @property
    def input_tokens(self) -> int:
        """All prompt tokens, cached ones included."""
        return (
            self.input
            + self.cache_read
            + self.cache_write
            + self.cache_write_1h
            + self.input_audio
            + self.input_image
        )

    @property
    def output_tokens(self) -> int:
        """All generated tokens, reasoning included."""
        return self.output + self.reasoning + self.output_audio


LEAVES = tuple(field.name for field in fields(Usage))
_counts = attrgetter(*LEAVES)
