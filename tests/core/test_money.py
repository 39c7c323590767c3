from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farthing.core.errors import MoneyError
from farthing.core.money import Cost, Rates
from farthing.core.usage import LEAVES, Usage

picos = st.integers(-(10**24), 10**24)
counts = st.integers(0, 10**7)


@given(picos)
def test_text_is_exact_and_reads_back(pico):
    cost = Cost(pico)
    assert Cost.from_usd(str(cost)) == cost
    assert "e" not in str(cost).lower()
    assert Decimal(str(cost)) == cost.usd


@given(st.lists(picos), picos)
def test_no_picodollar_is_lost(amounts, more):
    total = Cost.total(Cost(a) for a in amounts)
    assert total.pico == sum(amounts)
    assert (total + Cost(more)) - Cost(more) == total
    assert (Cost(more) * 3).pico == 3 * more


@pytest.mark.parametrize("bad", ["nan", "inf", "x", "", "0.0000000000001"])
def test_what_is_no_exact_amount_is_refused(bad):
    with pytest.raises(MoneyError):
        Cost.from_usd(bad)


def test_recorded_floats_are_rounded_to_the_nearest():
    assert Cost.from_float(0.1 + 0.2) == Cost.from_usd("0.3")
    assert Cost.from_float(6.1035e-05) == Cost.from_usd("0.000061035")
    for bad in (float("nan"), float("inf")):
        with pytest.raises(MoneyError):
            Cost.from_float(bad)


def test_prices_per_million_are_whole_picodollars():
    rates = Rates.per_million("0.15", "0.60", cache_read="0.075")
    assert (rates.input, rates.output, rates.cache_read) == (150_000, 600_000, 75_000)
    usage = Usage(input=10, cache_read=4, output=3, reasoning=2)
    assert rates.cost(usage).pico == 10 * 150_000 + 4 * 75_000 + 5 * 600_000
    for bad in ("-1", "0.0000001"):
        with pytest.raises(MoneyError, match="at most 6 decimals"):
            Rates.per_million(bad, "1")


@given(*[counts] * 9)
def test_leaves_are_priced_once_each(i, r, w, o, t, h, a, v, p):
    usage = Usage(i, r, w, o, t, h, a, v, p)
    rates = Rates(3, 5, 7, 11, 13, 17, 19, 23, 29, 31)
    text = 17 + 3 * i + 7 * r + 11 * w + 5 * o + 13 * t
    assert rates.cost(usage).pico == text + 19 * h + 23 * a + 29 * v + 31 * p
    plain = Rates(3, 5)
    assert plain.cost(usage).pico == 3 * usage.input_tokens + 5 * usage.output_tokens
    assert Rates(3, 5, cache_write=11).cost(Usage(0, 0, w, cache_write_1h=h)).pico == 11 * (w + h)


def test_rates_say_by_which_leaf_they_charge():
    rates = Rates.per_million(1, 2, cache_write=3, input_audio="4")
    assert rates.of("input") == (10**6, "input")
    assert rates.of("cache_read") == (10**6, "input")
    assert rates.of("cache_write_1h") == (3 * 10**6, "cache_write")
    assert Rates(1, 2).of("cache_write_1h") == (1, "input")
    assert rates.of("input_audio") == (4 * 10**6, "input_audio")
    assert rates.of("output_audio") == (2 * 10**6, "output")
    for leaf in LEAVES:
        assert rates.cost(Usage(**{leaf: 7})).pico == 7 * rates.of(leaf)[0]


def test_a_rate_that_is_none_is_a_mistake():
    with pytest.raises(TypeError, match="smell"):
        Rates.per_million(1, 2, smell="3")
