"""Several hops: the best of a table, beside pipelines that are fixed."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from recordings import recording

from farthing.models.draw import Draw, draw
from farthing.policies import hops, pipelines
from farthing.policies.decisions import PRICES, rightness
from farthing.policies.hops import Hops


def drawn(questions: int = 400, samples: int = 2, seed: int = 0) -> Draw:
    return draw(recording(questions, 3, samples, seed, null=0.1), ["m0", "m1", "m2"], samples)


def gain(policy: Hops, of: Draw, price: float) -> float:
    done = policy.decide(of)
    cost = done.cost.mean() / of.cost[-1][:, 0].mean()
    return float(done.take(rightness(of)).mean() - price * cost)


def test_is_never_worse_than_the_best_fixed_pipeline_where_it_learns(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pipelines, "PRIOR", 0.0)
    of = drawn()
    right = rightness(of)
    better = 0
    pairs = zip(PRICES, Hops.fit(of, right), Hops.fit(of, right, fixed=True), strict=True)
    for price, free, fixed in pairs:
        ahead = gain(free, of, price) - gain(fixed, of, price)
        assert ahead > -1e-9
        better += ahead > 0.005
    assert better > 3


def test_finds_the_best_of_all_pipelines(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two models, one sample each: the pipelines that stop or go on by the first answer."""
    monkeypatch.setattr(pipelines, "PRIOR", 0.0)
    monkeypatch.setattr(hops, "LOGPROBS", ())
    of = draw(recording(300, 2, 1, 3, null=0.3), ["m0", "m1"], 1)
    right = rightness(of)
    unit = of.cost[-1].mean()
    first, second = of.answers[0][:, 0], of.answers[1][:, 0]
    pattern = (first >= 0).astype(int) * 3 + np.where(second < 0, 0, 1 + (first == second))
    for place in (4, 8, 12):
        price = PRICES[place]
        found = []
        one, two = (right[m][:, 0] - price * of.cost[m][:, 0] / unit for m in range(2))
        both = np.stack([right[0][:, 0], right[1][:, 0]], axis=1)
        paid = price * (of.cost[0] + of.cost[1])[:, 0] / unit
        after = np.zeros(300)
        for each in np.unique(pattern):
            here = pattern == each
            after[here] = both[here][:, both[here].mean(axis=0).argmax()]
        after -= paid
        for go_on in itertools.product((False, True), repeat=2):
            goes = np.where(first >= 0, go_on[1], go_on[0])
            found.append(np.where(goes, after, one).mean())
        swapped = []
        for go_on in itertools.product((False, True), repeat=2):
            goes = np.where(second >= 0, go_on[1], go_on[0])
            swapped.append(np.where(goes, after, two).mean())
        best = max(*found, *swapped)
        assert gain(Hops.fit(of, right)[place], of, price) == pytest.approx(best, abs=1e-9)


def test_a_fixed_pipeline_makes_the_same_calls_whatever_is_answered() -> None:
    of = drawn()
    for rung in Hops.fit(of, rightness(of), fixed=True):
        assert len(set(rung.decide(of).calls.tolist())) == 1


def test_a_state_never_seen_is_answered_by_the_vote() -> None:
    policy = Hops(("a", "b"), (2, 2), np.array([0]), np.array([0]))
    labels = np.array([[1, 2, 2, 0], [1, 2, 3, 0], [0, 0, 0, 0]])
    assert policy._actions(np.array([7, 8, 9]), labels).tolist() == [-3, -3, -4]
