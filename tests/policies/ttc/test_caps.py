"""Every policy keeps its budget but for the one call in flight, and answers however small it is.

A new policy of the registry is tried by itself, where its parameters have the names of others'.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import MISSING, fields, replace
from functools import cache
from typing import Any

import pytest
from ttc_worlds import Scripted, operation

from farthing.bench.compute.worlds import ROOM, Source, TinyWorld
from farthing.core.errors import RequestError
from farthing.core.money import Cost, Rates
from farthing.core.request import Request
from farthing.policies import from_params
from farthing.policies.ttc.registry import TTC

OPERATIONS = 10_000
"""Of all policies together, at least."""

VALUES: dict[str, Any] = {
    "model": "m",
    "critic": "judge",
    "reward": {"kind": "exact"},
    "steps": {"tokens": 1},
    "members": ["m", {"kind": "vote", "model": "m", "samples": 2}, "judge"],
    "proposers": ["m", "m"],
    "aggregator": "judge",
    "links": [
        {"ask": {"kind": "vote", "model": "m", "samples": 3}, "accept": 0.9},
        {"ask": "judge"},
    ],
    "splitter": "farthing.policies.ttc.splitting:halves",
    "algorithm": "self-consistency",
}
"""What parameters are taken to be, by their names; others are left out."""

QUESTIONS, PLENTY = 24, Cost.from_usd("0.001")
Begin = Callable[[int, Cost | None], tuple[Request, Any]]


@cache
def world() -> TinyWorld:
    return TinyWorld(Source(problems=QUESTIONS))


def on_tiny(number: int, cap: Cost | None) -> tuple[Request, Any]:
    """Chains that tiny models answer."""
    begun = world().begin(number % QUESTIONS, number, cap)
    models = begun.operation.models
    named = {"m": models["tiny-small"], "judge": models["tiny-mid"], **models}
    begun.operation.models = named
    return replace(begun.request, max_tokens=ROOM), begun.operation


def on_words(number: int, cap: Cost | None) -> tuple[Request, Any]:
    """Anything, answered with words at random; the judge is dear."""
    rng = random.Random(number % 97)

    def text(request: Request) -> str:
        length = min(rng.randrange(1, 4), request.max_tokens or 4)
        return " ".join([str(rng.randrange(3))] * length)

    dear = Rates(5_000, 20_000)
    judge = Scripted("judge", ["5", "1", "9"], rates=dear, window=400)
    op = operation(Scripted("m", text, rates=dear), judge, cap=cap)
    return Request.ask("?", seed=number, max_tokens=3), op


def built(kind: str, **others: Any) -> Any:
    """The policy; each parameter that it needs has a value."""
    known = {one.name: one for one in fields(TTC[kind]) if one.init}
    needed = {
        name
        for name, one in known.items()
        if one.default is MISSING and one.default_factory is MISSING
    }
    assert needed <= set(VALUES), f"{kind}: say in VALUES what {needed - set(VALUES)} may be"
    told = {name: value for name, value in VALUES.items() if name in known}
    return from_params(kind, {**told, **{k: v for k, v in others.items() if k in known}})


def spent(policy: Any, begin: Begin, number: int, cap: Cost | None) -> tuple[Any, Any]:
    """The operation, and what was answered."""

    async def run() -> tuple[Any, Any]:
        request, op = begin(number, cap)
        response = await policy.answer(request, op)
        await op.idle()
        return op, response

    return asyncio.run(run())


def places(kind: str) -> list[tuple[Begin, dict[str, Any], Cost]]:
    """Where the policy can answer, with which reward, and what it costs there at most."""
    found = []
    for begin, reward in (
        (on_tiny, {"kind": "exact"}),
        (on_words, {"kind": "model", "model": "judge"}),
    ):
        try:
            costs = [spent(built(kind, reward=reward), begin, n, PLENTY)[0].spent for n in range(6)]
        except RequestError:
            continue
        found.append((begin, {"reward": reward}, max(costs)))
    return found


@pytest.mark.parametrize("kind", TTC)
def test_no_operation_exceeds_its_budget_by_more_than_its_dearest_call(kind: str) -> None:
    if kind == "its-hub":
        pytest.importorskip("its_hub")
    rng, tried = random.Random(kind), places(kind)
    assert tried, f"{kind} answers in no world"
    over = within = 0
    for number in range(OPERATIONS // len(TTC) + 1):
        begin, others, most = tried[number % len(tried)]
        budget = Cost(rng.randrange(1, most.pico))
        capped = number // len(tried) % 2 or "spending" not in {f.name for f in fields(TTC[kind])}
        limits = {} if capped else {"spending": {"usd": str(budget)}}
        op, response = spent(
            built(kind, **others, **limits), begin, number, budget if capped else None
        )
        dearest = max(attempt.cost.pico for attempt in op.attempts)
        assert op.spent.pico - budget.pico < dearest
        assert response.samples[0].read
        over, within = over + (op.spent > budget), within + (op.spent <= budget)
    assert over
    assert within or len(op.attempts) == 1
