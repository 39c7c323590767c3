from __future__ import annotations

import math

import numpy as np
import pytest

from farthing.risk.dsl import dsl_mean
from farthing.risk.prediction_powered import classical_mean, ppi_plus_mean

TRIALS, UNITS, N = 1500, 1500, 150


def population(rng, units=UNITS):
    """Labels, a flattering judge and a second hint that the judge does not have."""
    hint = rng.normal(size=units)
    y = (rng.random(units) < 1 / (1 + np.exp(-1.2 - 1.5 * hint))).astype(float)
    judge = np.clip(0.4 + 0.3 * y + 0.2 * rng.normal(size=units) + 0.2, 0, 1)
    return y, judge, hint


def truth():
    return population(np.random.default_rng(0), 2_000_000)[0].mean()


def hidden(y, labelled):
    return np.where(labelled, y, np.nan)


def test_coverage_with_equal_probabilities_and_the_gain_of_a_second_hint():
    rng, mean = np.random.default_rng(1), truth()
    outside, off, errors, ppi = 0, [], [], []
    for _ in range(TRIALS):
        y, judge, hint = population(rng)
        labelled = np.zeros(UNITS, bool)
        labelled[rng.choice(UNITS, N, replace=False)] = True
        features = np.column_stack([judge, hint])
        found = dsl_mean(hidden(y, labelled), features, N / UNITS)
        low, high = found.interval(0.9)
        outside += not low <= mean <= high
        off.append(found.value - mean)
        errors.append(found.error)
        ppi.append(ppi_plus_mean(y[labelled], judge[labelled], judge[~labelled]).error)
    assert 0.06 <= outside / TRIALS <= 0.1 + 3 * math.sqrt(0.1 * 0.9 / TRIALS) + 0.01
    assert abs(np.mean(off)) < 4 * np.std(off) / math.sqrt(TRIALS)
    assert np.mean(errors) < 0.97 * np.mean(ppi)


def test_unequal_probabilities_are_allowed_for_and_must_be_known():
    """Doubtful answers are labelled more often; the labels alone are then no fair sample."""
    rng, mean = np.random.default_rng(2), truth()
    outside, blind, alone = 0, 0, 0
    for _ in range(TRIALS):
        y, judge, hint = population(rng)
        chance = np.where(hint < 0, 0.16, 0.04)
        labelled = rng.random(UNITS) < chance
        given = hidden(y, labelled), judge[:, None]
        low, high = dsl_mean(*given, chance).interval(0.9)
        outside += not low <= mean <= high
        low, high = dsl_mean(*given, 0.1).interval(0.9)
        blind += not low <= mean <= high
        low, high = classical_mean(y[labelled]).interval(0.9)
        alone += not low <= mean <= high
    assert outside / TRIALS <= 0.1 + 3 * math.sqrt(0.1 * 0.9 / TRIALS) + 0.015
    assert blind / TRIALS > 0.3
    assert alone / TRIALS > 0.3


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((np.full(20, np.nan), np.ones((20, 1)), 0.1), "0 labels are too few"),
        ((np.ones(20), np.ones((20, 1)), 0.0), "must lie in"),
        ((np.ones(20), np.ones((19, 1)), 0.5), "want"),
        ((np.ones(20), np.full((20, 1), np.nan), 0.5), "want"),
    ],
)
def test_nonsense_is_refused(given, message):
    with pytest.raises(ValueError, match=message):
        dsl_mean(*given)
