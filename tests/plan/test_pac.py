"""What no question chose is certified on all; the levels never come back from the path."""

from __future__ import annotations

import numpy as np
import pytest
import recordings

from farthing.core.errors import InfeasibleError
from farthing.core.money import Cost
from farthing.models.draw import draw
from farthing.plan._pac import FIRST, TO_PATH, Beforehand, certified, levels
from farthing.plan.calibrate import Promise, calibrate
from farthing.plan.evaluate import apply
from farthing.plan.outcomes import Outcomes
from farthing.risk.binomial import tail_p_value
from farthing.risk.graph import graphical

ALPHA, DELTA = 0.1, 0.1


@pytest.fixture(scope="module")
def population():
    return draw(recordings.recording(3000, 3, 3, 1, null=0.02), ["m0", "m1", "m2"], 3)


@pytest.mark.parametrize(("alone", "lengths"), [(2, []), (3, []), (3, [4, 4, 9]), (4, [1, 2])])
def test_levels_of_what_is_fixed_do_not_depend_on_the_path(alone, lengths):
    fixed = alone + sum(lengths)
    none, some = levels(alone, lengths, 0), levels(alone, lengths, 5)
    assert none[0].sum() == pytest.approx(1)
    assert (some[0][:fixed] == none[0]).all()
    assert (some[0][fixed:] == 0).all()
    assert some[1][:fixed, :fixed] == pytest.approx(none[1])
    assert (some[1][fixed:, :fixed] == 0).all()
    inner = np.delete(some[1].sum(axis=1), -1)
    assert inner == pytest.approx(np.ones(len(inner)))  # nothing is lost, but at the very end
    assert (some[1][:alone, fixed] >= TO_PATH - 1e-9).all()


def test_bad_cascades_are_certified_as_seldom_as_promised():
    """Of 3 models alone, two sequences and a path of a pilot's choice; nested violations.

    Each tested at delta by itself, as if it were the only one, breaks the promise.
    """
    rng, trials, n = np.random.default_rng(1), 3_000, 120
    fixed = np.array([0.04, 0.101, 0.2, 0.05, 0.102, 0.15, 0.06, 0.101, 0.13])
    bad = naive = 0
    for _ in range(trials):
        pilot = rng.random(n)
        candidates = np.linspace(0.03, 0.2, 40)
        count = (pilot[:, None] < candidates).sum(axis=0)
        path = candidates[count <= 12][-4:]  # the boldest that look good to the pilot
        certify = rng.random(n)
        every = np.concatenate([pilot, certify])
        own = rng.random((len(fixed), 2 * n))
        mixed = np.where(rng.random(2 * n) < 0.5, every, own)  # dependent, on the pilot too
        p = [
            tail_p_value(int((row < rate).sum()), 2 * n, ALPHA)
            for row, rate in zip(mixed, fixed, strict=True)
        ]
        p += [tail_p_value(int((certify < rate).sum()), n, ALPHA) for rate in path]
        rates = np.concatenate([fixed, path])
        found = graphical(p, DELTA, *levels(3, [3, 3], len(path)))
        bad += (found & (rates > ALPHA)).any()
        naive += ((np.array(p) <= DELTA) & (rates > ALPHA)).any()
    most = DELTA + 3 * np.sqrt(DELTA * (1 - DELTA) / trials)
    assert 0.01 < bad / trials <= most
    assert naive / trials > most


def test_sequences_rise(population):
    """Each passes up whatever those before it pass up."""
    outcomes = Outcomes(population.select(np.arange(400)))
    beforehand = Beforehand.of(outcomes)
    assert [models for models, _ in beforehand.alone] == [(0,), (1,), (2,)]
    assert sorted({group[0][0] for group in beforehand.rising}) == [(0, 1, 2), (0, 2), (1, 2)]
    for group in beforehand.rising:
        thresholds = np.array([thresholds for _, thresholds in group])
        assert (np.diff(thresholds, axis=0) >= 0).all()
        assert thresholds[0].max() <= 1 / 3
        assert thresholds[-1].min() == 1
        models = group[0][0]
        asked = [(apply(outcomes, *one).answered == models[-1]).sum() for one in group]
        assert asked == sorted(asked)


def test_signals_that_are_no_votes_have_models_alone(population):
    assert Beforehand.of(Outcomes(population.select(np.arange(50)), "conf_raw")).rising == []


def test_refuses_no_more_often_than_one_test_of_the_first_model(population):
    """At a budget that the first model alone keeps in 97 % of the questions, all are evidence."""
    outcomes = Outcomes(population)
    cost = outcomes.end(0).cost
    asked = Promise(Cost(int(np.quantile(cost, 0.97))), ALPHA, "pac", DELTA)
    rng, refused, half = np.random.default_rng(2), 0, 0
    for seed in range(40):
        some = np.sort(rng.choice(population.questions, 100, replace=False))
        over = cost[some] > asked.budget.pico
        half += tail_p_value(int(over[rng.permutation(100)[:50]].sum()), 50, ALPHA) > DELTA
        try:
            found = calibrate(population.select(some), asked, seed=seed)
        except InfeasibleError:
            refused += 1
            assert tail_p_value(int(over.sum()), 100, ALPHA) > FIRST * DELTA
            continue
        if found.pilot == 0:
            assert found.certify == 100
            assert found.violations == found.result.violated(asked.budget.pico).sum()
    assert refused < half / 2


def test_certified_tells_the_two_apart(population):
    every = Outcomes(population.select(np.arange(300)))
    beforehand = Beforehand.of(every)
    path = np.array([np.zeros(150, bool), np.ones(150, bool)])
    dear = int(max(every.end(model).cost.max() for model in range(3))) * 3
    fixed, along = certified(every, beforehand, path, dear, ALPHA, DELTA)
    assert fixed.all()
    assert along.tolist() == [True, False]
    fixed, along = certified(every, beforehand, path, 1, ALPHA, DELTA)
    assert not fixed.any()
    assert not along.any()
