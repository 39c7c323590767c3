"""What a ledger says was spent, on what, and what the plans saved."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, get_args

from sqlalchemy import ColumnElement, Connection, Select, case, distinct, func, select

from farthing.core.errors import LedgerError
from farthing.core.money import Cost
from farthing.cost.prices import Price
from farthing.ledger._queries import started_within
from farthing.ledger.address import Where
from farthing.ledger.engines import reading
from farthing.ledger.plan_report import PlanReport, plan_reports
from farthing.ledger.schema import (
    LEAVES_OF_VERSION_2,
    attempts,
    operations,
    outcomes,
    timestamp,
)
from farthing.ledger.tags import tag

By = Literal["model", "plan", "key", "day", "user", "team"]
TAG = "tag:"
"""Before a tag's name: what to group spend by as well."""
LEAVES = ("input", "cache_read", "cache_write", "output", "reasoning", *LEAVES_OF_VERSION_2)

_MILLION = 10**6


@dataclass(frozen=True, slots=True)
class Spend:
    """Attempts added up.

    Attributes:
        name: the model, plan, key or day; None for those that have none.
        spend: of the attempts whose cost is known; exact.
        unknown_cost: attempts whose cost is not known, and is not in `spend`.
        unknown_usage, estimated_usage: attempts whose tokens were not told, and those whose
            tokens we counted ourselves.
        tokens: by leaf; None if no attempt told any.
    """

    name: str | None
    operations: int
    attempts: int
    failed: int
    cancelled: int
    spend: Cost
    unknown_cost: int
    unknown_usage: int
    estimated_usage: int
    tokens: dict[str, int | None]

    def as_json(self) -> dict[str, Any]:
        """Safe for JSON; amounts are decimal strings in USD."""
        return {
            "name": self.name,
            "operations": self.operations,
            "attempts": self.attempts,
            "failed": self.failed,
            "cancelled": self.cancelled,
            "spend_usd": str(self.spend),
            "unknown_cost_attempts": self.unknown_cost,
            "unknown_usage_attempts": self.unknown_usage,
            "estimated_usage_attempts": self.estimated_usage,
            "tokens": self.tokens,
        }


@dataclass(frozen=True, slots=True)
class Report:
    """What a ledger says.

    Attributes:
        groups: spend by model, plan, key or day, or by the value of a tag.
        total: spend of all attempts.
        outcomes: operations by how they ended; "unfinished" are in flight, or their process
            died.
        plans: for each plan, what it saved and whether its certificate holds.
    """

    by: str
    since: datetime | None
    groups: tuple[Spend, ...]
    total: Spend
    outcomes: dict[str, int]
    plans: tuple[PlanReport, ...]

    def as_json(self) -> dict[str, Any]:
        """Safe for JSON; amounts are decimal strings in USD."""
        return {
            "by": self.by,
            "since": None if self.since is None else timestamp(self.since),
            "groups": [group.as_json() for group in self.groups],
            "total": self.total.as_json(),
            "operations": self.outcomes,
            "plans": [plan.as_json() for plan in self.plans],
        }


def make_report(
    where: Where,
    *,
    by: By | str = "model",
    since: datetime | None = None,
    price: Callable[[str], Price | None] = lambda _: None,
    seed: int = 0,
) -> Report:
    """Add up the ledger at `where`; a gateway may go on writing to it.

    Args:
        by: what to group spend by; days are in UTC. "user" and "team" are the tags of those
            names, "tag:NAME" is any other.
        since: leave out operations that started before.
        price: a model's price by its name, for strongest models that were never called.
        seed: of the bootstrap.

    Raises:
        LedgerError: the ledger cannot be read.
    """
    label = _label(by)
    with reading(where) as connection:
        return Report(
            by=by,
            since=since,
            groups=tuple(_spend(connection, label, since)),
            total=next(_spend(connection, None, since)),
            outcomes=_outcomes(connection, since),
            plans=tuple(plan_reports(connection, since, price, seed)),
        )


def _label(by: str) -> ColumnElement[Any]:
    """What to group spend by; LedgerError if `by` is none of what there is."""
    if by in ("user", "team"):
        by = TAG + by
    if by.startswith(TAG) and len(by) > len(TAG) and not {'"', "\\"} & set(by):
        return tag(by.removeprefix(TAG))
    labels: dict[str, ColumnElement[Any]] = {
        "model": attempts.c.model,
        "plan": operations.c.plan,
        "key": operations.c.key,
        "day": func.substr(attempts.c.started_at, 1, 10),
    }
    if by not in labels:
        known = ", ".join(get_args(By))
        raise LedgerError(f"cannot group by {by!r}; use one of {known}, or {TAG}NAME")
    return labels[by]


def _spend(
    connection: Connection, label: ColumnElement[Any] | None, since: datetime | None
) -> Iterator[Spend]:
    cost = attempts.c.cost_pico
    columns: Sequence[ColumnElement[Any]] = (
        func.count(distinct(attempts.c.operation_id)),
        func.count(),
        _number(attempts.c.status == "failed"),
        _number(attempts.c.status == "cancelled"),
        # In two halves, since a sum of picodollars passes 64 bits at nine million dollars.
        func.coalesce(func.sum(cost // _MILLION), 0),
        func.coalesce(func.sum(cost % _MILLION), 0),
        _number(cost.is_(None)),
        _number(attempts.c.input.is_(None)),
        _number(attempts.c.usage_basis == "estimated"),
        *(func.sum(attempts.c[leaf]) for leaf in LEAVES),
    )
    query: Select[Any] = (
        select(*columns).select_from(attempts.join(operations)).where(*started_within(since, None))
    )
    if label is not None:
        named = label.label("label")
        query = query.add_columns(named).group_by("label").order_by(named.nulls_first())
    for row in connection.execute(query):
        calls, attempted, failed, cancelled, high, low, unpriced, untold, guessed, *rest = row
        leaves = rest[: len(LEAVES)]
        yield Spend(
            name=rest[-1] if label is not None else None,
            operations=calls,
            attempts=attempted,
            failed=failed,
            cancelled=cancelled,
            spend=Cost(int(high) * _MILLION + int(low)),
            unknown_cost=unpriced,
            unknown_usage=untold,
            estimated_usage=guessed,
            tokens={leaf: _whole(told) for leaf, told in zip(LEAVES, leaves, strict=True)},
        )


def _whole(told: Any) -> int | None:
    """A sum as an integer; PostgreSQL's are Decimals."""
    return None if told is None else int(told)


def _number(condition: ColumnElement[bool]) -> ColumnElement[int]:
    return func.coalesce(func.sum(case((condition, 1), else_=0)), 0)


def _outcomes(connection: Connection, since: datetime | None) -> dict[str, int]:
    status = func.coalesce(outcomes.c.status, "unfinished").label("label")
    query = (
        select(status, func.count())
        .select_from(operations.outerjoin(outcomes))
        .where(*started_within(since, None))
        .group_by("label")
    )
    counts = dict.fromkeys(("ok", "failed", "cancelled", "unfinished"), 0)
    for name, count in connection.execute(query):
        counts[name] = count
    return counts
