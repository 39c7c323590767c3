"""Searches over steps: what they find, what they spend, and where they stop."""

from __future__ import annotations

import asyncio
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from ttc_worlds import Scripted, answered, chains, operation, tiny

from farthing.core.errors import ParamError
from farthing.core.money import Cost
from farthing.core.request import Request
from farthing.policies import from_params
from farthing.policies.registry import models_of
from farthing.policies.ttc.astar import AStar
from farthing.policies.ttc.bavt import BAVT, endings_for
from farthing.policies.ttc.beam import Beam
from farthing.policies.ttc.particles import Particles
from farthing.policies.ttc.searching import aggregated
from farthing.policies.ttc.spending import Spending
from farthing.policies.ttc.steps import Steps
from farthing.policies.ttc.treebon import TreeBoN
from farthing.signals.steps import CallableSteps, ExactSteps, ModelSteps

WORLD: dict[str, Any] = {
    "model": "tiny-small",
    "reward": ExactSteps(),
    "steps": Steps(tokens=1),
}
SEARCHES = [
    Particles(particles=8, **WORLD),
    Particles(particles=8, threshold=0.5, scheme="residual", choose="vote", **WORLD),
    Beam(**WORLD),
    Beam(width=4, expand=2, groups=2, **WORLD),
    AStar(**WORLD),
    AStar(expand=1, again=0.5, **WORLD),
    BAVT(**WORLD),
    TreeBoN(**WORLD),
]
CHAINS = chains(60, steps=5, seed=8)


def solved(policy: Any, tried: list[tuple[Request, str]] = CHAINS) -> tuple[float, float]:
    """The share solved, and generated tokens a question."""

    async def run() -> tuple[int, int]:
        right = tokens = 0
        for request, value in tried:
            op = operation(tiny("small"))
            response = await policy.answer(request, op)
            right += response.samples[0].answer == value
            tokens += op.usage.output_tokens if op.usage else 0
        return right, tokens

    right, tokens = asyncio.run(run())
    return right / len(tried), tokens / len(tried)


@pytest.mark.parametrize("policy", SEARCHES, ids=lambda policy: policy.kind)
def test_searches_solve_what_a_single_answer_does_not(policy: Any) -> None:
    plain, _ = solved(replace(policy, reward=CallableSteps(f"{__name__}:blind")))
    found, _ = solved(policy)
    assert found > plain + 0.2


def blind(prompt: str, text: str) -> float:
    return 0.5


@pytest.mark.parametrize("policy", SEARCHES, ids=lambda policy: policy.kind)
@pytest.mark.parametrize("tokens", [1, 7, 20])
def test_spending_is_exceeded_by_no_more_than_a_sample(policy: Any, tokens: int) -> None:
    for request, _ in CHAINS[:8]:
        op = operation(tiny("small"))
        told = answered(replace(policy, spending=Spending(tokens=tokens)), op, request)
        longest = max(
            sample.output_tokens or 0
            for attempt in op.attempts
            if attempt.response
            for sample in attempt.response.samples
        )
        assert op.usage is not None
        assert op.usage.output_tokens < tokens + longest
        assert told.samples[0].read


def test_what_runs_short_is_written_to_its_end_from_the_reserve() -> None:
    ended: dict[float, int] = {}
    for reserve in (0.0, 0.1):
        policy = Particles(particles=8, spending=Spending(tokens=30), reserve=reserve, **WORLD)
        ended[reserve] = 0
        for request, _ in CHAINS[:12]:
            op = operation(tiny("small"))
            told = answered(policy, op, request)
            ended[reserve] += told.samples[0].finish_reason == "stop"
            assert op.stopped == "cap"
    assert ended == {0.0: 0, 0.1: 12}


@pytest.mark.parametrize("policy", SEARCHES, ids=lambda policy: policy.kind)
def test_a_used_up_cap_gives_the_best_so_far(policy: Any) -> None:
    request, _ = CHAINS[0]
    op = operation(tiny("small"), cap=Cost(60_000))
    told = answered(policy, op, request)
    assert told.samples[0].text
    if told.samples[0].finish_reason == "length":
        assert op.stopped == "cap"


@pytest.mark.parametrize("policy", SEARCHES, ids=lambda policy: policy.kind)
def test_a_policy_is_what_its_parameters_say(policy: Any) -> None:
    params = policy.get_params()
    assert params["reward"] == {"kind": "exact"}
    assert params["steps"] == {"tokens": 1}
    assert from_params(policy.kind, params) == policy
    assert models_of(policy) == ("tiny-small",)


def test_wrong_parameters_are_told() -> None:
    told = {"model": "m", "reward": {"kind": "exact"}}
    with pytest.raises(ParamError, match="no reward is called 'exakt'"):
        from_params("beam", {**told, "reward": {"kind": "exakt"}})
    with pytest.raises(ParamError, match="width 4 is not a multiple of groups 3"):
        from_params("beam", {**told, "groups": 3})
    with pytest.raises(ParamError, match="did you mean 'particles'"):
        from_params("particles", {**told, "particle": 3})
    with pytest.raises(ParamError, match="scheme is one of multinomial"):
        from_params("particles", {**told, "scheme": "x"})


def test_a_judge_is_asked_for_each_new_text_once_and_booked() -> None:
    words = Scripted("m", ["a", "a", "b", "a b", " "])
    judge = Scripted("judge", ["7"])
    policy = AStar(model="m", reward=ModelSteps("judge"), expand=3, again=0.0, depth=1)
    op = operation(words, judge)
    told = answered(policy, op)
    kinds = [attempt.kind for attempt in op.attempts]
    assert kinds.count("judge") == 2
    assert kinds.count("sample") == 3
    assert told.samples[0].columns["signal"] == pytest.approx(0.7)
    assert models_of(policy) == ("judge", "m")


class TestAStar:
    def test_it_stops_when_the_best_is_finished(self) -> None:
        found, tokens = solved(AStar(expand=1, again=0.5, **WORLD))
        assert found > 0.9
        assert tokens < 20

    def test_again_makes_up_for_few_samples(self) -> None:
        once, _ = solved(AStar(again=0.0, **WORLD))
        again, _ = solved(AStar(**WORLD))
        assert again > once + 0.1

    def test_no_more_are_gone_on_from_than_told(self) -> None:
        op = operation(tiny("small"))
        answered(AStar(expand=2, most=3, **WORLD), op, CHAINS[0][0])
        assert len(op.attempts) == 3


class TestTreeBoN:
    def test_it_takes_no_more_tokens_than_best_of_n(self) -> None:
        policy = TreeBoN(samples=8, **WORLD)
        _, tokens = solved(policy)
        _, best_of = solved(replace(policy, layers=1))
        assert tokens <= 1.02 * best_of


class TestBeam:
    def test_groups_do_not_see_each_other(self) -> None:
        """A reward for one beginning fills a beam with it, but only one of two groups."""
        reward = CallableSteps(f"{__name__}:favours_x")
        policy = Beam(model="m", reward=reward, width=2, expand=2, depth=2)
        for groups, kept in ((1, {"x\n", "xx\n"}), (2, {"x\n", "y\n"})):
            model = Scripted("m", ["x", "xx", "y", "w"])
            answered(replace(policy, groups=groups), operation(model))
            assert {one.messages[-1].text for one in model.asked[4:]} == kept


def favours_x(prompt: str, text: str) -> float:
    return float(text.startswith("x"))


class TestBAVT:
    def test_the_bound_on_ending_without_an_answer_holds(self) -> None:
        """Steps never end by themselves; an ending does with probability 0.4."""
        finishing, trials = 0.4, 500
        for endings in (1, 3):
            missed = 0
            for seed in range(trials):
                policy = BAVT(
                    model="m",
                    reward=CallableSteps(f"{__name__}:overrated"),
                    rounds=4,
                    endings=endings,
                )
                told = answered(
                    policy, operation(_Endless(finishing, seed)), Request.ask("?", seed=seed)
                )
                missed += told.samples[0].finish_reason == "length"
            bound = (1 - finishing) ** endings
            assert abs(missed / trials - bound) < 4 * math.sqrt(bound * (1 - bound) / trials)
        assert endings_for(finishing, (1 - finishing) ** 3) == 3
        assert endings_for(finishing, 0.2) == 4
        assert endings_for(0.99, 0.5) == 1

    def test_it_is_greedy_when_little_is_left(self) -> None:
        """Of two beginnings, the better is gone on from more often in the later rounds."""
        early = late = 0
        for seed in range(60):
            model = Scripted("m", lambda request: "ab"[seed_of(request) % 2])
            policy = BAVT(
                model="m", reward=CallableSteps(f"{__name__}:likes_a"), rounds=16, reserve=0.0,
                again=1.0, depth=2, expand=2,
            )  # fmt: skip
            answered(policy, operation(model), Request.ask("?", seed=seed))
            prefixes = [one.messages[-1].text for one in model.asked if len(one.messages) > 1]
            half = len(prefixes) // 2
            early += sum(text.startswith("b") for text in prefixes[:half])
            late += sum(text.startswith("b") for text in prefixes[half:])
        assert late < 0.75 * early


def overrated(prompt: str, text: str) -> float:
    return 0.95


def likes_a(prompt: str, text: str) -> float:
    return 0.8 if text.startswith("a") else 0.6


def seed_of(request: Request) -> int:
    return request.seed or 0


class _Endless(Scripted):
    """Its steps never end an answer; asked for the rest, it ends with some probability."""

    def __init__(self, finishing: float, seed: int) -> None:
        super().__init__("m", ["go on"])
        self.finishing, self.rng = finishing, np.random.default_rng(seed)

    async def complete(self, request: Request) -> Any:
        response = await super().complete(request)
        ends = "stop" in request.extra or self.rng.random() < self.finishing
        sample = replace(response.samples[0], finish_reason="stop" if ends else "length")
        return replace(response, samples=(sample,))


def test_what_counts_of_the_steps_scores() -> None:
    scores = [0.5, 1.0, 0.8]
    assert aggregated(scores, "last") == 0.8
    assert aggregated(scores, "least") == 0.5
    assert aggregated(scores, "product") == pytest.approx(0.4)
    assert aggregated(scores, "mean") == pytest.approx(2.3 / 3)
    assert aggregated([], "product") == 0.0
