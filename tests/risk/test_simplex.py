"""Shares of the weight simplex, against areas that are known."""

from __future__ import annotations

import pytest

from farthing.risk.simplex import first_shares

NEAR = pytest.approx


def test_two_criteria():
    # The second is first where its weight on the second criterion is above 3/5.
    shares = first_shares([[1.0, 0.0], [0.25, 0.5]])
    assert shares == NEAR([0.6, 0.4], abs=0.012)


def test_corners_share_the_simplex_alike():
    assert first_shares([[1, 0, 0], [0, 1, 0], [0, 0, 1]]) == NEAR([1 / 3] * 3, abs=0.012)


def test_who_is_dominated_is_never_first():
    shares = first_shares([[1.0, 0.9], [0.5, 0.8], [0.9, 1.0]])
    assert shares[1] == 0
    assert shares.sum() == NEAR(1)


def test_equals_share_a_place():
    assert first_shares([[1.0, 1.0], [1.0, 1.0]]) == NEAR([0.5, 0.5])
