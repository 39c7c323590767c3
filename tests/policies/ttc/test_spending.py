"""Budgets are kept: by no more than the one call in flight."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace
from typing import Any

import pytest
from ttc_worlds import Scripted, chains, operation, tiny

from farthing.core.errors import CapError
from farthing.core.money import Cost
from farthing.core.request import Request
from farthing.policies.ttc.best_of_n import BestOfN
from farthing.policies.ttc.spending import Spending, worst_cost
from farthing.policies.ttc.vote import SelfConsistency
from farthing.signals.steps import ExactSteps

PLENTY = Spending(usd="1", tokens=10**6)


@pytest.mark.parametrize(
    ("spending", "wanted", "room"),
    [
        (Spending(), 8, 8),
        (PLENTY, 8, 8),
        (Spending(tokens=100), 8, 1),  # a sample has 100 tokens at most
        (Spending(tokens=101), 8, 2),
        (Spending(usd="0.00000001"), 8, 3),  # 10,000 picodollars; a sample costs 4170 at most
        (PLENTY, 0, 0),
    ],
)
def test_there_is_room_for_all_but_one_call(spending: Spending, wanted: int, room: int) -> None:
    op = operation(Scripted("m", ["1"]))
    request = Request.ask("?")
    assert worst_cost(op, "m", request) == Cost((1 + 16) * 10 + 100 * 40)
    assert spending.room(op, spending.begin(op), "m", request, wanted) == room


def test_where_nothing_bounds_a_call_there_is_room_for_one() -> None:
    for model in (Scripted("m", ["1"], window=None), Scripted("m", ["1"], rates=None)):
        op = operation(model)
        spending = Spending(usd="1")
        assert spending.room(op, spending.begin(op), "m", Request.ask("?"), 9) == 1


def test_a_call_of_unknown_cost_uses_dollars_up() -> None:
    op = operation(Scripted("m", ["1"], rates=None))
    spending = Spending(usd="1")
    begun = spending.begin(op)
    asyncio.run(op.call("m", Request.ask("?"), node="x"))
    assert op.unknown_attempts == 1
    assert spending.over(op, begun)
    assert not spending.over(op, spending.begin(op))
    with pytest.raises(CapError, match="spending of 1 USD is used up"):
        spending.check(op, begun)


def test_only_what_was_spent_since_the_policy_began_counts() -> None:
    op = operation(Scripted("m", ["1 2 3"]))
    spending = Spending(tokens=5)
    asyncio.run(op.call("m", Request.ask("?"), node="x"))
    begun = spending.begin(op)
    assert spending.left(op, begun).tokens == 5
    asyncio.run(op.call("m", Request.ask("?"), node="x"))
    assert spending.left(op, begun).tokens == 2


def test_no_tiny_operation_exceeds_its_budget_by_more_than_a_sample() -> None:
    """Budgets from less than a sample to more than the vote, as spending and as a cap."""
    rng = random.Random(0)
    asked = chains(500, steps=1)
    exceeded = full = 0

    async def run() -> None:
        nonlocal exceeded, full
        for number in range(2000):
            request = replace(asked[number % len(asked)][0], seed=number, max_tokens=3)
            budget = Cost(rng.randrange(1, 800_000))
            op = operation(tiny("small"), cap=budget if number % 2 else None)
            spending = Spending() if number % 2 else Spending(usd=str(budget))
            policy: Any = rng.choice(
                (
                    SelfConsistency("tiny-small", 5, "none", spending=spending),
                    SelfConsistency("tiny-small", 5, "beta", spending=spending),
                    BestOfN("tiny-small", ExactSteps(), 5, 1.0, spending=spending),
                )
            )
            await policy.answer(request, op)
            exceeded += op.spent > budget
            assert op.spent - budget < worst_cost(op, "tiny-small", request)
            full += sum(attempt.request.n for attempt in op.attempts) == 5

    asyncio.run(run())
    assert exceeded > 100
    assert full > 100
