"""Answers begun at once: the first to be finished decide, the others are cut off and booked."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator

import pytest
from ttc_worlds import RATES, Scripted, answered, chains, operation, tiny

from farthing.core.errors import ParamError
from farthing.core.money import Cost
from farthing.core.protocols import ModelCard
from farthing.core.request import Request
from farthing.core.response import Chunk
from farthing.core.usage import Usage
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


def test_what_the_tiny_models_do_not_finish_is_not_paid() -> None:
    """Token by token, so hot that lengths differ: the longer are cut off, booked as they stand."""
    tokens = {1: 0, 6: 0}
    cut = 0
    for request, _ in chains(20, steps=3):
        for finished in tokens:
            op = operation(tiny("small"))
            answered(Short("tiny-small", 6, finished, temperature=6.0), op, request)
            assert op.unknown_attempts == 0
            assert op.usage is not None
            tokens[finished] += op.usage.output_tokens
            cut += sum(attempt.status == "cancelled" for attempt in op.attempts)
    assert cut
    assert tokens[1] < 0.9 * tokens[6]


class Thinker:
    """Thinks a word at a time: of right answers (3 of 5) 5 to 14 words, of wrong 10 to 29."""

    def __init__(self) -> None:
        self.card = ModelCard("m", rates=RATES, context_window=50, on_disconnect="cancel")

    async def stream(self, request: Request) -> AsyncIterator[Chunk]:
        rng = random.Random(request.seed)
        right = rng.random() < 0.6
        words = rng.randrange(5, 15) if right else rng.randrange(10, 30)
        for count in range(1, words):
            yield Chunk("hm ", usage=Usage(10, output=count), usage_basis="exact")
            await asyncio.sleep(0)
        told = "1" if right else str(rng.randrange(2, 6))
        usage = Usage(10, output=words)
        yield Chunk(told, finish_reason="stop", usage=usage, usage_basis="exact")


def test_it_saves_where_wrong_answers_are_longer() -> None:
    """Beside a vote of all eight answers, which pays every word of theirs."""
    right = {1: 0, 3: 0, 8: 0}
    words = dict.fromkeys(right, 0)
    for number in range(200):
        for finished in right:
            op = operation(Thinker())
            told = answered(Short("m", 8, finished), op, Request.ask("?", seed=100 * number))
            right[finished] += told.samples[0].answer == "1"
            words[finished] += op.usage.output_tokens if op.usage else 0
    assert words[1] < 0.75 * words[8]
    assert words[3] < 0.9 * words[8]
    assert right[1] >= 0.95 * right[8]
    assert right[3] >= 0.95 * right[8]


def test_parameters() -> None:
    policy = Short("m", 4, 2, spending=Spending(tokens=9))
    assert from_params("short", policy.get_params()) == policy
    with pytest.raises(ParamError, match="finished must be 1 to 4"):
        from_params("short", {"model": "m", "samples": 4, "finished": 5})
