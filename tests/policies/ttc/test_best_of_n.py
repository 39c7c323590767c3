"""Best of several answers: by exact verifiers, by judges, and as many as it takes."""

from __future__ import annotations

import asyncio
import math

import numpy as np
import pytest
from ttc_worlds import Scripted, answered, chains, operation, tiny

from farthing.core.errors import ParamError
from farthing.core.money import Cost
from farthing.core.request import Request
from farthing.policies import from_params
from farthing.policies.registry import models_of
from farthing.policies.ttc.best_of_n import BestOfN
from farthing.policies.ttc.optscale import OptScale, Prior
from farthing.policies.ttc.spending import Spending
from farthing.policies.ttc.vote import SelfConsistency
from farthing.signals.steps import ExactSteps, ModelSteps


def graded(**grades: str) -> Scripted:
    """A judge that grades answers it finds in what it is asked."""

    def say(request: Request) -> str:
        return next(grade for text, grade in grades.items() if text in request.prompt)

    return Scripted("judge", say)


def test_the_best_grade_wins_and_equal_texts_are_graded_once() -> None:
    model = Scripted("m", ["bad 1", "good 2", "good 2", "fair 3"])
    op = operation(model, graded(bad="1", good="9", fair="5"))
    told = answered(BestOfN("m", ModelSteps("judge"), 4), op)
    assert (told.text, told.samples[0].columns["signal"]) == ("good 2", 0.9)
    kinds = [row.kind for row in op.ledger.attempts]
    assert (kinds.count("sample"), kinds.count("judge")) == (4, 3)


def test_it_goes_on_only_until_a_score_is_accepted() -> None:
    model = Scripted("m", ["bad 1", "good 2", "fair 3"])
    op = operation(model, graded(bad="1", good="9", fair="5"))
    told = answered(BestOfN("m", ModelSteps("judge"), 9, accept=0.8), op)
    assert (told.text, len(model.asked)) == ("good 2", 2)


def test_the_cap_ends_it_with_the_best_that_is_scored() -> None:
    model = Scripted("m", ["good 2", "fair 3"])
    judge = graded(good="9", fair="5")
    op = operation(model, judge, cap=Cost(400))
    told = answered(BestOfN("m", ModelSteps("judge"), 9, accept=1.0), op)
    assert (told.text, op.stopped, len(op.attempts)) == ("good 2", "cap", 3)


def test_with_an_exact_verifier_it_beats_a_vote_of_as_many() -> None:
    right = {"best": 0, "vote": 0}
    for request, value in chains(60):
        best = BestOfN("tiny-small", ExactSteps(), 8)
        vote = SelfConsistency("tiny-small", 8, "none")
        for name, policy in (("best", best), ("vote", vote)):
            told = answered(policy, operation(tiny("small")), request)
            right[name] += told.samples[0].answer == value
    assert right["best"] >= right["vote"] + 6


@pytest.mark.parametrize(("a", "b"), [(2.0, 2.0), (1.0, 4.0)])
def test_so_many_scores_come_to_the_target_with_the_stated_confidence(a: float, b: float) -> None:
    """Of questions whose scores are all of the prior's distribution."""
    mean, total = a / (a + b), a + b
    prior = Prior(mean, math.sqrt(mean * (1 - mean) / (total + 1)), 1e6)
    least = prior.least([], 0.8, 0.9)
    rng = np.random.default_rng(0)
    best = rng.beta(a, b, (20_000, least)).max(axis=1)
    assert (best >= 0.8).mean() >= 0.9 - 0.01
    fewer = rng.beta(a, b, (20_000, least - 1)).max(axis=1)
    assert (fewer >= 0.8).mean() < 0.9 + 0.01


def test_a_prior_is_learnt_from_recorded_scores() -> None:
    rng = np.random.default_rng(0)
    means = rng.beta(8, 4, 4000)[:, None]
    prior = Prior.fit(rng.beta(10 * means, 10 * (1 - means), (4000, 12)))
    assert prior.mean == pytest.approx(2 / 3, abs=0.01)
    assert prior.sd**2 == pytest.approx(float((means * (1 - means) / 11).mean()), rel=0.05)
    between = float(means.var())
    assert prior.weight == pytest.approx(prior.sd**2 / between, rel=0.1)


def test_optscale_stops_at_the_target_or_where_it_should_have_been_reached() -> None:
    model = Scripted("m", ["fair 1", "fair 2", "good 3", "good 4"])
    judge = graded(fair="6", good="9")
    policy = OptScale("m", ModelSteps("judge"), target=0.85, confidence=0.9, samples=9)
    op = operation(model, judge)
    assert answered(policy, op).text == "good 3"
    assert len(model.asked) == 3
    low = Scripted("m", ["low"])
    sure = OptScale("m", ModelSteps("judge"), 0.85, 0.5, 50, prior=Prior(0.8, 0.1, 20.0))
    answered(sure, operation(low, graded(low="8")))
    assert 1 < len(low.asked) < 10


def test_optscale_attains_its_confidence_on_tiny_chains_with_fewer_samples() -> None:
    """Exact scores are 1 or 0: the target is a right answer; those it can reach at all count."""
    reached = drawn = reachable = 0
    model = tiny("small")
    for request, value in chains(60, steps=3):
        pool = Request(request.messages, n=64, temperature=1.0, seed=request.seed)
        op = operation(model)
        told = asyncio.run(op.call("tiny-small", pool, node="x"))
        share = sum(sample.answer == value for sample in told.samples) / 64
        if share < 0.2:
            continue
        reachable += 1
        op = operation(model)
        policy = OptScale("tiny-small", ExactSteps(), 0.9, 0.9, 16)
        reached += answered(policy, op, request).samples[0].answer == value
        drawn += sum(attempt.request.n for attempt in op.attempts)
    assert reached / reachable >= 0.85
    assert drawn < 0.5 * 16 * reachable


@pytest.mark.parametrize(
    ("kind", "params", "message"),
    [
        ("best_of_n", {"samples": 0}, "must be at least 1"),
        ("best_of_n", {"reward": {"kind": "x"}}, "no reward is called 'x'"),
        ("optscale", {"target": 1.0}, "target must be between"),
        ("optscale", {"prior": {"mean": 0.5, "sd": 0.6}}, "no scores with mean 0.5 have sd 0.6"),
    ],
)
def test_parameters_that_are_wrong(kind: str, params: dict[str, object], message: str) -> None:
    with pytest.raises(ParamError, match=message):
        from_params(kind, {"model": "m", "reward": {"kind": "exact"}, **params})


def test_parameters_come_back() -> None:
    for policy in (
        BestOfN("m", ModelSteps("judge"), 3, 0.5, spending=Spending(usd="1")),
        OptScale("m", ModelSteps("judge"), prior=Prior(0.4, 0.2, 3.0)),
    ):
        again = from_params(policy.kind, policy.get_params())
        assert again == policy
        assert models_of(again) == ("judge", "m")
