"""Searches and other calls within an answer, which vendors bill one by one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farthing.core.errors import UsageError
from farthing.core.money import Cost, Rates
from farthing.core.protocols import ModelCard
from farthing.core.response import Response, Sample
from farthing.core.usage import Usage
from farthing.cost import Price, PriceBook, UsageReader, read_calls, read_usage, share

ANTHROPIC = {
    "input_tokens": 105,
    "output_tokens": 6039,
    "cache_read_input_tokens": 7123,
    "cache_creation_input_tokens": 7345,
    "server_tool_use": {"web_search_requests": 2, "web_fetch_requests": 5},
}
SEARCH = {"type": "web_search_call", "status": "completed"}
RESPONSES = {
    "object": "response",
    "usage": {"input_tokens": 9, "output_tokens": 4, "total_tokens": 13},
    "output": [
        {**SEARCH, "action": {"type": "search", "query": "x"}},
        {**SEARCH, "action": {"type": "open_page", "url": "x"}},
        SEARCH,
        {"type": "file_search_call", "queries": ["y"]},
        {"type": "message", "content": []},
        {"type": "function_call", "name": "f"},
    ],
}
USAGE = Usage(input=100, output=10)
RATES = Rates(3, 5)


def test_anthropic_counts_its_searches_beside_the_tokens():
    assert read_calls({"usage": ANTHROPIC}) == read_calls(ANTHROPIC) == {"web_search": 2}
    assert read_usage(ANTHROPIC)[0].input_tokens == 105 + 7123 + 7345


def test_responses_list_theirs_among_the_output():
    assert read_calls(RESPONSES) == {"web_search": 2, "file_search": 1}


@pytest.mark.parametrize(
    ("payload", "calls"),
    [
        ({}, {}),
        ({"usage": None}, {}),
        ({"usage": {"server_tool_use": None}}, {}),
        ({"usage": {"server_tool_use": {"web_search_requests": 0}}}, {}),
        ({"usage": {"server_tool_use": {"web_search_requests": None}}}, {}),
        ({"usage": {"server_tool_use": {"dowsing_requests": 3}}}, {"dowsing": 3}),
        ({"usage": {"num_sources_used": 4}}, {"search_source": 4}),
        ({"output": [{"type": "code_interpreter_call"}]}, {"code_interpreter": 1}),
        ({"output": "text"}, {}),
    ],
)
def test_what_is_told(payload, calls):
    assert read_calls(payload) == calls


@pytest.mark.parametrize("count", [-1, 1.5, "2", True])
def test_counters_that_are_none(count):
    with pytest.raises(UsageError, match="web_search_requests"):
        read_calls({"server_tool_use": {"web_search_requests": count}})


def test_streams_tell_them_at_their_end():
    reader = UsageReader()
    start = {**ANTHROPIC, "output_tokens": 1, "server_tool_use": {"web_search_requests": 0}}
    reader.add({"type": "message_start", "message": {"usage": start}})
    assert reader.calls == {}
    told = {"output_tokens": 6039, "server_tool_use": {"web_search_requests": 2}}
    reader.add({"type": "message_delta", "usage": told})
    assert reader.calls == {"web_search": 2}
    reader = UsageReader()
    reader.add({"type": "response.created", "response": {"output": [], "usage": None}})
    reader.add({"type": "response.completed", "response": RESPONSES})
    assert reader.calls == {"web_search": 2, "file_search": 1}
    assert reader.read() == (Usage(input=9, output=4), "exact")


@given(st.integers(0, 10**6), st.integers(0, 10**13))
def test_a_priced_call_adds_its_price_and_nothing_else(count, pico):
    price = Price(RATES, "config", calls=(("web_search", pico),))
    calls = {"web_search": count} if count else {}
    assert price.cost(USAGE, calls=calls) == RATES.cost(USAGE) + Cost(pico * count)


def test_a_call_without_a_price_makes_the_cost_unknown():
    price = Price(RATES, "config", calls=(("web_search", 7),))
    assert price.cost(USAGE, calls={"file_search": 1}) is None
    assert price.cost(USAGE, calls={"web_search": 1, "file_search": 1}) is None
    assert price.unpriced({"web_search": 1, "file_search": 1}) == ("file_search",)
    stated = ModelCard("m", RATES, "config")
    assert PriceBook().cost(stated, USAGE, calls={"web_search": 1})[0] is None
    assert PriceBook().cost(stated, USAGE, calls={})[0] == RATES.cost(USAGE)


def test_a_sample_of_several_cannot_be_told_its_share():
    price = Price(RATES, "config", calls=(("web_search", 7),))
    samples = (Sample("a", output_tokens=5), Sample("b", output_tokens=5))
    response = Response("m", samples, USAGE, "exact", billed_calls={"web_search": 1})
    assert [part.cost for part in share(response, price)] == [None, None]


CACHED = {"cached_tokens": 60, "audio_tokens": 50, "cached_tokens_details": {"audio_tokens": 20}}


def test_cached_audio_is_told_apart_but_has_no_price_of_its_own():
    told = {"prompt_tokens": 100, "completion_tokens": 1, "prompt_tokens_details": CACHED}
    assert read_usage(told) == (Usage(10, 60, input_audio=30, output=1), "estimated")
    none = {**CACHED, "cached_tokens_details": {"audio_tokens": 0, "image_tokens": 0}}
    told["prompt_tokens_details"] = {**none, "cached_tokens": 40}
    assert read_usage(told) == (Usage(10, 40, input_audio=50, output=1), "exact")


@pytest.mark.parametrize(("cached", "audio"), [(60, 10), (10, 50)])
def test_cached_audio_that_does_not_fit(cached, audio):
    details = {**CACHED, "cached_tokens": cached, "audio_tokens": audio}
    told = {"prompt_tokens": 39, "completion_tokens": 1, "prompt_tokens_details": details}
    with pytest.raises(UsageError):
        read_usage(told)
