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
from farthing.ledger.address import Where
from farthing.ledger.engines import reading
from farthing.ledger.plan_report import PlanReport, plan_reports
from farthing.ledger.queries import input_tokens, output_tokens, started_within
from farthing.ledger.retention import Gone, gone
from farthing.ledger.rows import Ending
from farthing.ledger.schema import LEAVES_OF_VERSION_2, attempts, operations, outcomes
from farthing.ledger.tags import tag
from farthing.ledger.values import timestamp
from farthing.ledger.watches import Watch, watches

By = Literal["model", "plan", "key", "day", "user", "team", "kind"]
TAG = "tag:"
"""Before a tag's name: what to group spend by as well."""
LEAVES = ("input", "cache_read", "cache_write", "output", "reasoning", *LEAVES_OF_VERSION_2)

_MILLION = 10**6


@dataclass(frozen=True, slots=True)
class Spend:
    """Attempts added up.

    Attributes:
        name: the model, plan, key, day or kind of call; None for those that have none.
        spend: of the attempts whose cost is known; exact.
        unknown_cost: attempts whose cost is not known, and is not in `spend`.
        unknown_usage, estimated_usage: attempts whose tokens were not told, and those whose
            tokens we counted ourselves.
        unknown_cost_operations, estimated_operations: operations with such an attempt: one of
            unknown cost, one whose tokens we counted.
        tokens: by leaf; None if no attempt told any.
        unknown_cost_tokens, estimated_tokens: how many of these are of attempts whose cost is
            not known, and of those whose tokens we counted.
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
    unknown_cost_operations: int
    estimated_operations: int
    tokens: dict[str, int | None]
    unknown_cost_tokens: int
    estimated_tokens: int

    @property
    def all_tokens(self) -> int:
        """Those of all leaves, as far as they are known."""
        return sum(count or 0 for count in self.tokens.values())

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
            "unknown_cost_operations": self.unknown_cost_operations,
            "estimated_usage_operations": self.estimated_operations,
            "tokens": self.tokens,
            "unknown_cost_tokens": self.unknown_cost_tokens,
            "estimated_usage_tokens": self.estimated_tokens,
        }


@dataclass(frozen=True, slots=True)
class Report:
    """What a ledger says.

    Attributes:
        groups: spend by model, plan, key, day or kind of call, or by the value of a tag.
        total: spend of all attempts.
        outcomes: operations by how they ended; "refused" called nothing, "unfinished" are in
            flight, or their process died.
        stopped: operations that their own cap ended, with the answer that they had; they are
            among those that ended "ok".
        plans: for each plan, what it saved and whether its certificate holds.
        watches: what live traffic says of each certified plan file, of all time; of a plan's
            files the one that was first seen last comes last.
        removed: what is in no sum, since it was too old to be kept; None if nothing is.
    """

    by: str
    since: datetime | None
    groups: tuple[Spend, ...]
    total: Spend
    outcomes: dict[str, int]
    stopped: int
    plans: tuple[PlanReport, ...]
    removed: Gone | None = None
    watches: tuple[Watch, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Safe for JSON; amounts are decimal strings in USD."""
        return {
            "by": self.by,
            "since": None if self.since is None else timestamp(self.since),
            "groups": [group.as_json() for group in self.groups],
            "total": self.total.as_json(),
            "operations": self.outcomes,
            "stopped_by_cap": self.stopped,
            "plans": [plan.as_json() for plan in self.plans],
            "watches": [watch.as_json() for watch in self.watches],
            "removed": None if self.removed is None else self.removed.as_json(),
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
            stopped=_stopped(connection, since),
            plans=tuple(plan_reports(connection, since, price, seed)),
            removed=gone(connection, since),
            watches=tuple(watches(connection)),
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
        "kind": attempts.c.kind,
    }
    if by not in labels:
        known = ", ".join(get_args(By))
        raise LedgerError(f"cannot group by {by!r}; use one of {known}, or {TAG}NAME")
    return labels[by]


def _spend(
    connection: Connection, label: ColumnElement[Any] | None, since: datetime | None
) -> Iterator[Spend]:
    cost, operation = attempts.c.cost_pico, attempts.c.operation_id
    unpriced, estimated = cost.is_(None), attempts.c.usage_basis == "estimated"
    tokens = func.coalesce(input_tokens + output_tokens, 0)
    counts: dict[str, ColumnElement[Any]] = {
        "operations": func.count(distinct(operation)),
        "attempts": func.count(),
        "failed": _number(attempts.c.status == "failed"),
        "cancelled": _number(attempts.c.status == "cancelled"),
        "unknown_cost": _number(unpriced),
        "unknown_usage": _number(attempts.c.input.is_(None)),
        "estimated_usage": _number(estimated),
        "unknown_cost_operations": func.count(distinct(case((unpriced, operation)))),
        "estimated_operations": func.count(distinct(case((estimated, operation)))),
        "unknown_cost_tokens": _sum(case((unpriced, tokens))),
        "estimated_tokens": _sum(case((estimated, tokens))),
    }
    columns: Sequence[ColumnElement[Any]] = (
        *counts.values(),
        # In two halves, since a sum of picodollars passes 64 bits at nine million dollars.
        _sum(cost // _MILLION),
        _sum(cost % _MILLION),
        *(func.sum(attempts.c[leaf]) for leaf in LEAVES),
    )
    query: Select[Any] = (
        select(*columns).select_from(attempts.join(operations)).where(*started_within(since, None))
    )
    if label is not None:
        named = label.label("label")
        query = query.add_columns(named).group_by("label").order_by(named.nulls_first())
    for row in connection.execute(query):
        high, low, *rest = row[len(counts) :]
        leaves = rest[: len(LEAVES)]
        yield Spend(
            name=rest[-1] if label is not None else None,
            spend=Cost(int(high) * _MILLION + int(low)),
            tokens={leaf: _whole(told) for leaf, told in zip(LEAVES, leaves, strict=True)},
            **{name: int(count) for name, count in zip(counts, row, strict=False)},
        )


def _sum(column: ColumnElement[Any]) -> ColumnElement[Any]:
    return func.coalesce(func.sum(column), 0)


def _whole(told: Any) -> int | None:
    """A sum as an integer; PostgreSQL's are Decimals."""
    return None if told is None else int(told)


def _number(condition: ColumnElement[bool]) -> ColumnElement[int]:
    return _sum(case((condition, 1), else_=0))


def _outcomes(connection: Connection, since: datetime | None) -> dict[str, int]:
    status = func.coalesce(outcomes.c.status, "unfinished").label("label")
    query = (
        select(status, func.count())
        .select_from(operations.outerjoin(outcomes))
        .where(*started_within(since, None))
        .group_by("label")
    )
    counts = dict.fromkeys((*get_args(Ending), "unfinished"), 0)
    for name, count in connection.execute(query):
        counts[name] = count
    return counts


def _stopped(connection: Connection, since: datetime | None) -> int:
    query = (
        select(func.count())
        .select_from(operations.join(outcomes))
        .where(outcomes.c.stopped == "cap", *started_within(since, None))
    )
    return int(connection.execute(query).scalar_one())
