"""Coverage at all times at once; intervals for one number of labels fail when looked at often."""

from __future__ import annotations

import math

import numpy as np
import pytest

from farthing.risk.prediction_powered import ppi_plus_mean
from farthing.risk.sequential_ppi import FIRST, betting, mixture, pool_interval

RATE, N, POOL = 0.8, 300, 6000


def stream(rng, *, good=0.93, rate=RATE, n=N, pool=POOL):
    """Labels and a judge's biased scores in the order of labelling, and all of its scores."""
    y = (rng.random(pool) < rate).astype(float)
    says = np.where(rng.random(pool) < good, y, 1 - y)
    f = np.clip(0.3 + 0.6 * says + 0.05 * rng.normal(size=pool), 0, 1)
    return y[:n], f[:n], f


def missed(error, trials):
    return error + 3 * math.sqrt(error * (1 - error) / trials)


def wrong(found, rate=RATE):
    """Whether the sequence is ever wrong."""
    return bool(found.low.max() > rate or found.high.min() < rate)


@pytest.mark.parametrize("good", [0.93, 0.6], ids=["good judge", "bad judge"])
@pytest.mark.parametrize(("method", "trials"), [(mixture, 1500), (betting, 120)])
def test_holds_at_all_times_and_the_fixed_interval_does_not(method, trials, good):
    rng = np.random.default_rng(1)
    ever, peeked = 0, 0
    for trial in range(trials):
        y, f, pool = stream(rng, good=good)
        ever += wrong(method(y, f, pool, 0.9))
        if trial < 120:
            looks = range(FIRST, N + 1, 10)
            ends = [ppi_plus_mean(y[:n], f[:n], pool[N:]).interval(0.9) for n in looks]
            peeked += any(not low <= RATE <= high for low, high in ends)
    assert ever / trials <= missed(0.1, trials)
    assert peeked / 120 > missed(0.1, 120)


@pytest.mark.parametrize(("method", "trials"), [(mixture, 1500), (betting, 120)])
def test_labels_alone_hold_too(method, trials):
    rng = np.random.default_rng(2)
    ever = sum(wrong(method(stream(rng)[0], confidence=0.9)) for _ in range(trials))
    assert ever / trials <= missed(0.1, trials)


def settled(sequence, target):
    """Labels until the mean is known to be at least `target`."""
    reached = sequence.low >= target
    return int(reached.argmax()) + 1 if reached.any() else len(sequence.low) + 1


def test_a_judge_saves_labels():
    rng = np.random.default_rng(3)
    labels = {name: [] for name in ("mixture", "mixture alone", "betting", "betting alone")}
    for _ in range(15):
        y, f, pool = stream(rng, n=900)
        labels["mixture"].append(settled(mixture(y, f, pool), 0.74))
        labels["mixture alone"].append(settled(mixture(y), 0.74))
        labels["betting"].append(settled(betting(y, f, pool), 0.74))
        labels["betting alone"].append(settled(betting(y), 0.74))
    mean = {name: np.mean(counts) for name, counts in labels.items()}
    assert mean["mixture"] < 0.7 * mean["mixture alone"]
    assert mean["betting"] < 0.7 * mean["betting alone"]


def test_a_prior_that_is_right_helps_and_one_that_is_wrong_costs_length_alone():
    rng = np.random.default_rng(4)
    sharp, wide = ((1.0, 0.02),), ((1.0, 0.5),)
    widths, ever = {"right": [], "wide": []}, 0
    for _ in range(400):
        y = (rng.random(POOL) < RATE).astype(float)
        says = np.where(rng.random(POOL) < 0.9, y, rng.random(POOL) < RATE)  # right on average
        for name, prior in (("right", sharp), ("wide", wide)):
            found = mixture(y[:N], says[:N], says, 0.9, prior)
            widths[name].append(found.high[-1] - found.low[-1])
        biased = says * 0.7
        ever += wrong(mixture(y[:N], biased[:N], biased, 0.9, sharp))
    assert np.median(widths["right"]) < 0.95 * np.median(widths["wide"])
    assert ever / 400 <= missed(0.1, 400)


def test_betting_is_exact_where_nothing_is_normal():
    """Rare failures: of two hundred labels, one or two are wrong."""
    rng = np.random.default_rng(5)
    ever = 0
    for _ in range(200):
        y = (rng.random(200) < 0.99).astype(float)
        ever += betting(y, confidence=0.9).low.max() > 0.99
    assert ever / 200 <= missed(0.05, 200)


def test_sequences_only_shrink():
    y, f, pool = stream(np.random.default_rng(6))
    for found in (mixture(y, f, pool), betting(y, f, pool)):
        assert (np.diff(found.low[FIRST:]) >= 0).all()
        assert (np.diff(found.high[FIRST:]) <= 0).all()
    assert mixture(y, f, pool).low[FIRST - 2] == -math.inf


@pytest.mark.parametrize("exact", [True, False])
def test_interval_of_the_pool(exact):
    rng = np.random.default_rng(7)
    outside = 0
    for _ in range(2000):
        low, high = pool_interval(rng.beta(2, 1, size=300), 0.1, exact=exact)
        outside += not low <= 2 / 3 <= high
    assert outside / 2000 <= missed(0.1, 2000)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (([2.0],), "between 0 and 1"),
        (([1.0], [1.0]), "go together"),
        (([1.0], [1.0, 0.0], [1.0, 0.0]), "same number of both"),
        (([1.0], [1.0], [1.0]), "too few for an interval"),
        (([1.0], None, None, 95), "confidence is 95"),
    ],
)
def test_nonsense_is_refused(given, message):
    with pytest.raises(ValueError, match=message):
        betting(*given)
