from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from farthing.risk.adaptive import AdaptiveLevel
from farthing.risk.aggregated import STEPS, AggregatedLevel

ALPHA, WINDOW = 0.1, 200


def stream(rng, jumpy):
    """Conformal p-values of a stream whose scale jumps, or stays: the calibration never does."""
    scale = np.repeat(np.exp(rng.normal(0, 1.0, 40)), 250) if jumpy else np.ones(10_000)
    return np.exp(-rng.exponential(size=10_000) * scale)


def misses(shares, level, aggregated):
    """How far the share that exceeds is from alpha, over each window; and over all."""
    exceeded = []
    for share in shares:
        over = share < level.level
        exceeded.append(over)
        level.update(share if aggregated else over)
    found = np.array(exceeded, float)
    return np.abs(found.reshape(-1, WINDOW).mean(axis=1) - ALPHA).mean(), found.mean()


def test_follows_jumps_better_than_a_slow_step_and_is_steadier_than_a_fast_one():
    rng = np.random.default_rng(1)
    jumpy, calm = stream(rng, True), stream(rng, False)
    local, overall = misses(jumpy, AggregatedLevel(ALPHA), True)
    assert abs(overall - ALPHA) < 0.012
    slow, _ = misses(jumpy, AdaptiveLevel(ALPHA, step=0.002), False)
    fixed = np.abs((jumpy < ALPHA).reshape(-1, WINDOW).mean(axis=1) - ALPHA).mean()
    assert local < 0.6 * slow < fixed

    level, fast = AggregatedLevel(ALPHA), AdaptiveLevel(ALPHA, step=0.1)
    paths: list[list[float]] = [[], []]
    for share in calm:
        level.update(share)
        fast.update(share < fast.level)
        paths[0].append(level.level)
        paths[1].append(fast.level)
    assert np.std(paths[0]) < 0.6 * np.std(paths[1])


@given(st.lists(st.floats(0, 1), max_size=60))
def test_weights_stay_a_mixture_and_levels_bounded(shares):
    level = AggregatedLevel(0.2)
    for share in shares:
        level.update(share)
    assert sum(level.weights) == pytest.approx(1)
    assert min(level.weights) > 0
    assert all(-step <= at <= 1 + step for step, at in zip(STEPS, level.levels, strict=True))
    assert -max(STEPS) <= level.level <= 1 + max(STEPS)


def test_one_step_size_is_the_adaptive_level():
    one, plain = AggregatedLevel(0.1, steps=(0.01,)), AdaptiveLevel(0.1, step=0.01)
    for share in np.random.default_rng(2).random(50):
        plain.update(bool(share < plain.level))
        one.update(share)
        assert one.level == pytest.approx(plain.level)


@pytest.mark.parametrize("wrong", [{"alpha": 0}, {"alpha": 0.1, "steps": (0.0,)}])
def test_nonsense_is_refused(wrong):
    with pytest.raises(ValueError, match="between 0 and 1"):
        AggregatedLevel(**wrong)
