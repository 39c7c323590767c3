"""Recorded answers streamed side by side: the shortest ends first, the others are cut off there."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from time import perf_counter
from typing import Any

import pyarrow as pa
import pytest

from farthing.budgets import Operation
from farthing.core.money import Cost
from farthing.core.request import Request
from farthing.core.response import Chunk, Response
from farthing.cost import PriceBook
from farthing.ledger import MemoryLedger
from farthing.models.draw import Draw, draw
from farthing.models.pacing import Pace
from farthing.models.recorded import RecordedModel
from farthing.models.recording import from_table
from farthing.policies.ttc.short import Short
from farthing.policies.ttc.vote import SelfConsistency

PROMPT, OUT = 3_000, 7_000  # picodollars a token


def made(lengths: Sequence[int | None], *, priced: bool = True, questions: int = 3) -> Draw:
    """The same lengths for each question, in the draw's order; answers are their places."""
    rows = []
    for question in range(questions):
        for place, length in enumerate(lengths):
            cost = PROMPT * 50 + OUT * (length or 0) + (0 if priced else 10**9 * (place + 1) ** 2)
            rows.append({
                "question": f"q{question}", "model": "m", "sample": place, "answer": f"a{place}",
                "text": f"I say {place}", "correct": float(place == 0), "input_tokens": 50,
                "output_tokens": length, "cost_usd": cost / 1e12,
            })  # fmt: skip
    table = pa.Table.from_pylist(rows)
    at = table.column_names.index("output_tokens")
    table = table.set_column(at, "output_tokens", table["output_tokens"].cast(pa.int64()))
    drawn = draw(from_table(table, "made"), ["m"], len(lengths), 0)
    order = drawn.rows[0].copy()
    order.sort(axis=1)  # as written, so that tests know which comes when
    answers, cost = (
        drawn.recording.floats("sample")[order].astype(int),
        drawn.recording.floats("cost_usd")[order] * 1e12,
    )
    return Draw(
        drawn.recording, ("m",), drawn.samples, (order,), (answers,),
        (cost.round().astype(int),), 0,
    )  # fmt: skip


def run(policy: Any, drawn: Draw, **told: Any) -> tuple[Response, Operation]:
    """What a policy answers question q1, once all is booked."""
    operation = Operation({"m": RecordedModel(drawn, "m")}, prices=PriceBook(), **told)

    async def answer() -> Response:
        response: Response = await policy.answer(Request.ask("?", question="q1"), operation)
        await operation.idle()
        return response

    return asyncio.run(answer()), operation


@pytest.mark.parametrize("ledger", [False, True])
def test_the_shortest_stands_and_the_others_cost_what_they_came_to(ledger: bool) -> None:
    drawn = made([400, 90, 250, 100])
    kept = {"ledger": MemoryLedger()} if ledger else {}
    begun = perf_counter()
    told, op = run(Short("m", 4, 1), drawn, **kept)
    assert perf_counter() - begun < 5  # no real time passes
    assert (told.samples[0].answer, told.samples[0].correct) == ("a1", 0.0)
    assert [one.status for one in op.attempts] == ["cancelled", "ok", "cancelled", "cancelled"]
    assert op.usage is not None
    assert (op.usage.output_tokens, op.usage.input) == (4 * 90, 4 * 50)
    assert op.spent == Cost(4 * (50 * PROMPT + 90 * OUT))
    told, op = run(Short("m", 4, 2), drawn, **kept)
    assert {one.response.samples[0].answer for one in op.attempts if one.status == "ok"} == {  # type: ignore[union-attr]
        "a1", "a3",
    }  # fmt: skip
    assert op.spent == Cost(4 * 50 * PROMPT + (90 + 3 * 100) * OUT)


def test_a_stream_that_is_read_to_its_end_is_the_answer_itself() -> None:
    drawn = made([70, 20])

    async def streamed(n: int) -> tuple[list[Chunk], Response]:
        asked = Request.ask("?", question="q0", n=n)
        chunks = [chunk async for chunk in RecordedModel(drawn, "m").stream(asked)]
        return chunks, await RecordedModel(drawn, "m").complete(asked)

    for n in (1, 2):
        chunks, whole = asyncio.run(streamed(n))
        assert chunks[-1].usage == whole.usage
        assert chunks[-1].cost == whole.cost
        ends = {chunk.index: chunk.sample for chunk in chunks if chunk.finish_reason}
        assert tuple(ends[index] for index in range(n)) == whole.samples
    assert [chunk.index for chunk in chunks if chunk.finish_reason] == [1, 0]


def test_where_prompts_have_no_price_what_is_left_is_read_to_its_end() -> None:
    drawn = made([400, 90], priced=False)
    told, op = run(Short("m", 2, 1), drawn, ledger=MemoryLedger())
    assert told.samples[0].answer == "a1"
    assert op.spent.pico == int(drawn.cost[0][1].sum())
    assert op.usage is not None
    assert op.usage.output_tokens == 490
    vote, _ = run(
        SelfConsistency("m", 2, "none"), drawn
    )  # no call for both, whose price is unknown
    assert vote.samples[0].columns["signal"] == 0.5


def test_lengths_that_are_not_told_take_no_time() -> None:
    told, op = run(Short("m", 2, 1), made([None, None], priced=False))
    assert told.samples[0].answer == "a0"
    assert op.unknown_attempts == 0


def test_an_answer_without_tokens_leaves_the_others_their_prompts() -> None:
    _, op = run(Short("m", 3, 1), made([400, 0, 90]))
    assert op.spent == Cost(3 * 50 * PROMPT)
    assert op.unknown_attempts == 0
    assert op.usage is not None
    assert op.usage.output_tokens == 0


def test_under_a_cap_as_many_begin_as_surely_fit() -> None:
    drawn = made([400, 90, 250, 100])
    dearest = 50 * PROMPT + 400 * OUT
    _, op = run(Short("m", 4, 1), drawn, cap=Cost(2 * dearest))
    assert len(op.attempts) == 2
    _, op = run(Short("m", 4, 1), drawn, cap=Cost(9 * dearest))
    assert len(op.attempts) == 4


def test_a_clock_that_was_left_goes_on() -> None:
    pace = Pace()

    async def leave() -> None:
        task = asyncio.create_task(pace.moment(5))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    async def two() -> list[int]:
        return await asyncio.gather(pace.moment(7), pace.moment(9))

    asyncio.run(leave())
    assert asyncio.run(two()) == [7, 7]
    assert asyncio.run(two()) == [7, 7]
