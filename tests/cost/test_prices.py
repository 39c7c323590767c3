from datetime import UTC, datetime
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farthing.core.errors import MoneyError
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


@pytest.mark.parametrize(
    ("tier", "usd"),
    [
        (None, "2"),
        ("default", "2"),
        ("standard", "2"),
        ("flex", "1"),
        ("batch", "1"),
        ("fast", "4"),
    ],
)
def test_published_service_tiers(tier, usd):
    """OpenAI's flex and batch are at half; a name for the standard tier is no tier of its own."""
    card = ModelCard("o3", upstream_name="o3")
    at = datetime(2026, 11, 1, tzinfo=UTC)
    cost, price = PriceBook().cost(card, Usage(input=10**6), at, service_tier=tier)
    if cost is None:
        pytest.skip("this version of genai-prices does not publish it")
    if tier == "fast":
        assert cost > Cost.from_usd("2")
    else:
        assert cost == Cost.from_usd(usd)
    assert price.service_tier == (None if tier in ("default", "standard") else tier)


def test_a_service_tier_without_a_price_is_unknown():
    assert PriceBook().cost(CARD, Usage(input=1), THEN, service_tier="nightly") == (None, None)
    stated = ModelCard("mine", Rates(3, 4), "config", upstream_name="gpt-4o-mini")
    assert PriceBook().price(stated, service_tier="priority") is None
    assert PriceBook().price(stated, service_tier="auto") == Price(Rates(3, 4), "config")
    book = PriceBook({"mine": Price(Rates(6, 8), "config", service_tier="priority")})
    assert book.price(stated, service_tier="Priority").rates == Rates(6, 8)
    assert book.price(stated).rates == Rates(3, 4)


def test_published_leaves():
    price = PriceBook().price(ModelCard("c", upstream_name="claude-sonnet-4-5"), THEN)
    assert price.rates.of("cache_write") == (3_750_000, "cache_write")
    assert price.rates.of("cache_write_1h") == (6_000_000, "cache_write_1h")
    heard = PriceBook().price(ModelCard("g", upstream_name="gemini-2.5-flash"), THEN)
    assert heard.rates.of("input_audio") == (1_000_000, "input_audio")
    assert heard.rates.of("input_image") == (300_000, "input")


DATED = [
    Price(Rates(1, 1), "old", "2025-01-01"),
    Price(Rates(3, 3), "new", "2026-01-01"),
    Price(Rates(2, 2), "mid", "2025-06-01"),
    Price(Rates(9, 9), "batch", "2025-06-01", service_tier="batch"),
]


@pytest.mark.parametrize(
    ("at", "source"),
    [
        (datetime(2025, 5, 31, 23, 59, tzinfo=UTC), "old"),
        (datetime(2025, 6, 1, tzinfo=UTC), "mid"),
        (datetime.fromisoformat("2025-06-01T01:00+02:00"), "old"),
        (datetime(2025, 6, 1), "mid"),
        (datetime(2025, 12, 31, tzinfo=UTC), "mid"),
        (datetime(2027, 1, 1, tzinfo=UTC), "new"),
    ],
)
def test_the_last_price_that_has_begun_holds(at, source):
    assert PriceBook({"mine": DATED}).price(ModelCard("mine"), at).source == source


def test_before_the_first_override_the_published_price_holds():
    at = datetime(2024, 12, 31, tzinfo=UTC)
    book = PriceBook({"mine": DATED})
    assert book.price(CARD, at) == PriceBook().price(CARD, at)
    assert book.price(ModelCard("mine"), at) is None
    assert book.price(CARD, at, service_tier="batch") is None


def test_all_that_is_known():
    book = PriceBook({"mine": DATED})
    known = book.prices(ModelCard("mine"), datetime(2025, 7, 1, tzinfo=UTC))
    assert [price.source for price in known] == ["mid", "batch", "old", "new"]
    assert PriceBook().prices(ModelCard("nobody")) == ()
    published = PriceBook().prices(CARD, datetime(2026, 11, 1, tzinfo=UTC))
    assert published[0].service_tier is None


@pytest.mark.parametrize(
    ("seconds", "pico"),
    [(0, 0), (1, 800_000_000), (0.1, 80_000_000), (1e-6, 800), (1.1e-6, 1600), (1e-30, 800)],
)
def test_seconds_are_charged_by_the_microsecond_begun(seconds, pico):
    price = Price(Rates(0, 0), "config", per_second=Cost.from_usd("0.0008").pico)
    assert price.cost(None, seconds) == Cost(pico)
    assert price.cost(Usage(5, output=9), seconds) == Cost(pico)


def test_a_cost_by_time_needs_the_time_and_one_by_tokens_the_tokens():
    price = Price(Rates(2, 3), "config", per_second=10**6)
    assert price.cost(Usage(1), 2) == Cost(2 + 2 * 10**6)
    assert price.cost(Usage(1)) is None
    assert price.cost(None, 2) is None
    for bad in (-1.0, float("nan"), float("inf")):
        with pytest.raises(MoneyError):
            price.cost(Usage(1), bad)


@given(st.floats(0, 10**6), st.integers(1, 10**12))
def test_time_is_never_charged_too_little_and_less_than_a_microsecond_too_much(seconds, rate):
    pico = Price(Rates(0, 0), "config", per_second=rate).cost(None, seconds).pico
    exact = Fraction(repr(seconds)) * rate
    assert exact <= pico < exact + Fraction(rate, 10**6) + 1


@given(st.integers(1, 10**6), st.integers(1, 10**6), st.integers(0, 3 * 10**6))
def test_a_request_is_charged_by_the_one_tier_that_it_is_in(low, gap, tokens):
    tiers = ((low, Rates(20, 0)), (low + gap, Rates(30, 0)))
    price = Price(Rates(10, 0), "config", tiers=tiers)
    for count in (tokens, low, low + 1, low + gap, low + gap + 1):
        rate = 10 + 10 * (count > low) + 10 * (count > low + gap)
        assert price.cost(Usage(cache_read=count)) == Cost(rate * count)


def test_the_days_on_which_prices_changed():
    book = PriceBook({"o3": [Price(Rates(1, 2), "ours", "2026-02-01"), Price(Rates(1, 1), "ours")]})
    days = [day.isoformat() for day in book.changes(ModelCard("o3", upstream_name="o3"))]
    assert days == ["2025-06-10", "2026-02-01"]
    assert book.changes(ModelCard("none", upstream_name="no-such-model")) == ()


def test_the_same_model_elsewhere():
    names = PriceBook().elsewhere(ModelCard("mine", upstream_name="openai/gpt-4o-mini"))
    assert "openrouter/openai/gpt-4o-mini" in names
    assert not any(name.startswith("openai/") for name in names)
    assert PriceBook().elsewhere(ModelCard("mine")) == ()
