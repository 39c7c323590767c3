"""What models list, as one number to rank them by."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from farthing.bench.economics.study import Entry
from farthing.core.errors import DataError
from farthing.core.protocols import ModelCard
from farthing.cost import PriceBook


@dataclass(frozen=True, slots=True)
class Mix:
    """In which proportion input and output tokens make one listed price."""

    input: float = 3.0
    output: float = 1.0

    @classmethod
    def parse(cls, text: str) -> Mix:
        """`3:1`, three tokens of input to one of output; DataError if it is not such."""
        try:
            left, right = (float(part) for part in text.split(":"))
        except ValueError:
            raise DataError(f"mix {text!r}: want two numbers, such as 3:1") from None
        if not (left >= 0 and right >= 0 and 0 < left + right < float("inf")):
            raise DataError(f"mix {text!r}: want two numbers that are not negative, not both zero")
        return cls(left, right)

    def __str__(self) -> str:
        return f"{self.input:g}:{self.output:g}"


@dataclass(frozen=True, slots=True)
class Listed:
    """A model's listed price.

    Attributes:
        input, output, reasoning: USD per million tokens.
        mixed: of a million tokens in the mix.
        source: where it is known from.
        date: since when it holds; None if the source does not say.
    """

    input: float
    output: float
    reasoning: float
    mixed: float
    source: str
    date: str | None


def listed(
    entry: Entry,
    book: PriceBook,
    mix: Mix,
    card_of: Callable[[str], ModelCard] = lambda name: ModelCard(name, upstream_name=name),
) -> Listed | None:
    """The price stated with the model, else that of the price book on the model's date.

    None if nobody knows it.
    """
    whole = mix.input + mix.output
    if entry.prices is not None:
        low, high = map(float, entry.prices)
        mixed = (mix.input * low + mix.output * high) / whole
        return Listed(low, high, high, mixed, "the table", entry.date)
    at = (
        None
        if entry.date is None
        else datetime.fromisoformat(entry.date + "T12:00").replace(tzinfo=UTC)
    )
    price = book.price(card_of(entry.upstream or entry.model), at)
    if price is None:
        return None
    low, high, thought = (
        price.rates.of(leaf)[0] / 10**6 for leaf in ("input", "output", "reasoning")
    )
    mixed = (mix.input * low + mix.output * high) / whole
    return Listed(low, high, thought, mixed, price.source, price.date)
