"""The price book: what a model's tokens cost, and where that is known from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import ROUND_CEILING, Decimal

from farthing.core.errors import MoneyError
from farthing.core.money import Cost, Rates
from farthing.core.protocols import ModelCard
from farthing.core.usage import Usage
from farthing.cost import _published
from farthing.cost.usage import standard_tier

FREE = Rates(0, 0)
_MICROS = 10**6


@dataclass(frozen=True, slots=True)
class Price:
    """What a model charges.

    Attributes:
        rates: picodollars a token.
        source: where they are known from.
        date: since when they hold, as an ISO date; None if the source does not say.
        tiers: (threshold, rates), thresholds rising: a request with more input tokens than the
            threshold is charged by these rates as a whole.
        service_tier: the service tier that it is for, such as "flex", "priority" or "batch";
            None is the standard one.
        per_second: picodollars a second of the call, on top of what the tokens cost.
        calls: picodollars for each call within the answer, by name; see `cost.calls`.
    """

    rates: Rates
    source: str
    date: str | None = None
    tiers: tuple[tuple[int, Rates], ...] = field(default=())
    service_tier: str | None = None
    per_second: int = 0
    calls: tuple[tuple[str, int], ...] = ()

    def rates_for(self, usage: Usage) -> Rates:
        """The rates of the tier that `usage` falls in."""
        rates = self.rates
        for threshold, tier in self.tiers:
            if usage.input_tokens > threshold:
                rates = tier
        return rates

    def unpriced(self, calls: Mapping[str, int]) -> tuple[str, ...]:
        """Those of `calls` that have no price, which makes the cost unknown."""
        priced = {name for name, _ in self.calls}
        return tuple(name for name in calls if name not in priced)

    def cost(
        self,
        usage: Usage | None,
        seconds: float | None = None,
        calls: Mapping[str, int] | None = None,
    ) -> Cost | None:
        """The exact cost of a call; None if what it depends on is unknown.

        `seconds` are rounded up to a microsecond, and their cost to a picodollar. `calls` are
        those within the answer that are billed each, by name.
        """
        if calls and self.unpriced(calls):
            return None
        cost = Cost(0)
        if usage is not None:
            cost = self.rates_for(usage).cost(usage)
        elif self.rates != FREE or self.tiers:
            return None
        if self.per_second:
            if seconds is None:
                return None
            cost += Cost(-(-self.per_second * _micros(seconds) // _MICROS))
        if calls:
            cost += Cost(sum(pico * calls.get(name, 0) for name, pico in self.calls))
        return cost


Prices = Price | Sequence[Price]


class PriceBook:
    """Prices of models: stated by the model, overridden by the user, or published.

    Published prices are those in the installed `genai-prices` package; nothing is fetched.

    Args:
        overrides: prices by Farthing's name of the model; several differ in their dates or
            service tiers.
    """

    def __init__(self, overrides: Mapping[str, Prices] | None = None) -> None:
        self.overrides = {
            name: (prices,) if isinstance(prices, Price) else tuple(prices)
            for name, prices in (overrides or {}).items()
        }

    def price(
        self, card: ModelCard, at: datetime | None = None, *, service_tier: str | None = None
    ) -> Price | None:
        """What the model of `card` charges at the time `at` (now); None if nobody knows.

        A price that is stated for one service tier says nothing of another.
        """
        tier = standard_tier(service_tier)
        if card.rates is not None and tier is None:
            return Price(card.rates, card.price_source or "model card")
        overrides = self.overrides.get(card.name)
        if overrides:
            when = at or datetime.now(UTC)
            today = (when.astimezone(UTC) if when.tzinfo else when).date().isoformat()
            found = None
            for price in overrides:
                since = price.date or ""
                if price.service_tier != tier or since > today:
                    continue
                if found is None or since >= (found.date or ""):
                    found = price
            if found is not None:
                return found
        if card.upstream_name is None or card.rates is not None:
            return None
        published = _published.find(card.upstream_name, at or datetime.now(UTC), tier)
        if published is None:
            return None
        return Price(published.rates, published.source, published.date, published.tiers, tier)

    def prices(self, card: ModelCard, at: datetime | None = None) -> tuple[Price, ...]:
        """All that is known of what the model of `card` charges, for every service tier.

        First the prices that hold at the time `at` (now), the standard tier's before all; then
        those overrides that do not, by date.
        """
        when = at or datetime.now(UTC)
        overrides = self.overrides.get(card.name, ())
        tiers = {price.service_tier: None for price in overrides}
        if card.upstream_name is not None and card.rates is None:
            tiers |= dict.fromkeys(_published.service_tiers(card.upstream_name, when))
        names = (None, *sorted(name for name in tiers if name is not None))
        found = (self.price(card, when, service_tier=name) for name in names)
        hold = [price for price in found if price is not None]
        others = [price for price in overrides if price not in hold]
        return (*hold, *sorted(others, key=lambda price: price.date or ""))

    def changes(self, card: ModelCard) -> tuple[date, ...]:
        """The days on which a price of the model of `card` began, as far as is known; rising."""
        days = {date.fromisoformat(p.date) for p in self.overrides.get(card.name, ()) if p.date}
        if card.upstream_name is not None and card.rates is None:
            days.update(_published.changes(card.upstream_name))
        return tuple(sorted(days))

    def elsewhere(self, card: ModelCard) -> tuple[str, ...]:
        """What other providers of published prices call the model of `card`."""
        return () if card.upstream_name is None else _published.elsewhere(card.upstream_name)

    def cost(
        self,
        card: ModelCard,
        usage: Usage | None,
        at: datetime | None = None,
        *,
        service_tier: str | None = None,
        seconds: float | None = None,
        calls: Mapping[str, int] | None = None,
    ) -> tuple[Cost | None, Price | None]:
        """The exact cost of a call and the price it was reckoned by.

        The cost is None if the usage, the price or, where time is charged, the time is unknown,
        or if `calls` has some that have no price.

        Args:
            card: the model's.
            usage: tokens of the call; None if unknown.
            at: when it began (now).
            service_tier: what the upstream says it was served at; None is the standard tier.
            seconds: how long it took; None if unknown.
            calls: those within the answer that are billed each, by name.
        """
        price = self.price(card, at, service_tier=service_tier)
        if price is None:
            return None, None
        return price.cost(usage, seconds, calls), price


def _micros(seconds: float) -> int:
    """Whole microseconds, rounded up."""
    try:
        micros = int((Decimal(repr(float(seconds))) * _MICROS).to_integral_value(ROUND_CEILING))
    except (ArithmeticError, ValueError) as error:
        raise MoneyError(f"{seconds!r} is not a number of seconds") from error
    if micros < 0:
        raise MoneyError(f"{seconds!r} is not a number of seconds")
    return micros
