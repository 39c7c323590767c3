from __future__ import annotations

import math

import numpy as np
import pytest

from farthing.risk.control import controlled
from farthing.risk.sequence import allowed_marginal, certified_marginal

ALPHA, MOST, N, TRIALS = 0.9, 4.0, 14, 10_000


@pytest.mark.parametrize("shared", [True, False], ids=["nested", "independent"])
def test_expected_loss_of_the_next_question_is_bounded(shared):
    """Losses of 0, 1 and 4; to ask only that the mean so far be at most alpha overshoots."""
    rng = np.random.default_rng(1)
    knob = np.linspace(0.0, 0.9, 40)[:, None]
    ours, naive = [], []
    for _ in range(TRIALS):
        size = (1 if shared else len(knob), N + 1)
        losses = (rng.random(size) < knob) * rng.choice([1.0, MOST], size, p=[0.1, 0.9])
        mean = losses[:, :N].mean(axis=1) <= ALPHA
        for found, usable in (
            (ours, controlled(losses[:, :N], ALPHA, MOST)),
            (naive, len(mean) if mean.all() else int(np.argmin(mean))),
        ):
            found.append(losses[usable - 1, N] if usable else 0.0)
    error = 3 * np.std(ours) / math.sqrt(TRIALS)
    assert np.mean(ours) <= ALPHA + error
    if shared:
        assert np.mean(ours) > 0.7 * ALPHA
        assert np.mean(naive) > ALPHA + error


def test_losses_of_0_and_1_are_the_marginal_certificate():
    rng = np.random.default_rng(2)
    for n in (5, 9, 19, 50):
        violated = rng.random((6, n)) < np.linspace(0, 0.3, 6)[:, None]
        for alpha in (0.05, 0.1, 0.25):
            worst = np.logical_or.accumulate(violated, axis=0).sum(axis=1)
            passed = worst <= allowed_marginal(n, alpha)
            count = 6 if passed.all() else int(np.argmin(passed))
            assert controlled(violated, alpha) == certified_marginal(violated, alpha) == count


def test_units_do_not_matter():
    losses = np.random.default_rng(3).random((5, 30)) * np.arange(1, 6)[:, None] / 5
    assert controlled(losses, 0.3) == controlled(losses * 1e-6, 0.3e-6, 1e-6) > 0


def test_losses_beyond_the_most_are_refused():
    for wrong in ([[1.1]], [[-0.1]], [[math.nan]]):
        with pytest.raises(ValueError, match="between 0 and"):
            controlled(wrong, 0.1)
