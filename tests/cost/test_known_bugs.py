"""What other cost trackers have been found to get wrong; each answer is written by us.

The prices are in USD per million tokens, so that a token at 1 costs a million picodollars.
"""

import pytest
from cost.vendors import VENDORS, chunk

from farthing.budgets import Operation
from farthing.core.errors import UpstreamError
from farthing.core.money import Cost, Rates
from farthing.core.protocols import ModelCard
from farthing.core.request import Request
from farthing.core.response import Chunk, Response, Sample
from farthing.core.usage import Usage
from farthing.cost import Price, PriceBook, UsageReader, estimate_usage, read_usage
from farthing.ledger import MemoryLedger

RATES = Rates.per_million(10, 100, cache_read=1, cache_write="12.5", cache_write_1h=20)
CARD = ModelCard("m")
BOOK = PriceBook({"m": Price(RATES, "config")})
ASK = Request.ask("2+2?")


def usd(payload, **options):
    usage, basis = read_usage(payload)
    assert basis == "exact"
    return str(BOOK.cost(CARD, usage, **options)[0])


def streamed_usd(events):
    reader = UsageReader()
    for event in events:
        reader.add(event)
    return str(BOOK.cost(CARD, reader.read()[0])[0])


def test_cached_tokens_charged_twice():
    """OpenAI counts them in the input: 1,000,000 in all are not 1,900,000."""
    told = VENDORS["openai chat"].plain(Usage(input=100_000, cache_read=900_000))
    assert told["usage"]["prompt_tokens"] == 1_000_000
    assert usd(told) == "1.9"


def test_cached_tokens_at_zero():
    """Anthropic does not count them in the input, and charges them."""
    told = VENDORS["anthropic"].plain(Usage(input=100_000, cache_read=900_000))
    assert told["usage"]["input_tokens"] == 100_000
    assert usd(told) == "1.9"


def test_cached_tokens_taken_from_an_input_that_excludes_them():
    """Subtracting them from Anthropic's input would make it negative, or zero."""
    told = VENDORS["anthropic"].plain(Usage(input=3, cache_read=900_000))
    assert usd(told) == "0.90003"


def test_a_cache_write_priced_as_input():
    told = VENDORS["anthropic"].plain(Usage(cache_write=80_000))
    assert usd(told) == "1"


def test_a_cache_write_of_an_hour_priced_as_one_of_five_minutes():
    told = VENDORS["anthropic"].plain(Usage(cache_write=80_000, cache_write_1h=100_000))
    assert usd(told) == "3"
    assert streamed_usd(VENDORS["anthropic"].stream(Usage(cache_write_1h=100_000))) == "2"


@pytest.mark.parametrize("vendor", ["openai chat", "openai responses"])
def test_reasoning_counted_twice(vendor):
    told = VENDORS[vendor].plain(Usage(output=1000, reasoning=9000))
    assert usd(told) == "1"


@pytest.mark.parametrize("vendor", ["gemini", "reasoning beside"])
def test_reasoning_missed(vendor):
    told = VENDORS[vendor].plain(Usage(output=1000, reasoning=9000))
    assert told["usage"]["completion_tokens"] == 1000
    assert usd(told) == "1"
    assert streamed_usd(VENDORS[vendor].stream(Usage(output=1000, reasoning=9000))) == "1"


def test_usage_dropped_with_a_last_chunk_that_has_choices():
    told = VENDORS["openai chat"].plain(Usage(100, 900, output=5))["usage"]
    assert streamed_usd([chunk(), chunk("", "stop", usage=told)]) == "0.0024"


def test_only_the_output_of_a_stream_is_charged():
    """Anthropic's last event tells no input: the first did."""
    assert streamed_usd(VENDORS["anthropic"].stream(Usage(1000, 1000, output=10))) == "0.012"


def test_output_of_a_stream_added_up():
    """The counts of Anthropic's events are cumulative."""
    assert streamed_usd(VENDORS["anthropic"].stream(Usage(output=10))) == "0.001"


def test_zero_read_as_missing():
    told = {"usage": {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}}
    assert usd(told) == "0"
    assert streamed_usd([chunk(), {"choices": [], **told}]) == "0"


def test_missing_read_as_zero():
    assert read_usage({"choices": [], "usage": None}) == (None, "unknown")
    assert BOOK.cost(CARD, None) == (None, BOOK.price(CARD))


def test_usage_absent_is_estimated_and_says_so():
    usage, basis = estimate_usage(ASK, ["four"])
    assert (usage, basis) == (Usage(input=1, output=1), "estimated")


@pytest.mark.parametrize("threshold", [1, 128_000, 199_999, 272_001])
def test_tier_thresholds_dropped_unless_well_known(threshold):
    tiers = ((threshold, Rates.per_million(20, 200)),)
    book = PriceBook({"m": Price(Rates.per_million(10, 100), "config", tiers=tiers)})
    at = VENDORS["openai chat"].plain(Usage(cache_read=threshold))
    above = VENDORS["openai chat"].plain(Usage(input=1, cache_read=threshold))
    costs = [book.cost(CARD, read_usage(told)[0])[0].pico for told in (at, above)]
    assert costs == [10**7 * threshold, 2 * 10**7 * (threshold + 1)]


@pytest.mark.parametrize("tier", ["priority", "flex", "batch", "scale"])
def test_a_service_tier_priced_as_the_standard_one(tier):
    told = VENDORS["openai chat"].plain(Usage(input=100_000))
    usage, _ = read_usage(told)
    assert BOOK.cost(CARD, usage, service_tier=tier) == (None, None)
    prices = [Price(RATES, "config"), Price(Rates.per_million(7, 70), "x", service_tier=tier)]
    cost, price = PriceBook({"m": prices}).cost(CARD, usage, service_tier=tier)
    assert (str(cost), price.source) == ("0.7", "x")


class Upstream:
    """A model that tells `usage`, and then fails if it is to."""

    def __init__(self, name, rates, error=None):
        self.card = ModelCard(name, rates, "config")
        self.error = error

    async def complete(self, request):
        if self.error:
            raise self.error
        return Response(self.card.name, (Sample("4"),), Usage(input=10, output=1), "exact")

    async def stream(self, request):
        yield Chunk("4", usage=Usage(input=10, output=1), usage_basis="exact")
        if self.error:
            raise self.error


def cut(name):
    return UpstreamError("cut", model=name, kind="cut")


async def test_a_fallback_priced_at_the_last_model():
    dear, cheap = Upstream("dear", Rates(30, 50)), Upstream("cheap", Rates(3, 5))
    ledger = MemoryLedger()
    op = Operation({"dear": dear, "cheap": cheap}, prices=PriceBook(), ledger=ledger)
    for name in ("dear", "cheap"):
        await op.call(name, ASK, node="fallback")
    assert op.spent == Cost(350 + 35)


async def test_a_retry_at_zero():
    failing = Upstream("m", Rates(3, 5), cut("m"))
    op = Operation({"m": failing}, prices=PriceBook())
    with pytest.raises(UpstreamError):
        async for _ in op.stream("m", ASK, node="single"):
            pass
    failing.error = None
    await op.call("m", ASK, node="single")
    assert op.spent == Cost(35 + 35)


async def test_a_failed_call_that_told_nothing_is_unknown_not_zero():
    op = Operation({"m": Upstream("m", Rates(3, 5), cut("m"))}, prices=PriceBook())
    with pytest.raises(UpstreamError):
        await op.call("m", ASK, node="single")
    assert (op.spent, op.unknown_attempts) == (Cost(0), 1)
