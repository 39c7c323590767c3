"""Fallbacks: who is asked when, and what is booked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from farthing.budgets import Operation
from farthing.core.errors import CapError, PlanError, RequestError, UpstreamError
from farthing.core.money import Cost
from farthing.core.protocols import ModelCard
from farthing.core.request import Request
from farthing.core.response import Chunk, Response, Sample
from farthing.cost import PriceBook
from farthing.ledger import MemoryLedger
from farthing.plan.file import Plan, dumps, load_plan
from farthing.policies import Cascade, Fallback, Single, Stage, from_params
from farthing.policies.registry import models_of, policies_in


class Fake:
    """Answers with its name, or fails; in a stream after `pieces` pieces."""

    def __init__(self, name: str, error: Exception | None = None, pieces: int = 0) -> None:
        self.card, self.error, self.pieces = ModelCard(name), error, pieces

    async def complete(self, request: Request) -> Response:
        if self.error is not None:
            raise self.error
        return Response(self.card.name, (Sample(self.card.name, "a", True),), cost=Cost(10))

    async def stream(self, request: Request) -> AsyncIterator[Chunk]:
        for _ in range(self.pieces):
            yield Chunk(self.card.name)
        if self.error is not None:
            raise self.error
        yield Chunk(self.card.name, finish_reason="stop")


def failure(kind: str = "status", status: int | None = 500) -> UpstreamError:
    return UpstreamError("no", model="m", kind=kind, status=status if kind == "status" else None)


def run(policy: Any, *models: Fake, **fields: Any) -> tuple[Any, MemoryLedger, Operation]:
    ledger = MemoryLedger()

    async def answer() -> Any:
        nonlocal operation
        book = PriceBook()
        operation = Operation({m.card.name: m for m in models}, prices=book, ledger=ledger)
        operation.cap = fields.get("cap")
        operation.live = fields.get("live")
        try:
            return await policy.answer(Request.ask("?"), operation)
        except (UpstreamError, RequestError, CapError) as error:
            return error

    operation: Any = None
    return asyncio.run(answer()), ledger, operation


def booked(ledger: MemoryLedger) -> list[tuple[str, str, str, str]]:
    return [(row.model, row.node, row.kind, row.status) for row in ledger.attempts]


def test_the_first_answers_if_it_can() -> None:
    answer, ledger, _ = run(Fallback(("a", "b")), Fake("a"), Fake("b"))
    assert answer.text == "a"
    assert booked(ledger) == [("a", "fallback/0", "sample", "ok")]


@pytest.mark.parametrize(
    "error", [failure(), failure("unreachable"), failure("cut"), failure(status=401)]
)
def test_the_next_answers_where_one_fails(error: UpstreamError) -> None:
    policy = Fallback(("a", "b", "c"))
    answer, ledger, op = run(policy, Fake("a", error), Fake("b", error), Fake("c"))
    assert answer.text == "c"
    assert booked(ledger) == [
        ("a", "fallback/0", "sample", "failed"),
        ("b", "fallback/1", "fallback", "failed"),
        ("c", "fallback/2", "fallback", "ok"),
    ]
    assert op.spent == Cost(10)


@pytest.mark.parametrize(
    "error", [failure(status=400), failure(status=422), RequestError("no"), failure("timeout")]
)
def test_what_is_not_passed_on(error: Exception) -> None:
    answer, ledger, _ = run(Fallback(("a", "b")), Fake("a", error), Fake("b"))
    assert answer is error
    assert len(ledger.attempts) == 1


def test_time_outs_are_passed_on_if_that_is_asked_for() -> None:
    policy = Fallback(("a", "b"), on_timeout=True)
    answer, _, _ = run(policy, Fake("a", failure("timeout")), Fake("b"))
    assert answer.text == "b"


def test_if_all_fail_the_last_says_why() -> None:
    last = failure(status=503)
    answer, ledger, _ = run(Fallback(("a", "b")), Fake("a", failure()), Fake("b", last))
    assert answer is last
    assert len(ledger.attempts) == 2


def test_the_cap_stops_it() -> None:
    answer, ledger, _ = run(Fallback(("a", "b")), Fake("a"), Fake("b"), cap=Cost(0))
    assert isinstance(answer, CapError)
    assert not ledger.attempts


def test_policies_fall_back_too() -> None:
    cascade = Cascade((Stage("a", 2, 1.0), Stage("b")))
    policy = Fallback((cascade, Single("c")))
    answer, ledger, _ = run(policy, Fake("a", failure()), Fake("b"), Fake("c"))
    assert answer.text == "c"
    assert booked(ledger)[-1] == ("c", "fallback/1/single", "fallback", "ok")
    assert {row.node for row in ledger.attempts[:-1]} == {"fallback/0/cascade/0"}
    assert {row.kind for row in ledger.attempts[:-1]} == {"sample"}


@pytest.mark.parametrize("pieces", [0, 2])
def test_no_other_answer_follows_one_that_was_shown_in_part(pieces: int) -> None:
    shown: list[str] = []

    async def live(chunk: Chunk) -> None:
        shown.append(chunk.text)

    first = Fake("a", failure("cut"), pieces)
    answer, ledger, _ = run(Fallback(("a", "b")), first, Fake("b"), live=live)
    if pieces:
        assert isinstance(answer, UpstreamError)
        assert (shown, len(ledger.attempts)) == (["a", "a"], 1)
    else:
        assert answer.text == "b"
        assert (shown, len(ledger.attempts)) == (["b"], 2)


NESTED = {
    "models": [
        {
            "kind": "cascade",
            "signal": "agreement",
            "sampling": "calls",
            "signal_attempt": False,
            "stages": [
                {"model": "a", "samples": 2, "accept": 1.0},
                {"model": "b", "samples": 1, "accept": "always"},
            ],
        },
        "c",
    ],
    "on_timeout": True,
}


def test_its_parameters_make_it_again() -> None:
    policy = from_params("fallback", NESTED)
    assert policy.get_params() == NESTED
    assert from_params("fallback", policy.get_params()) == policy
    assert models_of(policy) == ("c", "a", "b")
    assert [type(part) for part in policies_in(policy)] == [Fallback, Cascade]
    assert models_of(Fallback(("a", "b", "a"))) == ("b", "a")


def test_a_plan_file_can_hold_it(tmp_path: Path) -> None:
    policy = Fallback((Cascade((Stage("a", 2, 1.0), Stage("b"))), "c"))
    plan = Plan("safe", policy, ("c", "a", "b"))
    path = tmp_path / "plan.toml"
    path.write_text(dumps(plan))
    assert load_plan(path) == plan
    path.write_text(dumps(plan).replace('["c", "a", "b"]', '["c", "a"]'))
    with pytest.raises(PlanError, match=r"policy calls \['b'\], which 'models' does not list"):
        load_plan(path)
