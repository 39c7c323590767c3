from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from farthing.risk.precise import expected, hit, list_mean, patterns, precision, reciprocal_rank
from farthing.risk.prediction_powered import classical_mean

TRIALS, K = 2000, 5


@pytest.mark.parametrize("measure", [precision, hit, reciprocal_rank])
@given(st.integers(1, 4), st.integers(0, 3), st.integers(0, 10_000))
def test_the_sum_over_a_list_is_the_sum_over_the_corpus(measure, k, rest, seed):
    """By brute force over all 2^C patterns of a corpus whose first K items were retrieved."""
    chances = np.random.default_rng(seed).random(k + rest)
    whole = 0.0
    for pattern in itertools.product((0.0, 1.0), repeat=k + rest):
        bits = np.array(pattern)
        chance = np.where(bits == 1, chances, 1 - chances).prod()
        whole += chance * measure(bits[None, :k])[0]
    assert expected(chances[None, :k], measure)[0] == pytest.approx(whole)


def test_measures():
    relevant = np.array([[0.0, 1.0, 1.0, 0.0], [0.0, 0.0, 0.0, 0.0]])
    assert precision(relevant).tolist() == [0.5, 0.0]
    assert hit(relevant).tolist() == [1.0, 0.0]
    assert reciprocal_rank(relevant).tolist() == [0.5, 0.0]
    assert patterns(2).tolist() == [[0, 0], [1, 0], [0, 1], [1, 1]]


def lists(rng, count):
    """Relevance that hangs together within a query, and a judge who likes the first items."""
    easy = rng.beta(2, 2, size=(count, 1))
    true = np.clip(easy * np.linspace(1.1, 0.7, K), 0, 1)
    relevant = (rng.random((count, K)) < true).astype(float)
    chances = np.clip(0.25 + 0.5 * relevant + 0.2 * rng.normal(size=(count, K)), 0, 1)
    chances[:, :2] = np.clip(chances[:, :2] + 0.2, 0, 1)
    return relevant, chances


@pytest.mark.parametrize("measure", [precision, reciprocal_rank])
def test_a_biased_judge_is_corrected(measure):
    rng = np.random.default_rng(1)
    many = lists(rng, 400_000)[0]
    truth = measure(many).mean()
    outside, naive, short, width, labels = 0, 0, 0, [], []
    for _ in range(TRIALS):
        relevant, chances = lists(rng, 100 + 1500)
        found = list_mean(relevant[:100], chances[:100], chances[100:], measure)
        low, high = found.interval(0.9)
        outside += not low <= truth <= high
        judge = classical_mean(expected(chances, measure)).interval(0.9)
        naive += not judge[0] <= truth <= judge[1]
        # Items as if they were independent: too sure of itself, as they are not.
        flat = classical_mean(relevant[:100].ravel()).interval(0.9)
        short += not flat[0] <= many.mean() <= flat[1]
        width.append(high - low)
        plain = classical_mean(measure(relevant[:100])).interval(0.9)
        labels.append(plain[1] - plain[0])
    error = 3 * math.sqrt(0.1 * 0.9 / TRIALS)
    assert 0.06 <= outside / TRIALS <= 0.1 + error + 0.01
    assert naive / TRIALS > 0.9
    assert short / TRIALS > 0.1 + error
    assert np.mean(width) < 0.75 * np.mean(labels)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (([[0.5]], [[0.5]], [[0.5]]), "relevance of 0 or 1"),
        (([[1.0], [0.0], [1.0]], [[1.5]] * 3, [[0.5]]), "between 0 and 1"),
        (([[1.0] * 21] * 3, [[0.5] * 21] * 3, [[0.5] * 21]), "1 to 20"),
    ],
)
def test_nonsense_is_refused(given, message):
    with pytest.raises(ValueError, match=message):
        list_mean(*given)
