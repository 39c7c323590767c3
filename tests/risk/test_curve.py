"""Figures of curves, against what they are by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from farthing.risk.curve import Ends, aiq, apgr, cpt, distance, hull, quality_at

ENDS = Ends(1.0, 0.5, 3.0, 0.9)
points = st.lists(st.tuples(st.floats(0.1, 10), st.floats(0, 1)), min_size=1, max_size=12)


def test_a_straight_line_is_the_random_mix():
    x, y = [1.0, 3.0], [0.5, 0.9]
    assert apgr(x, y, ENDS) == pytest.approx(0.5)
    assert aiq(x, y, ENDS) == pytest.approx(0.7)
    assert cpt(x, y, ENDS, 0.5) == pytest.approx(0.5)
    assert cpt(x, y, ENDS, 0.8) == pytest.approx(0.8)


def test_a_perfect_choice_needs_nothing():
    x, y = [1.0, 3.0], [0.9, 0.9]
    assert apgr(x, y, ENDS) == pytest.approx(1.0)
    assert cpt(x, y, ENDS, 0.8) == 0.0


def test_a_bend_counts_by_its_area():
    x, y = [1.0, 2.0, 3.0], [0.5, 0.9, 0.9]
    assert apgr(x, y, ENDS) == pytest.approx(0.75, abs=1e-3)
    assert cpt(x, y, ENDS, 0.5) == pytest.approx(0.25)


def test_what_is_not_reached_is_unknown():
    assert cpt([1.0, 3.0], [0.5, 0.6], ENDS, 0.8) is None
    assert apgr([1.0], [0.5], Ends(1, 0.9, 3, 0.9)) is None


def test_distance_is_measured_down_from_the_hull():
    x, y = [1.0, 3.0], [0.5, 0.9]
    assert distance(2.0, 0.6, x, y) == pytest.approx(0.1)
    assert distance(2.0, 0.8, x, y) == 0.0


@given(points)
def test_hull_lies_above_all_points_and_bends_down(found):
    x, y = zip(*found, strict=True)
    corner_x, corner_y = hull(x, y)
    assert (np.diff(corner_x) > 0).all()
    assert (np.diff(corner_y) > 0).all()
    slopes = np.diff(corner_y) / np.diff(corner_x)
    assert (np.diff(slopes) < 1e-9).all()
    assert (quality_at(x, y, x) >= np.array(y) - 1e-9).all()
    assert {(a, b) for a, b in zip(corner_x, corner_y, strict=True)} <= set(found)
