"""What cascade routing reckons with."""

from __future__ import annotations

import numpy as np
import pytest
from recordings import recording

from farthing.models.draw import draw
from farthing.policies.cascade_routing import CascadeRouting
from farthing.policies.decisions import PRICES, rightness
from farthing.policies.estimates import greater


@pytest.mark.parametrize(
    ("one", "other"),
    [((0.5, 0.1), (0.6, 0.2)), ((0.9, 0.01), (0.2, 0.3)), ((0.4, 0.0), (0.4, 0.3))],
)
def test_the_greater_of_two_normal_variables(
    one: tuple[float, float], other: tuple[float, float]
) -> None:
    rng = np.random.default_rng(0)
    drawn = np.maximum(rng.normal(*one, 400_000), rng.normal(*other, 400_000))
    mean, variance = greater(
        np.array([one[0]]), np.array([one[1] ** 2]), np.array([other[0]]), other[1] ** 2
    )
    assert mean[0] == pytest.approx(drawn.mean(), abs=2e-3)
    assert variance[0] == pytest.approx(drawn.var(), abs=2e-3)


def test_gains_more_than_any_single_model_on_other_questions() -> None:
    drawn = draw(recording(1600, 3, 3), ["m0", "m1", "m2"], 3)
    learn, other = drawn.select(np.arange(800)), drawn.select(np.arange(800, 1600))
    rungs, right = CascadeRouting.fit(learn, rightness(learn)), rightness(other)
    unit = other.cost[-1][:, 0].mean()
    ahead = []
    for price, rung in zip(PRICES, rungs, strict=True):
        done = rung.decide(other)
        single = max((right[m][:, 0] - price * other.cost[m][:, 0] / unit).mean() for m in range(3))
        ahead.append(float((done.take(right) - price * done.cost / unit).mean() - single))
    assert max(ahead) > 0.02
    assert min(ahead[6:]) > -0.03


def test_asks_in_turn_only_models_that_it_has_not_asked() -> None:
    drawn = draw(recording(300, 3, 1), ["m0", "m1", "m2"], 1)
    rung = CascadeRouting.fit(drawn, rightness(drawn))[10]
    worth = {0b001: np.array([0.5]), 0b011: np.array([0.99]), 0b101: np.array([0.5])}
    assert rung._next(worth, 0b001).tolist() == [1]
    assert rung._next({0b111: np.array([0.9])}, 0b111).tolist() == [-1]
