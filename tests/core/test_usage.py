from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farthing.core.errors import UsageError
from farthing.core.usage import LEAVES, Usage

counts = st.integers(0, 10**9)


@given(*[counts] * 9)
def test_leaves_sum_back_to_the_vendors_counters(i, r, w, o, t, h, a, v, p):
    usage = Usage.from_inclusive(
        i + r + w + h + a + p,
        o + t + v,
        cached_tokens=r,
        cache_write_tokens=w,
        cache_write_1h_tokens=h,
        input_audio_tokens=a,
        input_image_tokens=p,
        reasoning_tokens=t,
        output_audio_tokens=v,
    )
    assert usage == Usage(i, r, w, o, t, h, a, v, p)
    assert (usage.input_tokens, usage.output_tokens) == (i + r + w + h + a + p, o + t + v)
    assert (usage + usage).input_tokens == 2 * usage.input_tokens


@given(st.lists(st.builds(Usage, *[counts] * len(LEAVES)), max_size=4))
def test_every_leaf_is_added(usages):
    total = sum(usages, Usage())
    for leaf in LEAVES:
        assert getattr(total, leaf) == sum(getattr(usage, leaf) for usage in usages)
    assert total.input_tokens + total.output_tokens == sum(getattr(total, leaf) for leaf in LEAVES)


@pytest.mark.parametrize("leaf", LEAVES)
def test_no_leaf_is_negative(leaf):
    with pytest.raises(UsageError, match=f"{leaf}' is negative: -1"):
        Usage(**{leaf: -1})


@pytest.mark.parametrize(
    "counters",
    [
        {"cached_tokens": 11},
        {"cached_tokens": 6, "cache_write_tokens": 5},
        {"cached_tokens": 6, "cache_write_1h_tokens": 5},
        {"input_audio_tokens": 6, "input_image_tokens": 5},
        {"reasoning_tokens": 6},
        {"reasoning_tokens": 3, "output_audio_tokens": 3},
        {"cached_tokens": -1},
        {"input_image_tokens": -1},
    ],
)
def test_parts_larger_than_the_whole_are_refused(counters):
    with pytest.raises(UsageError):
        Usage.from_inclusive(10, 5, **counters)
