"""Two rankings compared: against scipy, and on pairs counted by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from farthing.risk.ranks import agreement

small = st.integers(0, 4).map(float)


@given(st.lists(st.tuples(small, small), min_size=2, max_size=12))
def test_tau_is_scipys(pairs):
    first, second = zip(*pairs, strict=True)
    expected = stats.kendalltau(first, second).statistic
    found = agreement(first, second).tau
    assert math.isnan(found) if np.isnan(expected) else found == pytest.approx(expected)


def test_pairs_are_counted():
    found = agreement([1, 2, 3, 3], [10, 5, 7, 1])
    assert (found.pairs, found.reversed) == (5, 4)
    assert found.rate == 0.8


def test_equal_spend_is_no_reversal():
    assert agreement([1, 2], [5, 5]).reversed == 0


def test_nothing_to_compare():
    assert math.isnan(agreement([1], [1]).rate)
    assert math.isnan(agreement([2, 2], [1, 3]).rate)
