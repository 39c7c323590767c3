"""Process rewards: exact, erring, learnt, and by others."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from scipy.stats import mannwhitneyu

from farthing.budgets.operation import Operation
from farthing.core.money import Rates
from farthing.core.protocols import ModelCard
from farthing.core.request import Request
from farthing.core.response import Response, Sample
from farthing.core.usage import Usage
from farthing.cost.prices import PriceBook
from farthing.models import tiny
from farthing.signals.steps import (
    CallableSteps,
    ExactSteps,
    LearntSteps,
    ModelSteps,
    NoisySteps,
    reward_from_params,
)

CHAIN = "3+4*2-5"  # 7 4 9


def workings(size: str, count: int, seed: int = 99) -> list[tuple[str, str]]:
    rng, model = np.random.default_rng(seed), tiny.load(size)
    chains = [tiny.problem(rng, int(rng.integers(1, 7))) for _ in range(count)]
    return [(chain, model.sample(chain, seed=at)) for at, chain in enumerate(chains)]


def length_share(prompt: str, text: str) -> float:
    return len(text) / 100


def too_much(prompt: str, text: str) -> list[float]:
    return [0.5, 1.5]


class TestExact:
    @pytest.mark.parametrize(
        ("text", "scores"),
        [
            ("", []),
            ("7", [1]),
            ("7 5", [1, 0]),
            ("7 5 9", [1, 0, 1]),
            ("7 4 9 9", [1, 1, 1, 0]),
            (" 7 4", [1, 1]),
        ],
    )
    def test_each_value_is_checked(self, text: str, scores: list[float]) -> None:
        assert ExactSteps().score(CHAIN, text) == scores

    def test_missing_steps_of_a_finished_answer_are_wrong(self) -> None:
        assert ExactSteps().score(CHAIN, "7 4", finished=True) == [1, 1, 0]
        assert ExactSteps().score(CHAIN, "7 4 9", finished=True) == [1, 1, 1]

    def test_agrees_with_the_models_check(self) -> None:
        for chain, text in workings("small", 300):
            scores = ExactSteps().score(chain, text, finished=True)
            assert (scores[-1] == 1) == (
                tiny.check(chain, text).correct and len(text.split()) == len(tiny.solve(chain))
            )


class TestNoisy:
    def test_errs_as_often_as_it_says(self) -> None:
        pairs = workings("small", 2000)
        noisy, exact = NoisySteps(0.2, seed=3), ExactSteps()
        flipped = [
            (one > 0.5) != (other > 0.5)
            for chain, text in pairs
            for one, other in zip(noisy.score(chain, text), exact.score(chain, text), strict=True)
        ]
        assert np.mean(flipped) == pytest.approx(0.2, abs=4 * (0.16 / len(flipped)) ** 0.5)

    def test_a_step_always_looks_the_same(self) -> None:
        noisy = NoisySteps(0.4)
        whole = noisy.score(CHAIN, "7 4 9")
        assert noisy.score(CHAIN, "7 4") == whole[:2]
        assert {tuple(NoisySteps(0.4, seed).score(CHAIN, "7 4 9")) for seed in range(20)} != {
            tuple(whole)
        }

    def test_no_errors_is_exact(self) -> None:
        assert NoisySteps(0.0).score(CHAIN, "7 5 9") == ExactSteps().score(CHAIN, "7 5 9")

    def test_rate_is_checked(self) -> None:
        with pytest.raises(ValueError, match="rate must be 0 to"):
            NoisySteps(0.6)


class TestLearnt:
    @pytest.mark.parametrize("size", ["small", "mid"])
    def test_separates_right_from_wrong_steps(self, size: str) -> None:
        learnt, exact = LearntSteps(f"tiny-{size}", problems=300), ExactSteps()
        said: dict[bool, list[float]] = {True: [], False: []}
        for chain, text in workings(size, 500):
            scores = zip(learnt.score(chain, text), exact.score(chain, text), strict=True)
            for score, right in scores:
                assert 0 <= score <= 1
                said[right == 1].append(score)
        area = mannwhitneyu(said[True], said[False]).statistic / len(said[True]) / len(said[False])
        assert 0.75 < area < 1

    def test_is_about_as_sure_as_it_is_right(self) -> None:
        learnt, exact = LearntSteps(problems=300), ExactSteps()
        pairs = workings("small", 500)
        told = [s for chain, text in pairs for s in learnt.score(chain, text)]
        right = [s for chain, text in pairs for s in exact.score(chain, text)]
        assert np.mean(told) == pytest.approx(np.mean(right), abs=0.05)

    def test_a_prefix_keeps_its_scores(self) -> None:
        learnt = LearntSteps(problems=50)
        whole = learnt.score(CHAIN, "7 4 9")
        assert learnt.score(CHAIN, "7 4") == pytest.approx(whole[:2], abs=1e-4)
        assert learnt.score(CHAIN, "7 4", finished=True)[2:] == [0]
        assert learnt.score(CHAIN, "") == []

    def test_fit_repeats(self) -> None:
        one, other = (LearntSteps(problems=60, seed=seed) for seed in (0, 1))
        assert one.score(CHAIN, "7") == LearntSteps(problems=60).score(CHAIN, "7")
        assert one.score(CHAIN, "7") != other.score(CHAIN, "7")

    def test_only_tiny_models(self) -> None:
        with pytest.raises(ValueError, match="must be a tiny one"):
            LearntSteps("gpt")


class TestCallable:
    def test_calls_the_function(self) -> None:
        assert CallableSteps(f"{__name__}:length_share").score("q", "x" * 30) == [0.3]

    @pytest.mark.parametrize(
        ("place", "told"),
        [
            ("nowhere", "not of the form"),
            ("no_such_module:x", "cannot be imported"),
            (f"{__name__}:missing", "cannot be imported"),
            (f"{__name__}:CHAIN", "is no function"),
        ],
    )
    def test_what_is_no_function_is_told(self, place: str, told: str) -> None:
        with pytest.raises(ValueError, match=told):
            CallableSteps(place)

    def test_scores_outside_are_refused(self) -> None:
        with pytest.raises(ValueError, match=r"returned 1\.5"):
            CallableSteps(f"{__name__}:too_much").score("q", "x")


class Grader:
    card = ModelCard("grader", rates=Rates(10, 20))

    def __init__(self, says: str) -> None:
        self.says = says
        self.asked = ""

    async def complete(self, request: Request) -> Response:
        self.asked = request.prompt
        return Response("grader", (Sample(self.says),), Usage(5, output=1), "exact")

    def stream(self, request: Request) -> Any:
        raise NotImplementedError


class TestModel:
    @pytest.mark.parametrize(("says", "score"), [("8", 0.8), ("10", 1.0), ("none", 0.25)])
    async def test_the_grade_is_booked(self, says: str, score: float) -> None:
        grader = Grader(says)
        operation = Operation({"grader": grader}, prices=PriceBook())
        reward = ModelSteps("grader", unread=0.25)
        got = await reward.judge(Request.ask("What is 3+4?"), "7", operation, "beam")
        assert got == [score]
        assert "What is 3+4?" in grader.asked
        assert "\n7\n" in grader.asked
        (attempt,) = operation.attempts
        assert (attempt.kind, attempt.node) == ("judge", "beam/reward")
        assert operation.spent.pico == 70


@pytest.mark.parametrize(
    "reward",
    [
        ExactSteps(),
        NoisySteps(0.1, 4),
        LearntSteps("tiny-mid", 10, 2),
        CallableSteps(f"{__name__}:length_share"),
        ModelSteps("grader"),
    ],
)
def test_params_are_enough(reward: Any) -> None:
    table = json.loads(json.dumps({"kind": reward.kind, **reward.get_params()}))
    assert reward_from_params(table) == reward


@pytest.mark.parametrize(
    ("table", "told"),
    [
        ({"kind": "best"}, "no reward is called 'best'; known: exact"),
        ({}, "no reward is called None"),
        ({"kind": "noisy", "share": 1}, "reward 'noisy' cannot be built"),
    ],
)
def test_unknown_rewards_are_told(table: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        reward_from_params(table)
