"""The attempts of a ledger as lines, from either database."""

from __future__ import annotations

from decimal import Decimal

from ledger_rows import START, attempt, book, operation, outcome

from farthing.audit.ledger_lines import ledger_lines
from farthing.audit.source import open_source
from farthing.core.usage import Usage
from farthing.ledger import Ledger


async def test_attempts_are_lines_in_the_order_of_time(where):
    async with Ledger.open(where) as ledger:
        await book(
            ledger,
            operation(1, question="q", stream=True),
            attempt(1, 0, cost=1, service_tier="flex", usage=Usage(1, 2, 3, 4, 5, 6, 7, 8, 9)),
            attempt(1, 1, cost=2, kind="retry"),
            attempt(1, 2, cost=3, model="large"),
            attempt(1, 3, cost=0, kind="cache"),
            attempt(1, 4, status="failed", tokens=None, samples=(), shares=()),
            outcome(1),
        )
        await book(ledger, operation(0, question="q"), attempt(0, cost=5), outcome(0))
    told = []
    lines = list(ledger_lines(where, lambda done, total: told.append((done, total))))
    first, one, again, other, cached, failed = lines
    assert told[-1] == (6, 6)
    assert (first.at, first.claimed) == (START, Decimal("0.000000000005"))
    assert one.usage == Usage(1, 2, 3, 4, 5, 6, 7, 8, 9)
    assert (one.service_tier, one.stream, one.answer) == ("flex", True, "text a")
    assert [line.question for line in lines] == ["q", "q", None, "q", None, None]
    assert (again.retry, other.retry, other.model) == (True, False, "large")
    assert (cached.status, failed.status) == ("cached", "failed")
    assert (failed.usage, failed.claimed, failed.basis) == (None, None, "unknown")
    assert all(line.prompt is None for line in lines)


async def test_a_source_hides_the_password(where):
    async with Ledger.open(where) as ledger:
        await book(ledger, operation(0), attempt(0, cost=5), outcome(0))
    source = open_source(where)
    assert (source.format, source.size) == ("ledger", 1)
    assert len(list(source.lines())) == 1
    if "://" in where:
        assert where not in repr(source)
