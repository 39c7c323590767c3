from datetime import UTC, datetime
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farthing.core.money import Cost, Rates
from farthing.core.protocols import ModelCard
from farthing.core.usage import Usage
from farthing.cost import Price, PriceBook

CARD = ModelCard("mine", upstream_name="gpt-4o-mini")
THEN = datetime(2025, 6, 1, tzinfo=UTC)


def test_a_published_price_names_its_source():
    price = PriceBook().price(CARD, THEN)
    assert price.rates == Rates.per_million("0.15", "0.6", cache_read="0.075")
    assert price.source.startswith("genai-prices ")
    assert price.source.endswith(": openai gpt-4o-mini")


def test_a_published_price_depends_on_the_date():
    card = ModelCard("o3", upstream_name="o3")
    book = PriceBook()
    before = book.price(card, datetime(2025, 6, 9, tzinfo=UTC))
    after = book.price(card, datetime(2025, 6, 10, tzinfo=UTC))
    assert (before.rates.input, before.date) == (10_000_000, None)
    assert (after.rates.input, after.date) == (2_000_000, "2025-06-10")


def test_the_provider_may_lead():
    card = ModelCard("mine", upstream_name="openai/gpt-4o-mini")
    assert PriceBook().price(card, THEN) == PriceBook().price(CARD, THEN)


def test_order_of_sources():
    override = Price(Rates(1, 2), "config", "2026-01-01")
    book = PriceBook({"mine": override})
    assert book.price(CARD) == override
    stated = ModelCard("mine", Rates(3, 4), "FLOPs", upstream_name="gpt-4o-mini")
    assert book.price(stated) == Price(Rates(3, 4), "FLOPs")


@pytest.mark.parametrize(
    "card",
    [
        ModelCard("gpt-4o-mini"),  # a name of ours is no provider's name
        ModelCard("mine", upstream_name="no-such-model"),
        ModelCard("mine", upstream_name="openai/no-such-model"),
        ModelCard("mine", upstream_name="nobody/gpt-4o-mini"),
        ModelCard("mine", upstream_name="text-embedding-3-small"),  # no price for output
    ],
)
def test_an_unknown_price_is_not_zero(card):
    assert PriceBook().price(card) is None
    assert PriceBook().cost(card, Usage(input=5)) == (None, None)


def test_unknown_usage_has_a_price_but_no_cost():
    cost, price = PriceBook().cost(CARD, None)
    assert cost is None
    assert price is not None


@pytest.mark.parametrize(("tokens", "usd"), [(200_000, "0.6"), (200_001, "1.200006")])
def test_a_tier_prices_the_whole_request(tokens, usd):
    card = ModelCard("c", upstream_name="claude-sonnet-4-5")
    cost, _ = PriceBook().cost(card, Usage(input=tokens), THEN)
    assert cost == Cost.from_usd(usd)


def test_cached_tokens_count_towards_the_tier():
    card = ModelCard("c", upstream_name="claude-sonnet-4-5")
    cost, _ = PriceBook().cost(card, Usage(input=1, cache_read=200_000), THEN)
    assert cost == Cost.from_usd("0.000006") + Cost.from_usd("0.12")


def test_our_cost_is_that_of_genai_prices():
    import genai_prices

    leaves = Usage(input=700, cache_read=300, output=123, reasoning=77)
    for name in ("gpt-4o-mini", "gpt-5", "claude-sonnet-4-5", "gemini-2.5-pro", "deepseek-chat"):
        theirs = genai_prices.calc_price(
            genai_prices.Usage(input_tokens=1000, cache_read_tokens=300, output_tokens=200),
            name,
            genai_request_timestamp=THEN,
        )
        ours, price = PriceBook().cost(ModelCard(name, upstream_name=name), leaves, THEN)
        assert ours.usd == theirs.total_price, name
        assert "rounded" not in price.source


def test_every_published_price_can_be_read():
    from genai_prices.data import providers

    read = rounded = 0
    for provider in providers:
        if provider.id not in (
            "openai",
            "anthropic",
            "google",
            "openrouter",
            "huggingface_together",
        ):
            continue
        for model in provider.models:
            card = ModelCard("m", upstream_name=f"{provider.id}/{model.id}")
            price = PriceBook().price(card, THEN)
            read += price is not None
            rounded += price is not None and "rounded" in price.source
    assert read > 100
    assert rounded < read / 10


@given(
    st.lists(st.decimals(0, 1000, places=6), min_size=2, max_size=2),
    st.lists(st.tuples(*[st.integers(0, 10**7)] * 4), min_size=1, max_size=5),
)
def test_no_picodollar_is_lost(prices, calls):
    rates = Rates.per_million(*prices)
    book = PriceBook({"m": Price(rates, "config")})
    usages = [Usage(input=a, cache_read=b, output=c, reasoning=d) for a, b, c, d in calls]
    apart = Cost.total(book.cost(ModelCard("m"), usage)[0] for usage in usages)
    together, _ = book.cost(ModelCard("m"), sum(usages, Usage()))
    assert apart == together
    million = Fraction(10**6)
    exact = sum(u.input_tokens for u in usages) * Fraction(prices[0]) / million
    exact += sum(u.output_tokens for u in usages) * Fraction(prices[1]) / million
    assert Fraction(together.usd) == exact
