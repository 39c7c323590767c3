"""False-discovery rates by simulation; a score chosen first, or a line drawn by eye, break them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from farthing.risk.selection import benjamini_hochberg, p_values, select, select_best

Q, TRIALS = 0.2, 800


def share_bad(chosen, good):
    return (chosen & ~good).sum() / max(1, chosen.sum())


def mean_and_error(values):
    return np.mean(values), 3 * np.std(values) / math.sqrt(len(values))


def answers(rng, count, *, rate=0.4, skill=0.8):
    good = rng.random(count) < rate
    return skill * good + rng.normal(size=count), good


def test_of_the_accepted_at_most_a_share_is_bad():
    rng = np.random.default_rng(1)
    ours, eye, accepted = [], [], []
    for _ in range(TRIALS):
        scores, good = answers(rng, 25)
        new, truth = answers(rng, 60)
        chosen = select(scores, good, new, Q)
        ours.append(share_bad(chosen, truth))
        accepted.append(chosen.mean())
        # By eye: the lowest threshold at which the calibration answers look good enough.
        order = np.argsort(-scores)
        share = np.cumsum(~good[order]) / np.arange(1, 26)
        kept = np.flatnonzero(share <= Q)
        line = scores[order][kept[-1]] if len(kept) else np.inf
        eye.append(share_bad(new >= line, truth))
    mean, error = mean_and_error(ours)
    assert mean <= Q + error
    assert np.mean(accepted) > 0.05
    mean, error = mean_and_error(eye)
    assert mean > Q + error


def test_p_values_of_bad_answers_are_rarely_small():
    rng = np.random.default_rng(2)
    small = np.zeros(3)
    levels = np.array([0.05, 0.1, 0.3])
    for _ in range(4000):
        scores, good = answers(rng, 31)
        p = p_values(scores[:30], good[:30], scores[30:])[0]
        small += (p <= levels) & ~good[30]
    assert (small / 4000 <= levels + 3 * np.sqrt(levels / 4000)).all()


def many(rng, count, kinds, skills, rate=0.5):
    good = rng.random(count) < rate
    scores = skills[:, None] * good + rng.normal(size=(kinds, count))
    return scores, good


def test_choosing_among_scores_keeps_the_rate_where_choosing_first_does_not():
    """Sixty scores that know nothing: of whatever is chosen, half is bad."""
    rng = np.random.default_rng(3)
    kinds, q = 60, 0.3
    ours, first = [], []
    for trial in range(400):
        scores, good = many(rng, 30, kinds, np.zeros(kinds))
        new, truth = many(rng, 20, kinds, np.zeros(kinds))
        ours.append(share_bad(select_best(scores, good, new, q, seed=trial), truth))
        each = [select(scores[k], good, new[k], q) for k in range(kinds)]
        first.append(share_bad(max(each, key=np.sum), truth))
    mean, error = mean_and_error(ours)
    assert mean <= q + error
    mean, error = mean_and_error(first)
    assert mean > q + error


def test_the_best_score_is_found():
    rng = np.random.default_rng(4)
    skills = np.array([0.3, 2.0, 0.5])
    ours, best, split, bad = [], [], [], []
    for trial in range(200):
        scores, good = many(rng, 80, 3, skills)
        new, truth = many(rng, 100, 3, skills)
        chosen = select_best(scores, good, new, Q, seed=trial)
        ours.append(chosen.sum())
        bad.append(share_bad(chosen, truth))
        best.append(select(scores[1], good, new[1], Q).sum())
        half = [select(scores[k, :40], good[:40], scores[k, 40:], Q).sum() for k in range(3)]
        pick = int(np.argmax(half))
        split.append(select(scores[pick, 40:], good[40:], new[pick], Q).sum())
    mean, error = mean_and_error(bad)
    assert mean <= Q + error
    assert np.mean(ours) > 0.9 * np.mean(best)
    assert np.mean(ours) > np.mean(split)


def test_benjamini_hochberg_against_scipy():
    rng = np.random.default_rng(5)
    for _ in range(50):
        p = rng.random(30) ** 2
        assert (benjamini_hochberg(p, 0.2) == (stats.false_discovery_control(p) <= 0.2)).all()
    assert benjamini_hochberg([], 0.1).shape == (0,)
    assert select_best(np.ones((2, 3)), [True] * 3, np.ones((2, 0)), 0.1).shape == (0,)


def test_nonsense_is_refused():
    with pytest.raises(ValueError, match="same number"):
        p_values([1.0], [True, False], [1.0])
    with pytest.raises(ValueError, match="scores x answers"):
        select_best([[1.0]], [True, False], [[1.0]], 0.1)
