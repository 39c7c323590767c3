"""Votes: who wins, what is booked, and how early they stop."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from ttc_worlds import Scripted, answered, chains, operation, stopped, tiny

from farthing.core.errors import CapError, ParamError, UpstreamError
from farthing.core.money import Cost
from farthing.core.request import Request
from farthing.policies import from_params
from farthing.policies.registry import models_of
from farthing.policies.ttc.spending import Spending
from farthing.policies.ttc.stops import stop_rule
from farthing.policies.ttc.vote import SelfConsistency
from farthing.signals.vote import Vote


@pytest.mark.parametrize(
    ("texts", "stop", "answer", "share", "calls"),
    [
        (["1", "2", "2", "3", "2"], "none", "2", 3 / 5, 5),
        (["2", "2", "2", "1", "1"], "exact", "2", 1.0, 3),
        (["x", "x", "x", "x", "x"], "none", None, 0.0, 5),
        (["1", "2", "2", "1", "x"], "none", "1", 2 / 5, 5),
        (["1", "1", "2", "2", "2"], "window", "2", 3 / 5, 5),
    ],
)
def test_the_commonest_answer_stands(
    texts: list[str], stop: str, answer: str | None, share: float, calls: int
) -> None:
    op = operation(Scripted("m", texts))
    told = answered(from_params("vote", {"model": "m", "samples": 5, "stop": stop}), op)
    assert told.samples[0].answer == answer
    assert told.samples[0].columns["signal"] == pytest.approx(share)
    assert len(op.attempts) == calls
    assert {row.node for row in op.ledger.attempts} == {"vote"}


def test_samples_have_seeds_of_their_own_and_the_temperature() -> None:
    model = Scripted("m", ["1", "2", "3"])
    answered(SelfConsistency("m", 3, "none"), operation(model), Request.ask("?", seed=7))
    assert [one.seed for one in model.asked] == [7, 8, 9]
    assert {one.temperature for one in model.asked} == {1.0}


def test_weights_are_the_means_of_probabilities() -> None:
    model = Scripted("m", ["1", "2", "2"], logprobs=[-0.1, -2.0, -2.0])
    told = answered(SelfConsistency("m", 3, "none", weighted=True), operation(model))
    assert told.samples[0].answer == "1"
    unknown = Scripted("m", ["1", "2", "2"])
    told = answered(SelfConsistency("m", 3, "none", weighted=True), operation(unknown))
    assert told.samples[0].answer == "2"


def test_a_model_that_gives_several_is_called_once() -> None:
    (request, _), *_ = chains(1)
    op = operation(tiny("small"))
    answered(SelfConsistency("tiny-small", 8, "none"), op, request)
    (attempt,) = op.attempts
    assert attempt.request.n == 8


def test_the_cap_ends_it_with_the_best_so_far() -> None:
    op = operation(Scripted("m", ["1", "2", "2"], window=None), cap=Cost(400))
    told = answered(SelfConsistency("m", 9, "none"), op)
    assert (told.samples[0].answer, op.stopped, len(op.attempts)) == ("2", "cap", 3)
    op = operation(Scripted("m", ["1"]), cap=Cost(0))
    with pytest.raises(CapError):
        answered(SelfConsistency("m", 9), op)


def test_seconds_break_calls_off_and_keep_those_that_are_done() -> None:
    model = Scripted("m", ["1", "2", "3"], seconds=[0.0, 0.0, 30.0])
    op = operation(model)
    policy = SelfConsistency("m", 3, "none", spending=Spending(seconds=0.3))
    assert answered(policy, op).samples[0].answer == "1"
    assert [attempt.status for attempt in op.attempts] == ["ok", "ok", "cancelled"]
    assert op.stopped == "cap"


def test_a_sample_that_fails_is_asked_for_again_and_all_that_fail_raise() -> None:
    def text(request: Request) -> str:
        if request.seed == 1:
            raise UpstreamError("no", model="m", kind="status", status=500)
        return "1"

    op = operation(Scripted("m", text))
    assert answered(SelfConsistency("m", 2, "none"), op).samples[0].answer == "1"

    def none(request: Request) -> str:
        raise UpstreamError("no", model="m", kind="status", status=500)

    with pytest.raises(UpstreamError):
        answered(SelfConsistency("m", 2, "none"), operation(Scripted("m", none)))


def test_stopping_early_is_the_full_vote_within_a_point_at_under_half_its_samples() -> None:
    """The same 40 samples of each chain, voted in full and with each rule."""
    rows: list[tuple[list[str], str]] = []
    for steps in (2, 3, 4):
        for request, value in chains(200, steps):
            op = operation(tiny("mid"))
            one = replace(request, n=40, temperature=1.0)
            told = asyncio.run(op.call("tiny-mid", one, node="vote"))
            rows.append(([sample.answer or "" for sample in told.samples], value))
    full = sum(Vote(40, answers).winner == value for answers, value in rows) / len(rows)
    assert full > sum(answers[0] == value for answers, value in rows) / len(rows) + 0.05
    for kind, level in (("beta", 0.95), ("error", 0.05), ("window", 4)):
        rule = stop_rule(kind, level)  # type: ignore[arg-type]
        votes = [(stopped(rule, answers), value) for answers, value in rows]
        right = sum(vote.winner == value for vote, value in votes) / len(rows)
        assert abs(full - right) <= 0.01
        assert sum(vote.cast for vote, _ in votes) < 40 * len(rows) / 2


def test_its_parameters_come_back() -> None:
    policy = SelfConsistency("m", 5, "error", 0.1, spending=Spending(usd="0.001", tokens=5))
    again = from_params("vote", policy.get_params())
    assert again == policy
    assert models_of(again) == ("m",)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"samples": 0}, "samples must be at least 1"),
        ({"stop": "exact", "weighted": True}, "counts votes"),
        ({"spending": {"dollars": 1}}, "unknown key 'dollars'; known: usd, seconds, tokens"),
        ({"spending": {"usd": "x"}}, "usd 'x' is not an amount"),
        ({"spending": {"tokens": 0}}, "tokens must be above 0"),
        ({"spending": 3}, "spending is a table"),
    ],
)
def test_parameters_that_are_wrong(params: dict[str, object], message: str) -> None:
    with pytest.raises(ParamError, match=message):
        from_params("vote", {"model": "m", **params})


@pytest.mark.parametrize("kind", ["vote", "short"])
def test_the_clients_temperature_has_a_name_in_tables(kind: str) -> None:
    """What is None is left out of a plan file, where leaving it out means 1."""
    policy = from_params(kind, {"model": "m", "temperature": "client"})
    assert policy.temperature is None  # type: ignore[attr-defined]
    assert policy.get_params()["temperature"] == "client"
    assert from_params(kind, policy.get_params()) == policy


def test_effort_is_asked_for_with_each_sample() -> None:
    model = Scripted("m", ["1", "2", "1"])
    params = {"model": "m", "samples": 3, "stop": "none", "effort": {"effort": 1.0}}
    policy = from_params("vote", params)
    answered(policy, operation(model))
    assert {one.extra["reasoning_effort"] for one in model.asked} == {"high"}
    assert from_params("vote", policy.get_params()) == policy
    for wrong, message in (({"by": "forced"}, "two calls"), ({"model": "x"}, "but the vote is")):
        with pytest.raises(ParamError, match=message):
            from_params("vote", {**params, "effort": wrong})
