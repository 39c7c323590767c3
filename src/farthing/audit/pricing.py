"""What the lines of a log should have cost."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, time, timedelta

from farthing.audit.line import Line
from farthing.core.errors import MoneyError
from farthing.core.money import Cost, Rates
from farthing.core.protocols import ModelCard
from farthing.cost import Price, PriceBook

CardOf = Callable[[str], ModelCard]

_HALF_HOUR_S = 1800
_REMEMBERED = 1 << 16


def plain_card(model: str) -> ModelCard:
    """What the price book needs to know of a model that nothing but its name is known of."""
    return ModelCard(model, upstream_name=model)


@dataclass(frozen=True, slots=True)
class Variant:
    """Another price by which a line may have been reckoned.

    Attributes:
        cause: the name of the mistake; see `farthing.audit.causes`.
        detail: in words.
    """

    cause: str
    detail: str
    price: Price


class Pricing:
    """The prices of the models that lines name, each looked up once for every half hour.

    Args:
        book: prices.
        card_of: what a log's name of a model means, such as one of a configuration.
    """

    def __init__(self, book: PriceBook | None = None, card_of: CardOf = plain_card) -> None:
        self.book, self._card_of = book or PriceBook(), card_of
        self._prices: dict[tuple[object, ...], Price | None] = {}
        self._variants: dict[tuple[object, ...], tuple[Variant, ...]] = {}
        self._cards: dict[tuple[str, str | None], ModelCard] = {}

    def price(self, line: Line) -> Price | None:
        """The price that holds for `line`; today's where its time is not told, None if unknown."""
        key = self._key(line)
        try:
            return self._prices[key]
        except KeyError:
            if len(self._prices) >= _REMEMBERED:
                self._prices.clear()
            found = self._prices[key] = self._find(line, line.at, line.service_tier)
            return found

    def variants(self, line: Line) -> tuple[Variant, ...]:
        """The other prices that are known of the model of `line`: tiers, lengths, dates."""
        key = self._key(line)
        if key not in self._variants:
            if len(self._variants) >= _REMEMBERED:
                self._variants.clear()
            self._variants[key] = tuple(self._others(line))
        return self._variants[key]

    def batch(self, line: Line) -> Price | None:
        """The price of a batch for the model of `line`: today's where none is known of then."""
        key = ("batch", *self._key(line))
        if key not in self._prices:
            found = self._find(line, line.at, "batch") or self._find(line, None, "batch")
            self._prices[key] = found
        return self._prices[key]

    def named(self, model: str, line: Line) -> Price | None:
        """The price that another model has, at the time and tier of `line`."""
        return self.price(replace(line, model=model, provider=None))

    def card(self, line: Line) -> ModelCard:
        """The model of `line`, as the price book knows it."""
        key = (line.model, line.provider)
        if key not in self._cards:
            self._cards[key] = self._card(line)
        return self._cards[key]

    def _card(self, line: Line) -> ModelCard:
        card = self._card_of(line.model)
        if line.provider and self.book.price(card, line.at) is None:
            led = self._card_of(f"{line.provider}/{line.model}")
            if self.book.price(led, line.at) is not None:
                return led
        return card

    def _find(self, line: Line, at: datetime | None, tier: str | None) -> Price | None:
        return self.book.price(self.card(line), at, service_tier=tier)

    def _others(self, line: Line) -> Iterator[Variant]:
        price = self.price(line)
        if price is None:
            return
        card = self.card(line)
        for other in self.book.prices(card, line.at):
            if other.service_tier != line.service_tier and self._holds(line, other):
                told, used = line.service_tier or "standard", other.service_tier or "standard"
                yield Variant("tier_ignored", f"{told} call at the {used} price", other)
        if price.tiers:
            base = replace(price, tiers=())
            yield Variant("long_context_ignored", "at the price of short prompts", base)
            for threshold, rates in price.tiers:
                long = replace(price, rates=rates, tiers=())
                yield Variant(
                    "long_context_ignored", f"at the price above {threshold:,} tokens", long
                )
        if line.at is None:
            return
        seen = {price}
        for day in self.book.changes(card):
            for when in (day, day - timedelta(days=1)):
                moment = datetime.combine(when, time(12), UTC)
                other_day = self._find(line, moment, line.service_tier)
                if other_day is not None and other_day not in seen:
                    seen.add(other_day)
                    between = "before" if when < day else "from"
                    yield Variant("price_date", f"at the price {between} {day}", other_day)

    def _holds(self, line: Line, price: Price) -> bool:
        return self._find(line, line.at, price.service_tier) == price

    def _key(self, line: Line) -> tuple[object, ...]:
        at = line.at
        half_hour = None if at is None else int(at.timestamp()) // _HALF_HOUR_S
        return line.model, line.provider, line.service_tier, half_hour


def rates_of(line: Line, price: Price) -> Rates:
    """The rates by which the tokens of `line`, whose usage is known, are charged."""
    assert line.usage is not None
    if line.requests == 1:
        return price.rates_for(line.usage)
    return price.tiers[-1][1] if line.long_context and price.tiers else price.rates


def cost_of(line: Line, price: Price) -> Cost | None:
    """What `line` costs by `price`, exact; None if what it depends on is not told.

    What a gateway's own cache answered costs nothing. Of a line that adds up calls, none is taken
    to be longer than the price's thresholds unless it says so.
    """
    if line.status == "cached":
        return Cost(0)
    try:
        if line.requests == 1:
            return price.cost(line.usage, line.seconds, line.calls)
        if line.usage is None or price.per_second or (price.rates.request and not line.requests):
            return None
        rates = rates_of(line, price)
        flat = replace(price, rates=rates, tiers=())
        cost = flat.cost(line.usage, None, line.calls)
    except MoneyError:
        return None
    return None if cost is None else cost + Cost(rates.request * (line.requests - 1))
