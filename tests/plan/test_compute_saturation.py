"""Saturation points: the laws are found where they hold, and their misfit is told where not."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest

from farthing.core.errors import DataError
from farthing.models.recording import Floats
from farthing.plan.compute_saturation import pass_at, saturation


def drawn(chances: Floats, samples: int, seed: int = 0) -> Floats:
    rng = np.random.default_rng(seed)
    return (rng.random((len(chances), samples)) < chances[:, None]).astype(float)


class TestPassAt:
    def test_is_the_share_of_sets_with_a_right_one(self) -> None:
        right = drawn(np.array([0.0, 0.2, 0.5, 1.0, 0.4]), 7)
        found = pass_at(right)
        for question, row in enumerate(right):
            for size in range(1, 8):
                sets = list(combinations(row, size))
                expected = sum(any(one) for one in sets) / len(sets)
                assert found[question, size - 1] == pytest.approx(expected)


class TestSaturation:
    def test_finds_one_chance(self) -> None:
        chances = np.where(np.arange(3000) < 2400, 0.3, 0.0)
        found = saturation(pass_at(drawn(chances, 32)), fit_to=12)
        assert found.ceiling_interval[0] <= 0.8 <= found.ceiling_interval[1]
        assert found.chance_interval[0] <= 0.3 <= found.chance_interval[1]
        gains = 0.8 * 0.3 * 0.7 ** np.arange(40)
        expected = int(np.argmax(gains < 0.01))
        assert found.stop is not None
        assert abs(found.stop - expected) <= 1
        assert found.stop_interval[0] <= expected <= found.stop_interval[1]
        assert found.fits

    def test_mixed_questions_break_one_chance(self) -> None:
        rng = np.random.default_rng(1)
        success = pass_at(drawn(rng.beta(0.5, 1.0, 3000), 48))
        one = saturation(success, fit_to=8)
        assert one.fits is False
        assert one.misfit is not None
        assert one.misfit > 0.02
        mixed = saturation(success, law="mixed", fit_to=8)
        assert mixed.misfit is not None
        assert abs(mixed.misfit) < abs(one.misfit) / 2
        assert math.isfinite(mixed.spread)

    def test_intervals_cover(self) -> None:
        hits = 0
        for seed in range(40):
            chances = np.where(np.random.default_rng(seed).random(300) < 0.7, 0.25, 0.0)
            found = saturation(pass_at(drawn(chances, 16, seed)), seed=seed)
            hits += found.chance_interval[0] <= 0.25 <= found.chance_interval[1]
        assert hits >= 33  # of 40 at 95 %: below with probability under 0.002

    def test_nothing_to_gain_stops_at_once(self) -> None:
        found = saturation(np.zeros((20, 5)), least_gain=0.05)
        assert found.stop == 0
        assert found.misfit is None
        assert found.fits is None

    @pytest.mark.parametrize("shape", [(20, 2), (5, 8)])
    def test_too_little_is_told(self, shape: tuple[int, int]) -> None:
        with pytest.raises(DataError, match="3 units and 10 questions"):
            saturation(np.ones(shape))
