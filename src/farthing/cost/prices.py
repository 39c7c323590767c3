"""The price book: what a model's tokens cost, and where that is known from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from farthing.core.money import Cost, Rates
from farthing.core.protocols import ModelCard
from farthing.core.usage import Usage
from farthing.cost import _published


@dataclass(frozen=True, slots=True)
class Price:
    """What a model charges.

    Attributes:
        rates: picodollars a token.
        source: where they are known from.
        date: since when they hold, as an ISO date; None if the source does not say.
        tiers: (threshold, rates), thresholds rising: a request with more input tokens than the
            threshold is charged by these rates as a whole.
    """

    rates: Rates
    source: str
    date: str | None = None
    tiers: tuple[tuple[int, Rates], ...] = field(default=())

    def rates_for(self, usage: Usage) -> Rates:
        """The rates of the tier that `usage` falls in."""
        rates = self.rates
        for threshold, tier in self.tiers:
            if usage.input_tokens > threshold:
                rates = tier
        return rates


class PriceBook:
    """Prices of models: stated by the model, overridden by the user, or published.

    Published prices are those in the installed `genai-prices` package; nothing is fetched.

    Args:
        overrides: prices by Farthing's name of the model.
    """

    def __init__(self, overrides: Mapping[str, Price] | None = None) -> None:
        self.overrides = dict(overrides or {})

    def price(self, card: ModelCard, at: datetime | None = None) -> Price | None:
        """What the model of `card` charges at the time `at` (now); None if nobody knows."""
        if card.rates is not None:
            return Price(card.rates, card.price_source or "model card")
        if card.name in self.overrides:
            return self.overrides[card.name]
        if card.upstream_name is None:
            return None
        found = _published.find(card.upstream_name, at or datetime.now(UTC))
        if found is None:
            return None
        return Price(found.rates, found.source, found.date, found.tiers)

    def cost(
        self, card: ModelCard, usage: Usage | None, at: datetime | None = None
    ) -> tuple[Cost | None, Price | None]:
        """The exact cost of `usage` and the price it was reckoned by.

        The cost is None if the usage or the price is unknown.
        """
        price = self.price(card, at)
        if price is None or usage is None:
            return None, price
        return price.rates_for(usage).cost(usage), price
