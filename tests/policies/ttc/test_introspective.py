"""Policies that a model's judgement of its own samples guides: exact on scripted models."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from itertools import chain, combinations
from typing import Any

import numpy as np
import pytest
from ttc_worlds import Scripted, answered, chains, operation, tiny

from farthing.core.errors import ParamError, RequestError
from farthing.core.money import Cost, Rates
from farthing.core.protocols import ModelCard
from farthing.core.request import Request
from farthing.core.response import Chunk, Response, Sample
from farthing.core.usage import Usage
from farthing.policies import from_params
from farthing.policies.ttc.self_evaluated import SelfEvaluated
from farthing.policies.ttc.spending import Spending
from farthing.policies.ttc.vote import SelfConsistency
from farthing.policies.ttc.zip_rc import Option, ZipRC, longest
from farthing.signals.introspection import Introspection, introspections

Said = tuple[str, bool, float, float, int]
"""What a call gives: text, whether it ends, `enough`, chance of being right, tokens to come."""


class Foreseeing:
    """Gives what it is told to, call after call, a token a word."""

    def __init__(self, said: Sequence[Said]) -> None:
        self.card = ModelCard(
            "seer", rates=Rates(10, 40), context_window=100,
            shows=frozenset({"text", "heads"}), n=True, on_disconnect="cancel",
        )  # fmt: skip
        self.said = list(said)
        self.asked: list[Request] = []

    async def complete(self, request: Request) -> Response:
        assert request.extra["heads"] is True
        self.asked.append(request)
        samples = [self._sample() for _ in range(request.n)]
        tokens = sum(sample.output_tokens or 0 for sample in samples)
        usage = Usage(input=10, output=tokens)
        return Response("seer", tuple(samples), usage=usage, usage_basis="exact")

    def _sample(self) -> Sample:
        text, ends, enough, likely, left = self.said.pop(0)
        row = [float(place == left) for place in range(4)]
        joint = [[(1 - likely) * one for one in row], [likely * one for one in row]]
        return Sample(
            text,
            finish_reason="stop" if ends else "length",
            output_tokens=len(text.split()),
            fields={"heads": [{"enough": enough, "joint": joint}]},
        )

    async def stream(self, request: Request) -> AsyncIterator[Chunk]:
        raise AssertionError
        yield


def run(policy: Any, said: Sequence[Said], cap: Cost | None = None) -> tuple[Response, Foreseeing]:
    model = Foreseeing(said)
    return answered(policy, operation(model, cap=cap)), model


def prefixes(model: Foreseeing) -> list[str]:
    """What each call went on from; empty for a new sample."""
    return [
        request.messages[-1].text if request.messages[-1].role == "assistant" else ""
        for request in model.asked
    ]


class TestSelfEvaluation:
    def test_stops_at_the_first_that_is_good_enough(self) -> None:
        policy = SelfEvaluated(model="seer", samples=4, accept=0.8)
        said = [("1", True, 0.5, 0.1, 0), ("2", True, 0.7, 0.3, 0), ("3", True, 0.8, 0.3, 0)]
        told, model = run(policy, said)
        assert (told.text, told.samples[0].columns["signal"]) == ("3", 0.8)
        assert [request.temperature for request in model.asked] == [0.0, 0.5, 0.75]
        assert not model.said

    def test_picks_the_best_where_none_is(self) -> None:
        policy = SelfEvaluated(model="seer", samples=3, accept=0.9, anneal=False)
        said = [("1", True, 0.5, 0.1, 0), ("2", True, 0.7, 0.3, 0), ("3", True, 0.6, 0.9, 0)]
        told, model = run(policy, said)
        assert told.text == "2"
        assert [request.temperature for request in model.asked] == [1.0, 1.0, 1.0]

    def test_drops_what_is_likely_to_be_bettered(self) -> None:
        policy = SelfEvaluated(
            model="seer", samples=3, accept=0.9, prune=0.5, look=1, width=3, anneal=False
        )
        said = [
            ("a", False, 0.4, 0.1, 1), ("b", False, 0.5, 0.1, 1), ("c", False, 0.9, 0.1, 1),
            (" 1", True, 0.7, 0.1, 0), (" 2", True, 0.6, 0.1, 0),
        ]  # fmt: skip
        told, model = run(policy, said)
        assert told.text == "b 1"
        assert prefixes(model) == ["", "b", "c"]
        assert [request.max_tokens for request in model.asked] == [1, None, None]

    def test_the_best_of_the_first_is_never_dropped(self) -> None:
        policy = SelfEvaluated(model="seer", samples=4, prune=0.5, look=1, width=2, anneal=False)
        said = [
            ("a", False, 0.2, 0, 1), ("b", False, 0.4, 0, 1), (" 7", True, 0.3, 0.1, 0),
            ("c", False, 0.45, 0, 1), ("d", False, 0.45, 0, 1),
        ]  # fmt: skip
        told, model = run(policy, said)
        assert told.text == "b 7"
        assert prefixes(model) == ["", "b", ""]

    @pytest.mark.parametrize("params", [{"prune": 2}, {"look": 0}, {"width": 0}, {"samples": 0}])
    def test_refuses_what_makes_no_sense(self, params: dict[str, Any]) -> None:
        with pytest.raises(ParamError):
            from_params("self-evaluation", {"model": "m", **params})


class TestZipRC:
    def test_goes_on_with_the_promising_and_leaves_the_others(self) -> None:
        policy = ZipRC(model="seer", greedy=False, samples=2, value_usd="0.00000001")
        said = [
            ("a", False, 0, 0.01, 2), ("b", False, 0, 0.9, 1), (" 3", True, 0, 0.99, 0),
        ]  # fmt: skip
        told, model = run(policy, said)
        assert (told.text, told.samples[0].columns["signal"]) == ("b 3", pytest.approx(0.99))
        assert prefixes(model) == ["", "b"]
        assert not model.said

    def test_begins_anew_where_that_is_worth_it(self) -> None:
        policy = ZipRC(model="seer", greedy=False, samples=3, value_usd="0.001")
        said = [
            ("a", False, 0, 0.5, 1), ("b", False, 0, 0.5, 1),
            (" 1", True, 0, 0.2, 0), (" 2", True, 0, 0.1, 0), ("c", False, 0, 0.5, 1),
            (" 3", True, 0, 0.9, 0),
        ]  # fmt: skip
        told, model = run(policy, said)
        assert told.text == "c 3"
        assert prefixes(model) == ["", "a", "b", "", "c"]

    def test_a_right_answer_of_little_worth_gets_one_sample(self) -> None:
        policy = ZipRC(model="seer", greedy=False, samples=8, value_usd="0.000000000001")
        said = [("a", False, 0, 0.5, 1), ("b", False, 0, 0.6, 1), (" 1", True, 0, 0.2, 0)]
        told, model = run(policy, said)
        assert told.text == "b 1"
        assert not model.said

    def test_what_is_left_may_be_gone_on_with_later(self) -> None:
        policy = ZipRC(model="seer", greedy=False, samples=2, value_usd="0.000005", discern=0.0)
        said = [
            ("a", False, 0, 0.5, 2), ("b", False, 0, 0.6, 2), (" x", False, 0, 0.3, 1),
            (" 7", True, 0, 0.9, 0),
        ]  # fmt: skip
        told, model = run(policy, said)
        assert told.text == "a 7"
        assert prefixes(model) == ["", "b", "a"]

    def test_the_first_is_greedy_unless_told(self) -> None:
        said = [("a", False, 0, 0.9, 1), ("b", False, 0, 0.1, 1), (" 7", True, 0, 0.9, 0)]
        told, model = run(ZipRC(model="seer", samples=2, value_usd="0.000000000001"), said)
        assert told.text == "a 7"
        assert [request.temperature for request in model.asked] == [0.0, 1.0, 0.0]

    def test_the_spending_is_the_worth_unless_told(self) -> None:
        said = [("a", False, 0, 0.5, 1), ("b", False, 0, 0.6, 1), (" 1", True, 0, 0.2, 0)]
        run(
            ZipRC(model="seer", greedy=False, samples=2, spending=Spending(usd="0.00001")), said * 3
        )
        run(ZipRC(model="seer", greedy=False, samples=2), said * 3, cap=Cost(10**7))
        with pytest.raises(RequestError, match="tell value_usd"):
            run(ZipRC(model="seer"), said)

    @pytest.mark.parametrize("discern", [1.0, 0.4])
    def test_choice_is_the_best_set_where_samples_are_alike_in_cost(self, discern: float) -> None:
        rng = np.random.default_rng(0)
        policy = ZipRC(model="m", discern=discern)
        for _ in range(200):
            options = [Option(None, float(chance), 40.0, (0.0, 1.0)) for chance in rng.random(5)]
            done = None if rng.random() < 0.3 else float(rng.random())
            worth = int(rng.integers(20, 2000))
            sets = chain.from_iterable(
                combinations(options, size) for size in range(done is None, len(options) + 1)
            )
            best = max(policy.utility(one, worth, done) for one in sets)
            chosen = policy.choose(options, worth, done)
            assert policy.utility(chosen, worth, done) == pytest.approx(best)

    def test_utility_by_hand(self) -> None:
        options = [Option(None, 0.5, 100.0, (0.0, 0.5, 0.5)), Option(None, 0.2, 50.0, (0.0, 1.0))]
        policy = ZipRC(model="m", delay_usd="0.00000000001", discern=0.5)
        reward = 0.5 * (1 - 0.5 * 0.8 * 0.9) + 0.5 * 0.5
        assert policy.utility(options, 1000, 0.1) == pytest.approx(1000 * reward - 150 - 10 * 1.5)

    def test_longest_is_the_mean_of_the_greatest(self) -> None:
        rng = np.random.default_rng(1)
        lengths = [tuple(rng.dirichlet(np.ones(6))) for _ in range(3)]
        drawn = [rng.choice(6, size=200_000, p=one) for one in lengths]
        assert longest(lengths) == pytest.approx(np.max(drawn, axis=0).mean(), abs=0.01)
        assert longest([]) == 0

    @pytest.mark.parametrize(
        "params",
        [{"discern": 1.5}, {"tokens": 0}, {"start": 0}, {"value_usd": "0"}, {"value_usd": "much"},
         {"delay_usd": "-1"}, {"reserve": 1}, {"temperature": -1}],
    )  # fmt: skip
    def test_refuses_what_makes_no_sense(self, params: dict[str, Any]) -> None:
        with pytest.raises(ParamError):
            from_params("zip-rc", {"model": "m", **params})


POLICIES = [
    SelfEvaluated(model="tiny-small"),
    SelfEvaluated(model="tiny-small", samples=16, width=4, prune=0.8, look=1, accept=2.0),
    ZipRC(model="tiny-small", value_usd="0.00001"),
    ZipRC(model="tiny-small", value_usd="0.00001", tokens=2, temperature=0.5, start=4),
]


@pytest.mark.parametrize("policy", POLICIES)
class TestBoth:
    def test_parameters_make_the_same_policy(self, policy: Any) -> None:
        assert from_params(policy.kind, policy.get_params()) == policy
        assert policy.asks == ("tiny-small",)

    def test_needs_a_model_that_judges_itself(self, policy: Any) -> None:
        with pytest.raises(RequestError, match="does not judge"):
            answered(policy, operation(Scripted("tiny-small", ["7"])))

    def test_a_seed_fixes_the_answer(self, policy: Any) -> None:
        request, _ = chains(1, steps=5)[0]
        texts = {answered(policy, operation(tiny("small")), request).text for _ in range(3)}
        assert len(texts) == 1

    @pytest.mark.parametrize("tokens", [1, 5, 12])
    def test_tokens_are_exceeded_by_no_more_than_a_sample(self, policy: Any, tokens: int) -> None:
        for request, _ in chains(12, steps=6, seed=3):
            op = operation(tiny("small"))
            told = answered(replace(policy, spending=Spending(tokens=tokens)), op, request)
            assert told.text
            assert op.usage is not None
            assert op.usage.output_tokens <= tokens + 8

    @pytest.mark.parametrize("pico", [60_000, 200_000, 600_000])
    def test_a_cap_is_exceeded_by_no_more_than_a_call(self, policy: Any, pico: int) -> None:
        for request, _ in chains(12, steps=6, seed=4):
            op = operation(tiny("small"), cap=Cost(pico))
            answered(policy, op, request)
            dearest = max(one.cost.pico for one in op.attempts if one.cost is not None)
            assert op.spent.pico <= pico + dearest


def solved(policy: Any, tried: list[tuple[Request, str]]) -> tuple[float, int]:
    """The share solved, and picodollars in all."""

    async def work() -> tuple[int, int]:
        right = pico = 0
        for request, value in tried:
            op = operation(tiny("large"))
            response = await policy.answer(request, op)
            right += response.samples[0].answer == value
            pico += op.spent.pico
        return right, pico

    right, pico = asyncio.run(work())
    return right / len(tried), pico


@pytest.mark.parametrize(
    "policy",
    [
        SelfEvaluated(model="tiny-large", anneal=False),
        ZipRC(model="tiny-large", value_usd="0.00003", greedy=False),
    ],
    ids=lambda policy: policy.kind,
)
def test_more_right_answers_than_a_vote_for_less(policy: Any) -> None:
    """At the same temperature, which a greedy answer would beat."""
    tried = chains(200, steps=5, seed=11)
    share, pico = solved(policy, tried)
    voted, paid = solved(SelfConsistency("tiny-large", samples=4, stop="none"), tried)
    assert share > voted + 0.05
    assert pico < paid


def test_reads_what_a_model_says() -> None:
    told = {"enough": 0.5, "joint": [[0.1, 0.2], [0.3, 0.4]]}
    says = introspections(Sample("1", fields={"heads": [told]}))
    assert says == (Introspection(0.5, (0.1, 0.2), (0.3, 0.4)),)
    assert says[0].likely == pytest.approx(0.7)
    assert says[0].remaining == pytest.approx(0.6)
    for wrong in ([{}], [{"enough": 1, "joint": [[1], []]}], 7):
        with pytest.raises(RequestError, match="not of its form"):
            introspections(Sample("1", fields={"heads": wrong}))
