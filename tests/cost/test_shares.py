from hypothesis import given
from hypothesis import strategies as st

from farthing.core.money import Cost, Rates
from farthing.core.response import Response, Sample
from farthing.core.usage import Usage
from farthing.cost import Price, SampleShare, share

PRICE = Price(Rates(10, 100), "config")


def answer(samples, usage, **fields):
    return Response("m", tuple(samples), usage=usage, usage_basis="exact", **fields)


def test_one_sample_costs_what_the_call_cost():
    response = answer([Sample("x")], Usage(input=3, output=2), cost=Cost(777))
    assert share(response, None) == (SampleShare(2, Cost(777), "exact"),)


def test_each_of_several_samples_pays_the_whole_prompt():
    samples = [Sample("a", output_tokens=1), Sample("b", output_tokens=4)]
    response = answer(samples, Usage(input=3, output=5), cost=PRICE.rates.cost(Usage(3, 0, 0, 5)))
    assert share(response, PRICE) == (
        SampleShare(1, Cost(130), "exact"),
        SampleShare(4, Cost(430), "exact"),
    )
    assert response.cost == Cost(530)


@given(st.lists(st.text(max_size=30), min_size=2, max_size=8), st.integers(0, 10**6))
def test_divided_tokens_add_up_to_those_of_the_call(texts, tokens):
    response = answer([Sample(text) for text in texts], Usage(input=3, output=tokens))
    parts = share(response, PRICE)
    assert sum(part.output_tokens for part in parts) == tokens
    assert all(part.output_tokens >= 0 and part.basis == "estimated" for part in parts)
    assert all(part.cost == Cost(30 + 100 * part.output_tokens) for part in parts)


def test_what_is_unknown_stays_unknown():
    silent = Response("m", (Sample("a"), Sample("b", output_tokens=3)))
    assert share(silent, PRICE) == (
        SampleShare(None, None, "unknown"),
        SampleShare(3, None, "unknown"),
    )
    told = answer([Sample("a"), Sample("a")], Usage(input=1, output=4), cost=Cost(9))
    assert [part.cost for part in share(told, None)] == [None, None]


def test_reasoning_of_its_own_price_cannot_be_divided():
    samples = [Sample("a", output_tokens=4), Sample("b", output_tokens=4)]
    response = answer(samples, Usage(input=1, output=2, reasoning=6))
    dear = Price(Rates(10, 100, reasoning=300), "config")
    assert [part.cost for part in share(response, dear)] == [None, None]
    assert [part.cost for part in share(response, PRICE)] == [Cost(410), Cost(410)]


def test_what_is_charged_by_time_or_as_audio_cannot_be_divided():
    samples = [Sample("a", output_tokens=4), Sample("b", output_tokens=4)]
    response = answer(samples, Usage(input=1, output=2, output_audio=6))
    dear = Price(Rates(10, 100, output_audio=300), "config")
    timed = Price(Rates(10, 100), "config", per_second=1)
    for price in (dear, timed):
        assert [part.cost for part in share(response, price)] == [None, None]
    assert [part.cost for part in share(response, PRICE)] == [Cost(410), Cost(410)]
    spoken = answer(samples, Usage(input=1, output=8, input_audio=3, cache_write_1h=2))
    assert [part.cost for part in share(spoken, PRICE)] == [Cost(460), Cost(460)]
