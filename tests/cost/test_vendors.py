"""Every vendor's way of telling usage, plain and streamed."""

import pytest
from cost.vendors import VENDORS, chunk
from hypothesis import given
from hypothesis import strategies as st

from farthing.core.errors import UsageError
from farthing.core.request import Message, Request
from farthing.core.usage import Usage
from farthing.cost import UsageReader, estimate_usage, read_service_tier, read_usage

counts = st.integers(0, 10**9)


def streamed(events):
    reader = UsageReader()
    for event in events:
        reader.add(event)
    return reader.read()


@pytest.mark.parametrize("vendor", VENDORS.values(), ids=VENDORS)
@given(st.data())
def test_leaves_are_those_that_the_counters_were_written_from(vendor, data):
    usage = Usage(**{leaf: data.draw(counts, leaf) for leaf in vendor.leaves})
    assert read_usage(vendor.plain(usage)) == (usage, "exact")
    assert streamed(vendor.stream(usage)) == (usage, "exact")


@pytest.mark.parametrize("vendor", VENDORS.values(), ids=VENDORS)
def test_zero_is_told(vendor):
    assert read_usage(vendor.plain(Usage())) == (Usage(), "exact")
    assert streamed(vendor.stream(Usage())) == (Usage(), "exact")


@pytest.mark.parametrize("vendor", VENDORS.values(), ids=VENDORS)
def test_a_stream_that_was_cut_is_unknown_or_what_it_told_so_far(vendor):
    usage = Usage(**dict.fromkeys(vendor.leaves, 8))
    events = vendor.stream(usage)
    told, basis = streamed(events[:1])
    assert (told is None) == (basis == "unknown")
    assert told is None or told.output_tokens < usage.output_tokens


def test_the_output_that_anthropic_tells_first_is_none():
    start, *_ = VENDORS["anthropic"].stream(Usage(input=5, output=9))
    assert start["message"]["usage"]["output_tokens"] == 3
    assert streamed([start]) == (None, "unknown")


def test_anthropic_may_repeat_the_prompt_at_the_end():
    usage = Usage(input=5, cache_read=7, cache_write=2, output=9)
    first, *_ = VENDORS["anthropic"].stream(usage)
    last = {"input_tokens": 5, "cache_read_input_tokens": 7, "output_tokens": 9}
    events = [first, {"type": "message_delta", "usage": last}]
    assert streamed(events) == (usage, "exact")
    begun = {"type": "message_start", "message": {"usage": {"input_tokens": 0}}}
    assert streamed([begun, events[1]]) == (Usage(input=5, cache_read=7, output=9), "exact")
    last["input_tokens"] = 0
    with pytest.raises(UsageError, match="fell from 5 to 0"):
        streamed(events)


def test_anthropic_without_cache_counters():
    told = {"type": "message", "usage": {"input_tokens": 5, "output_tokens": 9}}
    assert read_usage(told) == (Usage(input=5, output=9), "exact")
    told["usage"] |= {"cache_read_input_tokens": None, "cache_creation_input_tokens": None}
    assert read_usage(told) == (Usage(input=5, output=9), "exact")


def test_anthropic_tells_lifetimes_without_their_sum_or_the_sum_alone():
    told = {"input_tokens": 1, "output_tokens": 2}
    lifetimes = {"ephemeral_5m_input_tokens": 3, "ephemeral_1h_input_tokens": 4}
    split = Usage(input=1, cache_write=3, cache_write_1h=4, output=2)
    assert read_usage({**told, "cache_creation": lifetimes}) == (split, "exact")
    whole = Usage(input=1, cache_write=7, output=2)
    assert read_usage({**told, "cache_creation_input_tokens": 7}) == (whole, "exact")


def test_a_later_chunk_without_details_leaves_those_told():
    first = chunk(usage=VENDORS["openai chat"].plain(Usage(5, 3, output=1))["usage"])
    last = {"choices": [], "usage": {"prompt_tokens": 8, "completion_tokens": 4}}
    assert streamed([first, last]) == (Usage(5, 3, output=4), "exact")


def test_samples_of_one_stream_may_tell_their_own_counts_before_the_sum():
    each = [chunk(usage={"prompt_tokens": 3, "completion_tokens": n}) for n in (5, 2)]
    last = {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 7}}
    assert streamed([*each, last]) == (Usage(input=3, output=7), "exact")


def test_thoughts_that_are_not_told_are_reasoning_for_gemini_alone():
    told = {"prompt_tokens": 5, "completion_tokens": 5, "total_tokens": 30}
    usage = Usage(input=5, output=5, reasoning=20)
    assert read_usage({"model": "models/gemini-2.5-pro", "usage": told}) == (usage, "exact")
    with pytest.raises(UsageError):
        read_usage({"model": "gpt-5", "usage": told})
    less = {**told, "total_tokens": 9}
    with pytest.raises(UsageError):
        read_usage({"model": "gemini-2.5-pro", "usage": less})


def test_a_gateway_before_anthropic_counts_in_openai_s_sense():
    told = {
        "prompt_tokens": 110,
        "completion_tokens": 4,
        "total_tokens": 114,
        "prompt_tokens_details": {"cached_tokens": 80},
        "cache_read_input_tokens": 80,
        "cache_creation_input_tokens": 20,
    }
    assert read_usage({"usage": told}) == (Usage(10, 80, 20, 4), "exact")


@pytest.mark.parametrize(
    ("counters", "cached"),
    [
        ({"prompt_cache_hit_tokens": 6, "prompt_cache_miss_tokens": 4}, 6),
        ({"cached_tokens": 6}, 6),
        ({"prompt_tokens_details": []}, 0),
    ],
)
def test_other_names_of_cached_tokens(counters, cached):
    told = {"prompt_tokens": 10, "completion_tokens": 1, **counters}
    assert read_usage(told) == (Usage(10 - cached, cached, output=1), "exact")


def test_llama_cpp_of_old_does_not_tell_what_the_cache_gave():
    told = {"choices": [], "timings": {"prompt_n": 1, "predicted_n": 9}}
    assert read_usage(told) == (None, "unknown")


def test_cached_tokens_of_an_image_are_not_counted_twice():
    details = {"cached_tokens": 100, "image_tokens": 40}
    told = {"prompt_tokens": 100, "completion_tokens": 1, "prompt_tokens_details": details}
    assert read_usage(told) == (Usage(cache_read=100, output=1), "exact")
    told["prompt_tokens"] = 120
    usage = Usage(cache_read=100, output=1, input_image=20)
    assert read_usage(told) == (usage, "estimated")
    details["image_tokens"] = 121
    with pytest.raises(UsageError):
        read_usage(told)


@pytest.mark.parametrize(
    "usage",
    [
        {"input_tokens": 1, "output_tokens": 1, "cache_read_input_tokens": -1},
        {
            "input_tokens": 1,
            "output_tokens": 1,
            "cache_creation_input_tokens": 5,
            "cache_creation": {"ephemeral_5m_input_tokens": 1, "ephemeral_1h_input_tokens": 5},
        },
        {
            "input_tokens": 1,
            "output_tokens": 1,
            "cache_creation_input_tokens": 5,
            "cache_creation": {"ephemeral_1h_input_tokens": 6},
        },
        {
            "prompt_tokens": 9,
            "completion_tokens": 1,
            "prompt_tokens_details": {"cached_tokens": 6},
            "cached_tokens": 5,
        },
        {
            "prompt_tokens": 1,
            "completion_tokens": 5,
            "total_tokens": 9,
            "completion_tokens_details": {"reasoning_tokens": 4},
        },
        {
            "prompt_tokens": 1,
            "completion_tokens": 5,
            "completion_tokens_details": {"reasoning_tokens": 3, "audio_tokens": 3},
        },
        "3",
    ],
)
def test_contradictions_are_errors(usage):
    for payload in ({"usage": usage}, {"usage": usage, "model": "gemini-2.5-pro"}):
        with pytest.raises(UsageError):
            read_usage(payload)
        with pytest.raises(UsageError):
            streamed([payload])


@pytest.mark.parametrize(
    ("payload", "tier"),
    [
        ({}, None),
        ({"service_tier": None}, None),
        ({"service_tier": "default"}, None),
        ({"service_tier": "Flex"}, "flex"),
        ({"service_tier": 3}, None),
        ({"usage": {"service_tier": "standard"}}, None),
        ({"usage": {"service_tier": "batch"}}, "batch"),
        ({"usage": None, "service_tier": "priority"}, "priority"),
    ],
)
def test_service_tiers(payload, tier):
    assert read_service_tier(payload) == tier
    reader = UsageReader()
    reader.add(payload)
    assert reader.service_tier == tier


def test_the_service_tier_of_a_stream_is_the_one_told_last():
    reader = UsageReader()
    for event in VENDORS["openai responses"].stream(Usage(1)):
        reader.add(event)
    assert reader.service_tier == "flex"


@given(st.text(), st.lists(st.text(), min_size=1, max_size=3))
def test_an_estimate_says_that_it_is_one(prompt, texts):
    usage, basis = estimate_usage(Request.ask(prompt), texts)
    assert basis == "estimated"
    assert 4 * usage.input >= len(prompt.encode()) > 4 * (usage.input - 1)
    assert usage.output_tokens >= sum(map(len, texts)) / 4
    counted, _ = estimate_usage(Request.ask(prompt), texts, count=len)
    assert counted == Usage(input=len(prompt), output=sum(map(len, texts)))


def test_what_cannot_be_guessed_is_unknown():
    image = Message("user", [{"type": "text", "text": "see"}, {"type": "image_url"}])
    assert estimate_usage(Request((image,)), ["x"]) == (None, "unknown")
    tools = Request.ask("x", extra={"tools": [{}]})
    assert estimate_usage(tools, ["x"]) == (None, "unknown")
    text = Request((Message("user", [{"type": "text", "text": "12345"}]), Message("tool", None)))
    assert estimate_usage(text, [""]) == (Usage(input=2), "estimated")


names = [
    *("usage", "timings", "model", "type", "message", "response", "service_tier", "choices"),
    *("prompt_tokens", "completion_tokens", "total_tokens", "input_tokens", "output_tokens"),
    *("prompt_tokens_details", "output_tokens_details", "cached_tokens", "reasoning_tokens"),
    *("audio_tokens", "cache_read_input_tokens", "cache_creation_input_tokens"),
    *("cache_creation", "ephemeral_1h_input_tokens", "prompt_n", "cache_n", "predicted_n"),
]
small = st.integers(-1, 9)
values = st.recursive(
    st.none() | st.booleans() | small | st.floats() | st.sampled_from(["gemini", "message_delta"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(names), inner),
)
payloads = st.dictionaries(st.sampled_from(names), values)


@given(payloads, st.lists(payloads, max_size=3))
def test_whatever_comes_is_read_or_refused(payload, events):
    for read in (lambda: read_usage(payload), lambda: streamed(events)):
        try:
            usage, basis = read()
        except UsageError:
            continue
        assert (usage is None) == (basis == "unknown")


@given(st.dictionaries(st.sampled_from(names), small.filter(lambda count: count >= 0)))
def test_what_is_read_adds_up_to_the_total_that_was_told(usage):
    try:
        read, _ = read_usage({"usage": usage})
    except UsageError:
        return
    if read is not None and "total_tokens" in usage and "cache_creation" not in usage:
        anthropic = "cache_read_input_tokens" in usage or "cache_creation_input_tokens" in usage
        if not anthropic or "prompt_tokens" in usage:
            assert read.input_tokens + read.output_tokens == usage["total_tokens"]
