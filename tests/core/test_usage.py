from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farthing.core.errors import UsageError
from farthing.core.usage import Usage

counts = st.integers(0, 10**9)


@given(counts, counts, counts, counts, counts)
def test_leaves_sum_back_to_the_vendors_counters(i, r, w, o, t):
    usage = Usage.from_inclusive(
        i + r + w, o + t, cached_tokens=r, cache_write_tokens=w, reasoning_tokens=t
    )
    assert usage == Usage(i, r, w, o, t)
    assert (usage.input_tokens, usage.output_tokens) == (i + r + w, o + t)
    assert (usage + usage).input_tokens == 2 * usage.input_tokens


@pytest.mark.parametrize(
    "counters",
    [
        {"cached_tokens": 11},
        {"cached_tokens": 6, "cache_write_tokens": 5},
        {"reasoning_tokens": 6},
        {"cached_tokens": -1},
    ],
)
def test_parts_larger_than_the_whole_are_refused(counters):
    with pytest.raises(UsageError):
        Usage.from_inclusive(10, 5, **counters)
