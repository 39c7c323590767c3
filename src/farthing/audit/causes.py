"""Why a log claims another cost than the true one: the claim is reckoned anew, with each mistake.

A cause is named only if a mistake gives the claim itself, to within the places that the log rounds
to. Otherwise the difference is unexplained.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from itertools import product

from farthing.audit.line import Line
from farthing.audit.pricing import Pricing, cost_of, rates_of
from farthing.core.money import Cost, Rates
from farthing.core.usage import Usage
from farthing.cost import Price

CAUSES = {
    "cached_twice": "cached tokens counted twice: as input, and as cached",
    "cached_full": "cached tokens at the full price of input",
    "cached_free": "cached tokens not counted",
    "cache_write": "tokens written to the cache at another rate, or not counted",
    "reasoning_missed": "reasoning tokens not counted",
    "reasoning_twice": "reasoning tokens counted twice: in the output, and beside it",
    "reasoning_as_output": "reasoning tokens at the price of output, where theirs is another",
    "output_missed": "generated tokens not counted",
    "calls_missed": "searches and other calls within the answer not counted",
    "tier_ignored": "service tier ignored, or another one charged",
    "long_context_ignored": "price of long prompts ignored, or charged to short ones",
    "price_date": "price of another date",
    "failed_at_zero": "failed calls and retries at zero, though tokens were used",
    "at_zero": "calls at zero, though tokens were used",
    "cache_hit_charged": "answers of a gateway's cache charged as calls",
    "other_model": "price of another model in the same log",
    "factor": "arithmetic: off by a round factor",
    "rounding": "arithmetic: rounded",
    "unexplained": "unexplained: no known mistake gives the claim",
}
"""What differs, by name, for people."""

UNPRICED = {
    "unknown_model": "no price is known of the model",
    "unknown_tier": "no price is known of the model's service tier then",
    "unknown_usage": "the tokens are not told",
    "unknown_cost": "what the price depends on is not told: seconds, or the price of searches",
}
"""Why a true cost is not known, by name, for people."""

_FACTORS = (2, 3, 10, 100, 1000, 10**6)
_MODELS = 64


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a difference.

    Attributes:
        cause: a key of `CAUSES`.
        difference: of the claim less the true cost, as far as it is due to this cause.
        detail: in words; empty if there is nothing to add.
    """

    cause: str
    difference: Cost
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a claim differs.

    Attributes:
        parts: differences that add up to the whole.
        others: other causes that would give the same claim.
    """

    parts: tuple[Part, ...]
    others: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Way:
    """A way in which a claim may have been reckoned."""

    parts: tuple[Part, ...]
    cost: Cost


class Explainer:
    """Finds the causes of differences.

    It remembers the models of the log, up to 64, since a call may be priced as another of them.
    """

    def __init__(self, pricing: Pricing) -> None:
        self._pricing = pricing
        self._models: dict[str, None] = {}

    def saw(self, model: str) -> None:
        """Note that the log has a model of this name."""
        if len(self._models) < _MODELS:
            self._models.setdefault(model)

    def explain(
        self, line: Line, claim: Cost, truth: Cost, price: Price | None, unit: int
    ) -> Explanation:
        """Why `line` claims `claim` where `truth` is right and `price` holds.

        Args:
            unit: picodollars that the log's claims are rounded to; 0 if they are not.
        """
        whole = claim - truth
        if _near(claim, truth, unit) or _rounds_to(line, truth):
            return Explanation((Part("rounding", whole),))
        if not claim:
            cause = "failed_at_zero" if line.retry or line.status == "failed" else "at_zero"
            return Explanation((Part(cause, whole),))
        if line.status == "cached":
            return Explanation((Part("cache_hit_charged", whole),))
        if price is None or line.usage is None:
            return Explanation((Part("unexplained", whole),))
        for ways in self._ways(line, truth, price):
            fits = [way for way in ways if way.cost != truth and _near(claim, way.cost, unit)]
            if fits:
                first = fits[0]
                causes = tuple(dict.fromkeys(_name(way) for way in fits))
                return Explanation(_with_rest(first, claim - first.cost), causes[1:])
        return Explanation((Part("unexplained", whole),))

    def _ways(self, line: Line, truth: Cost, price: Price) -> Iterator[Sequence[_Way]]:
        """Ways of equal simplicity together, the simplest first."""
        assert line.usage is not None
        rates = rates_of(line, price)
        tokens = list(_token_ways(line.usage, rates, line, price))
        prices = list(self._price_ways(line, truth))
        yield [_Way((part,), truth + part.difference) for part in tokens] + [
            _Way((part,), truth + part.difference) for part, _ in prices
        ]
        pairs = [
            _Way((one, other), truth + one.difference + other.difference)
            for one, other in product(tokens, tokens)
            if _FAMILY[one.cause] < _FAMILY[other.cause]
        ]
        for part, other in prices:
            found = cost_of(line, other)
            assert found is not None
            for token in _token_ways(line.usage, rates_of(line, other), line, other):
                pairs.append(_Way((part, token), found + token.difference))
        yield pairs
        yield list(_factors(truth))
        yield list(self._models_ways(line, truth))

    def _price_ways(self, line: Line, truth: Cost) -> Iterator[tuple[Part, Price]]:
        for variant in self._pricing.variants(line):
            cost = cost_of(line, variant.price)
            if cost is not None and cost != truth:
                yield Part(variant.cause, cost - truth, variant.detail), variant.price

    def _models_ways(self, line: Line, truth: Cost) -> Iterator[_Way]:
        for name in self._models:
            price = None if name == line.model else self._pricing.named(name, line)
            cost = None if price is None else cost_of(line, price)
            if cost is not None and cost != truth:
                yield _Way((Part("other_model", cost - truth, f"as {name}"),), cost)


_FAMILY = {
    "cached_twice": 0,
    "cached_full": 0,
    "cached_free": 0,
    "cache_write": 1,
    "reasoning_missed": 2,
    "reasoning_twice": 2,
    "reasoning_as_output": 2,
    "output_missed": 2,
    "calls_missed": 3,
}
"""Two mistakes of one family are not made at once."""


def _token_ways(usage: Usage, rates: Rates, line: Line, price: Price) -> Iterator[Part]:
    """The mistakes in counting tokens, each with the difference that it makes."""
    made = [
        *_cache_reads(usage, rates),
        *_cache_writes(usage, rates),
        *_outputs(usage, rates),
    ]
    if line.calls:
        extra = sum(pico * line.calls.get(name, 0) for name, pico in price.calls)
        made.append(("calls_missed", -extra, ""))
    for cause, pico, detail in made:
        if pico:
            yield Part(cause, Cost(pico), detail)


_Made = Iterable[tuple[str, int, str]]


def _cache_reads(usage: Usage, rates: Rates) -> _Made:
    if not usage.cache_read:
        return
    full, own = rates.input, rates.of("cache_read")[0]
    yield "cached_twice", usage.cache_read * full, ""
    yield "cached_full", usage.cache_read * (full - own), ""
    yield "cached_free", -usage.cache_read * own, ""


def _cache_writes(usage: Usage, rates: Rates) -> _Made:
    short, long = usage.cache_write, usage.cache_write_1h
    if not short and not long:
        return
    own, own_1h = rates.of("cache_write")[0], rates.of("cache_write_1h")[0]
    full = rates.input
    yield "cache_write", short * (full - own) + long * (full - own_1h), "at the price of input"
    yield "cache_write", -short * own - long * own_1h, "not counted"
    yield "cache_write", long * (own - own_1h), "long lifetime at the price of the short one"
    yield "cache_write", (short + long) * full, "as input, and as written"


def _outputs(usage: Usage, rates: Rates) -> _Made:
    reasoning = usage.reasoning * rates.of("reasoning")[0]
    yield "reasoning_missed", -reasoning, ""
    yield "reasoning_twice", reasoning, ""
    yield "reasoning_as_output", usage.reasoning * rates.output - reasoning, ""
    spoken = usage.output * rates.output + usage.output_audio * rates.of("output_audio")[0]
    yield "output_missed", -spoken - reasoning, ""


def _factors(truth: Cost) -> Iterator[_Way]:
    for factor in _FACTORS:
        for cost, detail in (
            (truth * factor, f"{factor:,} times"),
            (Cost(truth.pico // factor), f"a part in {factor:,}"),
        ):
            yield _Way((Part("factor", cost - truth, detail),), cost)


def agree(claim: Cost, cost: Cost) -> bool:
    """Whether two amounts are equal, as far as a computer's numbers of 15 digits can tell."""
    return abs(claim.pico - cost.pico) <= 1 + abs(cost.pico) // 10**12


def _near(claim: Cost, cost: Cost, unit: int) -> bool:
    """Whether a claim is `cost`, as far as the places that it is rounded to can tell."""
    return abs(claim.pico - cost.pico) < unit or agree(claim, cost)


def _rounds_to(line: Line, truth: Cost) -> bool:
    """Whether the claim is the true cost to the places that it is written with."""
    if not line.claimed:
        return False
    _, digits, exponent = line.claimed.normalize().as_tuple()
    if len(digits) < 2 or not isinstance(exponent, int) or exponent > -2:
        return False
    return 2 * abs(line.claimed - truth.usd) <= Decimal(1).scaleb(exponent)


def _name(way: _Way) -> str:
    return " and ".join(part.cause for part in way.parts)


def _with_rest(way: _Way, rest: Cost) -> tuple[Part, ...]:
    """The parts of `way`, the last of them with what rounding took."""
    *before, last = way.parts
    return (*before, replace(last, difference=last.difference + rest))
