"""Budgets are kept: by no more than the one call in flight."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from ttc_worlds import Scripted, chains, operation, tiny

from farthing.core.errors import CapError
from farthing.core.money import Cost, Rates
from farthing.core.request import Request
from farthing.policies.ttc.best_of_n import BestOfN
from farthing.policies.ttc.brainstorm import Brainstorm
from farthing.policies.ttc.chain import Chain, Link
from farthing.policies.ttc.mixture_of_agents import MixtureOfAgents
from farthing.policies.ttc.optscale import OptScale
from farthing.policies.ttc.refine import Refine
from farthing.policies.ttc.short import Short
from farthing.policies.ttc.spending import Spending, worst_cost
from farthing.policies.ttc.vote import SelfConsistency
from farthing.signals.steps import ExactSteps, ModelSteps

DEAR = Rates(5_000, 20_000)
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


def test_no_policy_exceeds_its_budget_by_more_than_its_dearest_call() -> None:
    """8000 operations of all kinds; with the tiny ones they are 10,000."""
    rng = random.Random(0)
    texts = [" ".join([str(rng.randrange(3))] * rng.randrange(1, 4)) for _ in range(97)]
    judge = Scripted("judge", ["5", "1", "9"], rates=DEAR, window=400)
    model = Scripted("m", texts, rates=DEAR)
    reward = ModelSteps("judge")
    exceeded: Counter[str] = Counter()
    within: Counter[str] = Counter()

    async def run() -> None:
        for number in range(8000):
            budget = Cost(rng.randrange(1, 1_500_000))
            op = operation(model, judge, cap=budget if number % 2 else None)
            spending = Spending() if number % 2 else Spending(usd=str(budget))
            vote = SelfConsistency("m", 3, "none", spending=spending)
            policy: Any = rng.choice(
                (
                    SelfConsistency("m", 5, "beta", spending=spending),
                    Short("m", 4, 2, spending=spending),
                    BestOfN("m", reward, 3, spending=spending),
                    OptScale("m", reward, samples=3, spending=spending),
                    Refine("m", "judge", spending=spending),
                    Brainstorm(("m", "m", "judge"), spending=spending),
                    MixtureOfAgents(("m", "m"), "judge", spending=spending),
                    Chain((Link(vote, 0.9), Link("judge")), spending),
                )
            )
            await policy.answer(Request.ask("?", seed=number, max_tokens=3), op)
            dearest = max(attempt.cost or Cost(0) for attempt in op.attempts)
            assert op.spent - budget < dearest, policy.kind
            (exceeded if op.spent > budget else within)[policy.kind] += 1

    asyncio.run(run())
    assert len(exceeded) == len(within) == 8
    assert min(*exceeded.values(), *within.values()) > 20
