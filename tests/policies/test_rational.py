"""Thresholds from a model of confidences, and abstaining."""

from __future__ import annotations

import numpy as np
import pytest
from recordings import recording
from scipy.special import expit

from farthing.budgets.operation import Operation
from farthing.core.request import Request
from farthing.cost.prices import PriceBook
from farthing.models.draw import draw
from farthing.plan.replay import recorded_models
from farthing.policies.decisions import PRICES, rightness
from farthing.policies.rational import Rational, _Chain, _Margin
from farthing.policies.stopping import ABSTAINED
from farthing.signals.agreement import Agreement
from farthing.signals.calibrated import Calibrated


class Made:
    """Measures of a chain drawn from the very model: normal scores with correlation `rho`."""

    def __init__(self, n: int, rho: float, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        first = rng.normal(size=n)
        second = rho * first + np.sqrt(1 - rho**2) * rng.normal(size=n)
        self.scores = [first, second]
        self.right = [
            (rng.random(n) < expit(1.5 * first)).astype(float),
            (rng.random(n) < expit(1.5 * second + 1)).astype(float),
            (rng.random(n) < expit(second + 2)).astype(float),
        ]
        self.cost = [np.full(n, 50), np.full(n, 200), np.full(n, 1000)]
        self.scoring = [np.zeros(n)] * 2
        self.unit = 1000.0

    def gain(self, chances: list[np.ndarray], accept: list[float], price: float) -> float:
        alive = np.ones(len(self.scores[0]), bool)
        total = np.zeros(len(alive))
        for chance, least, right, cost in zip(
            [*chances, None], [*accept, None], self.right, self.cost, strict=True
        ):
            total -= np.where(alive, price * cost / self.unit, 0)
            taken = alive if chance is None else alive & (chance >= least)
            total += np.where(taken, right, 0)
            alive &= ~taken
        return float(total.mean())


@pytest.mark.parametrize("rho", [0.0, 0.7])
@pytest.mark.parametrize("price", [0.02, 0.2, 0.6])
def test_no_grid_is_better_where_the_model_holds(rho: float, price: float) -> None:
    made = Made(20_000, rho)
    margins = [
        _Margin(Calibrated.fit(Agreement(), scores, right), scores)
        for scores, right in zip(made.scores, made.right, strict=False)
    ]
    expected, gates = _Chain((0, 1, 2), margins, made).best(price, None)  # type: ignore[arg-type]
    chances = [
        m.calibrated.expects(m.calibrated.normal(s))
        for m, s in zip(margins, made.scores, strict=True)
    ]
    accept = [gate[0] for _, gate in gates if gate is not None]
    reached = made.gain(chances, accept, price)
    grid = np.linspace(0, 1, 21)
    best = max(made.gain(chances, [one, two], price) for one in grid for two in grid)
    assert reached > best - 0.003
    assert abs(expected - reached) < 0.015


def test_abstains_only_where_that_is_worth_something() -> None:
    drawn = draw(recording(300, 3, 1), ["m0", "m1", "m2"], 1)
    right = rightness(drawn)
    for never in Rational.fit(drawn, right):
        assert (never.decide(drawn).model >= 0).all()
    rungs = Rational.fit(drawn, right, abstaining=0.6)
    shares = [float((rung.decide(drawn).model == -1).mean()) for rung in rungs]
    assert max(shares) > 0.05
    for rung, plain, price in zip(rungs, Rational.fit(drawn, right), PRICES, strict=True):
        gains = []
        for policy in (rung, plain):
            done = policy.decide(drawn)
            cost = done.cost.mean() / drawn.cost[-1].mean()
            gains.append(done.take(right).mean() + 0.6 * (done.model < 0).mean() - price * cost)
        assert gains[0] > gains[1] - 0.05


async def test_says_that_it_abstains() -> None:
    drawn = draw(recording(200, 3, 1), ["m0", "m1", "m2"], 1)
    rungs = Rational.fit(drawn, rightness(drawn), abstaining=0.6)
    rung = max(rungs, key=lambda rung: (rung.decide(drawn).model < 0).sum())
    done = rung.decide(drawn)
    assert 0 < (done.model < 0).sum() < drawn.questions
    models = recorded_models(drawn)
    for place, question in enumerate(drawn.recording.questions):
        operation = Operation(models, prices=PriceBook())
        response = await rung.answer(Request.ask("", question=question), operation)
        sample = response.samples[0]
        abstained = bool(done.model[place] < 0)
        assert (sample.finish_reason == "abstained") == abstained
        assert operation.stopped == ("abstained" if abstained else None)
        assert operation.spent.pico == done.cost[place]
        if abstained:
            assert sample.text == ABSTAINED
            assert sample.answer is None
