"""Resampling: every scheme keeps particles as often as they weigh, on average."""

from __future__ import annotations

import numpy as np
import pytest

from farthing.policies.ttc.resampling import SCHEMES, effective, normalised, resample

WEIGHTS = np.array([0.05, 0.42, 0.0, 0.2, 0.33])
TRIALS = 4000


@pytest.mark.parametrize("scheme", SCHEMES)
def test_particles_are_kept_in_proportion_to_their_weights(scheme: str) -> None:
    rng = np.random.default_rng(3)
    counts = np.array(
        [np.bincount(resample(WEIGHTS, scheme, rng), minlength=5) for _ in range(TRIALS)]
    )
    assert (counts.sum(1) == 5).all()
    error = 4 * np.sqrt(5 * WEIGHTS * (1 - WEIGHTS) / TRIALS)
    assert (abs(counts.mean(0) - 5 * WEIGHTS) <= error).all()
    spread = counts.var(0).sum()
    if scheme == "multinomial":
        assert spread == pytest.approx((5 * WEIGHTS * (1 - WEIGHTS)).sum(), rel=0.1)
    else:
        assert spread < 0.8 * (5 * WEIGHTS * (1 - WEIGHTS)).sum()
    if scheme in ("systematic", "residual"):
        assert (counts >= np.floor(5 * WEIGHTS)).all()


@pytest.mark.parametrize("scheme", SCHEMES)
def test_equal_weights_keep_each_and_one_weight_takes_all(scheme: str) -> None:
    rng = np.random.default_rng(0)
    sure = resample(np.array([0.0, 1.0, 0.0]), scheme, rng)
    assert sure.tolist() == [1, 1, 1]
    if scheme != "multinomial":
        assert sorted(resample(np.full(4, 0.25), scheme, rng).tolist()) == [0, 1, 2, 3]


def test_weights_from_logarithms() -> None:
    assert normalised(np.array([-1000.0, -1000.0 + np.log(3)])) == pytest.approx([0.25, 0.75])
    assert normalised(np.full(2, -np.inf)) == pytest.approx([0.5, 0.5])
    assert effective(np.full(4, 0.25)) == pytest.approx(4)
    assert effective(np.array([0.0, 1.0])) == pytest.approx(1)
