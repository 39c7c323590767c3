"""Look-ups in the data of the genai-prices package, offline."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import cache
from typing import TYPE_CHECKING

from farthing.core.money import PICO_PER_USD, Rates

if TYPE_CHECKING:
    from genai_prices.data_snapshot import DataSnapshot
    from genai_prices.types import ModelInfo, ModelPrice, Provider, TieredPrices

_MILLION = 10**6
_LEAVES = {
    "input": "input_mtok",
    "output": "output_mtok",
    "cache_read": "cache_read_mtok",
    "cache_write": "cache_write_mtok",
    "reasoning": "output_reasoning_mtok",
}


@dataclass(frozen=True, slots=True)
class Published:
    """A published price; the fields mean what they mean in `Price`."""

    rates: Rates
    source: str
    date: str | None
    tiers: tuple[tuple[int, Rates], ...]


def find(name: str, at: datetime) -> Published | None:
    """The published price of the model that a provider calls `name`; None if there is none.

    `name` may lead with the provider's name in genai-prices, as in "openai/gpt-4o".
    """
    found = _model(name)
    if found is None:
        return None
    provider, model = found
    prices = model.get_prices(at)
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
    return Published(rates, source, _since(model, prices), tuple(tiers))


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
    return [tier.start for tier in getattr(getattr(prices, key), "tiers", ())]


def _rates(prices: ModelPrice, input_tokens: int) -> tuple[Rates, bool]:
    """The rates for a request of so many input tokens, and whether they are exact."""
    dollars = {leaf: _at(getattr(prices, key), input_tokens) for leaf, key in _LEAVES.items()}
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
