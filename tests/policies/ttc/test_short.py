"""Answers begun at once: the first to be finished decide, the others are cut off and booked."""

from __future__ import annotations

from dataclasses import replace

import pytest
from ttc_worlds import Scripted, answered, chains, operation, tiny

from farthing.core.errors import ParamError
from farthing.core.money import Cost
from farthing.policies import from_params
from farthing.policies.ttc.short import Short
from farthing.policies.ttc.spending import Spending


def test_the_first_to_be_finished_decide_and_the_others_are_cut_off() -> None:
    model = Scripted("m", ["1", "2", "3"], seconds=[30.0, 0.02, 0.04])
    op = operation(model)
    told = answered(Short("m", 3, 1), op)
    assert told.samples[0].answer == "2"
    assert [row.status for row in sorted(op.ledger.attempts, key=lambda row: row.number)] == [
        "cancelled", "ok", "cancelled",
    ]  # fmt: skip
    assert op.spent == Cost(10 * 10 + 40)
    assert {attempt.request.seed for attempt in op.attempts} == {0, 1, 2}


def test_m_of_them_vote_and_ties_go_to_the_shortest() -> None:
    op = operation(Scripted("m", ["1", "2", "2", "9"], seconds=[0.0, 0.02, 0.04, 30.0]))
    told = answered(Short("m", 4, 3), op)
    assert (told.samples[0].answer, told.samples[0].columns["signal"]) == ("2", 2 / 3)
    op = operation(Scripted("m", ["1", "2", "9"], seconds=[0.02, 0.0, 30.0]))
    assert answered(Short("m", 3, 2), op).samples[0].answer == "2"


def test_seconds_end_it_with_those_that_are_finished() -> None:
    op = operation(Scripted("m", ["1", "2"], seconds=[0.0, 30.0]))
    told = answered(Short("m", 2, 2, spending=Spending(seconds=0.2)), op)
    assert (told.samples[0].answer, op.stopped) == ("1", "cap")


def test_dollars_begin_only_as_many_as_fit() -> None:
    op = operation(Scripted("m", ["1"]))
    answered(Short("m", 8, spending=Spending(usd="0.00000001")), op)  # see test_spending: 3
    assert len(op.attempts) == 3


def test_the_tiny_models_stream_side_by_side() -> None:
    """The answer cut short by its limit of tokens is as long as any: the first to end is voted."""
    ((request, value),) = chains(1, steps=1)
    op = operation(tiny("large"))
    told = answered(Short("tiny-large", 4, 2, temperature=None), op, replace(request, seed=3))
    assert told.samples[0].answer == value
    assert told.samples[0].mean_logprob is not None
    assert len(op.attempts) == 4


def test_parameters() -> None:
    policy = Short("m", 4, 2, spending=Spending(tokens=9))
    assert from_params("short", policy.get_params()) == policy
    with pytest.raises(ParamError, match="finished must be 1 to 4"):
        from_params("short", {"model": "m", "samples": 4, "finished": 5})
