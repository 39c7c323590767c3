"""Look-ups in the data of the genai-prices package, offline."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from functools import cache
from typing import TYPE_CHECKING

from farthing.core.money import PICO_PER_USD, Rates

if TYPE_CHECKING:
    from genai_prices.data_snapshot import DataSnapshot
    from genai_prices.types import ModelInfo, ModelPrice, PriceVariant, Provider, TieredPrices

_MILLION = 10**6
_LEAVES = {
    "input": "input_mtok",
    "output": "output_mtok",
    "cache_read": "cache_read_mtok",
    "cache_write": "cache_write_mtok",
    "reasoning": "output_reasoning_mtok",
    "cache_write_1h": "cache_write_1h_mtok",
    "input_audio": "input_audio_mtok",
    "output_audio": "output_audio_mtok",
    "input_image": "input_image_mtok",
}


@dataclass(frozen=True, slots=True)
class Published:
    """A published price; the fields mean what they mean in `Price`."""

    rates: Rates
    source: str
    date: str | None
    tiers: tuple[tuple[int, Rates], ...]


def find(name: str, at: datetime, service_tier: str | None = None) -> Published | None:
    """The published price of the model that a provider calls `name`; None if there is none.

    `name` may lead with the provider's name in genai-prices, as in "openai/gpt-4o". A service
    tier has a price only where one is published for it.
    """
    found = _model(name)
    if found is None:
        return None
    provider, model = found
    prices = model.get_prices(at)
    since = _since(model, prices)
    if service_tier is not None:
        variants = [v for v in _variants(model, at) if _tier(v) == service_tier]
        if not variants:
            return None
        prices = model.get_prices(at, dict(variants[0].when))
        start = getattr(variants[0].constraint, "start_date", None)
        since = max(filter(None, (since, start and start.isoformat())), default=None)
        return _read(provider, model, prices, since)
    key = (provider.id, model.id, id(prices))  # an object that lives as long as the snapshot
    if key not in _READ:
        _READ[key] = _read(provider, model, prices, since)
    return _READ[key]


def service_tiers(name: str, at: datetime) -> tuple[str, ...]:
    """The service tiers, beside the standard one, that have a published price."""
    found = _model(name)
    tiers = [_tier(variant) for variant in _variants(found[1], at)] if found else []
    return tuple(sorted({tier for tier in tiers if tier and tier != "default"}))


def changes(name: str) -> tuple[date, ...]:
    """The days on which the published price of the model `name` changed, rising."""
    found = _model(name)
    if found is None:
        return ()
    told = found[1].prices
    starts = (
        [getattr(p.constraint, "start_date", None) for p in told if p.constraint]
        if isinstance(told, list)
        else []
    )
    return tuple(sorted({start for start in starts if start is not None}))


def elsewhere(name: str) -> tuple[str, ...]:
    """What other providers call the model `name`, each led by the provider's name.

    A model is the same where its name is, without regard to case and to what precedes a slash.
    """
    found = _model(name)
    if found is None:
        return ()
    own, model = found
    return tuple(
        f"{provider.id}/{other.id}"
        for provider in _snapshot().providers
        for other in provider.models
        if provider.id != own.id and _bare(other.id) == _bare(model.id)
    )


def _bare(name: str) -> str:
    return name.rpartition("/")[2].lower()


_READ: dict[tuple[str, str, int], Published | None] = {}


def _read(
    provider: Provider, model: ModelInfo, prices: ModelPrice, since: str | None
) -> Published | None:
    if prices.input_mtok is None or prices.output_mtok is None:
        return None  # priced by something else than tokens in and tokens out
    thresholds = sorted({start for key in _LEAVES.values() for start in _thresholds(prices, key)})
    rates, exact = _rates(prices, 0)
    tiers = []
    for threshold in thresholds:
        tier, tier_exact = _rates(prices, threshold + 1)
        tiers.append((threshold, tier))
        exact = exact and tier_exact
    rounded = "" if exact else ", rounded to a picodollar a token"
    source = f"genai-prices {_version()}: {provider.id} {model.id}{rounded}"
    return Published(rates, source, since, tuple(tiers))


def _variants(model: ModelInfo, at: datetime) -> list[PriceVariant]:
    """The variants that hold at the time `at` and depend on nothing but the service tier."""
    return [
        variant
        for variant in getattr(model, "price_variants", None) or ()
        if _tier(variant) is not None
        and (variant.constraint is None or variant.constraint.active(at))
    ]


def _tier(variant: PriceVariant) -> str | None:
    match variant.when:
        case {"service_tier": str(tier), **rest} | {"processing": str(tier), **rest} if not rest:
            return tier
    return None


@cache
def _version() -> str:
    from importlib.metadata import version

    return version("genai-prices")


@cache
def _snapshot() -> DataSnapshot:
    from genai_prices.data import providers
    from genai_prices.data_snapshot import DataSnapshot

    return DataSnapshot(providers=providers, from_auto_update=False)


@cache
def _model(name: str) -> tuple[Provider, ModelInfo] | None:
    snapshot = _snapshot()
    try:
        return snapshot.find_provider_model(name, None, None, None)
    except LookupError:
        pass
    provider_id, _, rest = name.partition("/")
    for provider in snapshot.providers:
        if rest and provider.id == provider_id.lower():
            model = provider.find_model(rest.lower(), all_providers=snapshot.providers)
            return None if model is None else (provider, model)
    return None


def _thresholds(prices: ModelPrice, key: str) -> list[int]:
    return [tier.start for tier in getattr(getattr(prices, key, None), "tiers", ())]


def _rates(prices: ModelPrice, input_tokens: int) -> tuple[Rates, bool]:
    """The rates for a request of so many input tokens, and whether they are exact."""
    dollars = {leaf: _at(getattr(prices, key, None), input_tokens) for leaf, key in _LEAVES.items()}
    exact = {
        leaf: usd * (PICO_PER_USD // _MILLION) for leaf, usd in dollars.items() if usd is not None
    }
    request = _at(prices.requests_kcount, input_tokens)
    if request is not None:
        exact["request"] = request * (PICO_PER_USD // 1000)
    whole = {leaf: round(pico) for leaf, pico in exact.items()}
    return Rates(**whole), whole == exact


def _at(price: Decimal | TieredPrices | None, input_tokens: int) -> Decimal | None:
    if price is None or isinstance(price, Decimal):
        return price
    applicable = price.base
    for tier in price.tiers:
        if input_tokens > tier.start:
            applicable = tier.price
    return applicable


def _since(model: ModelInfo, prices: ModelPrice) -> str | None:
    """The date from which `prices` hold, where the data tells."""
    if isinstance(model.prices, list):
        for conditional in model.prices:
            start = getattr(conditional.constraint, "start_date", None)
            if conditional.prices is prices and start is not None:
                return str(start.isoformat())
    return None
