import pytest
from hypothesis import given
from hypothesis import strategies as st

from farthing.core.errors import UsageError
from farthing.core.usage import Usage
from farthing.cost import read_usage

counts = st.integers(0, 10**9)


@given(counts, counts, st.data())
def test_leaves_add_up_to_the_counters_they_were_read_from(prompt, completion, data):
    cached = data.draw(st.integers(0, prompt))
    reasoning = data.draw(st.integers(0, completion))
    usage, basis = read_usage(
        {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
            "prompt_tokens_details": {"cached_tokens": cached, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": reasoning},
        }
    )
    assert basis == "exact"
    assert usage.input_tokens == prompt
    assert usage.output_tokens == completion
    assert (usage.cache_read, usage.reasoning) == (cached, reasoning)


def test_the_other_spelling():
    payload = {
        "input_tokens": 10,
        "output_tokens": 7,
        "input_tokens_details": {"cached_tokens": 4},
        "output_tokens_details": {"reasoning_tokens": 2},
    }
    assert read_usage(payload) == (Usage(6, 4, 0, 5, 2), "exact")


def test_a_response_is_read_through_its_usage():
    body = {"id": "x", "usage": {"prompt_tokens": 3, "completion_tokens": 1}}
    assert read_usage(body) == (Usage(input=3, output=1), "exact")


@pytest.mark.parametrize(
    "payload",
    [
        {},
        {"usage": None},
        {"usage": {}},
        {"id": "x", "choices": []},
        {"prompt_tokens": 5},
        {"prompt_tokens": 5, "completion_tokens": None},
        {"prompt_tokens": None, "completion_tokens": 5},
        {"total_tokens": 5},
    ],
)
def test_what_is_not_told_is_unknown(payload):
    assert read_usage(payload) == (None, "unknown")


def test_zero_is_a_count():
    payload = {
        "prompt_tokens": 0,
        "completion_tokens": 0,
        "prompt_tokens_details": None,
        "completion_tokens_details": {"reasoning_tokens": None},
    }
    assert read_usage(payload) == (Usage(), "exact")


def test_the_total_tells_a_missing_part():
    told = {"prompt_tokens": 5, "total_tokens": 5}
    assert read_usage(told) == (Usage(input=5), "exact")
    told = {"completion_tokens": 2, "total_tokens": 5}
    assert read_usage(told) == (Usage(input=3, output=2), "exact")


def test_reasoning_counted_beside_the_completion():
    payload = {
        "prompt_tokens": 10,
        "completion_tokens": 3,
        "total_tokens": 20,
        "completion_tokens_details": {"reasoning_tokens": 7},
    }
    assert read_usage(payload) == (Usage(input=10, output=3, reasoning=7), "exact")


@pytest.mark.parametrize(
    "payload",
    [
        {"prompt_tokens": 5, "completion_tokens": 5, "total_tokens": 11},
        {"prompt_tokens": 5, "input_tokens": 6, "completion_tokens": 1},
        {
            "prompt_tokens": 5,
            "completion_tokens": 1,
            "prompt_tokens_details": {"cached_tokens": 6},
        },
        {
            "prompt_tokens": 5,
            "completion_tokens": 1,
            "completion_tokens_details": {"reasoning_tokens": 2},
        },
        {"prompt_tokens": 5, "total_tokens": 4},
        {"prompt_tokens": -1, "completion_tokens": 1},
        {"prompt_tokens": "5", "completion_tokens": 1},
        {"prompt_tokens": True, "completion_tokens": 1},
        {"prompt_tokens": 1.5, "completion_tokens": 1},
        {"usage": [1, 2]},
    ],
)
def test_contradictions_are_errors(payload):
    with pytest.raises(UsageError):
        read_usage(payload)
