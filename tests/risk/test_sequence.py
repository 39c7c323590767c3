"""The promises hold by simulation, and the naive rule that they replace breaks them."""

from __future__ import annotations

import numpy as np
import pytest

from farthing.risk.sequence import (
    allowed_marginal,
    certified_marginal,
    certified_pac,
    least_marginal,
)

ALPHA, DELTA, N = 0.1, 0.1, 120
TRIALS = 4000


def leading(passed):
    return len(passed) if passed.all() else int(np.argmin(passed))


def bound(rate, trials=TRIALS):
    """Three standard errors above a rate."""
    return rate + 3 * np.sqrt(rate * (1 - rate) / trials)


@pytest.mark.parametrize("shared", [True, False], ids=["nested", "independent"])
def test_pac_bad_certificates_are_as_rare_as_promised(shared):
    rng = np.random.default_rng(1)
    rates = np.array([0.02, 0.05, 0.08, 0.101, 0.13, 0.2])
    bad = naive = 0
    for _ in range(TRIALS):
        draws = rng.random((1 if shared else len(rates), N))
        violated = draws < rates[:, None]
        bad += certified_pac(violated, ALPHA, DELTA) > 3
        naive += leading(violated.mean(axis=1) <= ALPHA) > 3
    assert bad / TRIALS <= bound(DELTA)
    assert bad / TRIALS >= (
        0.05 if shared else 0.005
    )  # the rule is not so timid that the test could not fail
    assert naive / TRIALS > bound(DELTA)


@pytest.mark.parametrize("shared", [True, False], ids=["nested", "independent"])
def test_marginal_promise_holds_for_the_next_question(shared):
    rng = np.random.default_rng(2)
    rates = np.linspace(0.005, 0.3, 40)
    n, hits, naive = 20, [], []
    for _ in range(TRIALS):
        draws = rng.random((1 if shared else len(rates), n + 1))
        violated = draws < rates[:, None]
        for hit, usable in (
            (hits, certified_marginal(violated[:, :n], ALPHA)),
            (naive, leading(violated[:, :n].mean(axis=1) <= ALPHA)),
        ):
            # Without any certified policy nothing is deployed, and nothing violates.
            hit.append(bool(usable) and bool(violated[usable - 1, n]))
    assert np.mean(hits) <= bound(ALPHA)
    if shared:
        assert np.mean(hits) >= 0.6 * ALPHA
        assert np.mean(naive) > bound(ALPHA)


def test_least_numbers_of_questions():
    for alpha in (0.01, 0.05, 0.1, 0.25, 0.4, 0.5):
        least = least_marginal(alpha)
        assert allowed_marginal(least, alpha) == 0
        assert allowed_marginal(least - 1, alpha) < 0


def test_one_failure_ends_the_sequence():
    violated = np.zeros((4, 50), bool)
    violated[1] = True
    assert certified_pac(violated, ALPHA, DELTA) == 1
    assert certified_marginal(violated, ALPHA) == 1
    assert certified_pac(~np.zeros((2, 50), bool), ALPHA, DELTA) == 0
