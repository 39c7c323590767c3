"""Budgets in the ledger: set, topped up and removed; rows are only ever added."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, insert, select

from farthing.budgets.limits import Budget, RateLimit
from farthing.budgets.windows import Window
from farthing.core.errors import BudgetError
from farthing.core.money import Cost
from farthing.ledger.editing import Editor
from farthing.ledger.schema import budgets
from farthing.ledger.values import timestamp

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MOST = 2**63 - 1  # picodollars that a column holds, 9.2 million USD


@dataclass(frozen=True, slots=True)
class StoredBudget:
    """A budget in force.

    Attributes:
        budget: its limit with all top-ups.
        began_at: when the name was first set, or set again after it was removed. A window that
            is the budget's whole life begins here.
        counted_as: number of the row by which it got its scope and window. What is spent is
            summed up under this number.
    """

    budget: Budget
    began_at: datetime
    counted_as: int

    def begins(self, now: datetime) -> datetime:
        """From when what is spent counts at `now`."""
        window = self.budget.window
        if window.rolling is not None:
            return now - window.rolling - window.part
        return window.start(now) or self.began_at

    def since(self, now: datetime) -> datetime:
        """Beginning of the part of the window in which `now` is summed up."""
        window = self.budget.window
        if window.rolling is None:
            return window.start(now) or self.began_at
        return _EPOCH + (now - _EPOCH) // window.part * window.part

    def until(self, now: datetime) -> datetime | None:
        """When the part that begins at `since` ends; None if never."""
        window = self.budget.window
        return window.end(now) if window.rolling is None else self.since(now) + window.part


@dataclass(frozen=True, slots=True)
class StoredRate:
    """A rate limit in force; `counted_as` is the number of its row."""

    rate: RateLimit
    counted_as: int


class Budgets(Editor):
    """The budgets in a ledger. Gateways see a change within seconds."""

    def set_rate(self, rate: RateLimit) -> bool:
        """Put `rate` in force in place of a limit of its name; returns whether there was one.

        Raises LedgerError if it cannot be written.
        """
        with self._writing() as connection:
            earlier = _in_force(connection).get(rate.name)
            values = {"scope": rate.scope, "requests": rate.requests, "tokens": rate.tokens}
            _add(connection, rate.name, "set", **values)
            return earlier is not None

    def set(self, budget: Budget) -> bool:
        """Put `budget` in force in place of one of its name, top-ups of which are forgotten.

        Returns whether there was one. Raises BudgetError for an amount that is too large,
        LedgerError if it cannot be written.
        """
        with self._writing() as connection:
            earlier = _in_force(connection).get(budget.name)
            limits = [budget.limit, budget.per_operation or Cost(0)]
            _check(max(limits))
            values = {
                "scope": budget.scope,
                "limit_pico": budget.limit.pico,
                "window": str(budget.window),
                "zone": budget.window.zone,
                "alpha": budget.alpha,
                "mode": budget.mode,
                "soft": int(budget.soft),
                "per_operation_pico": budget.per_operation and budget.per_operation.pico,
            }
            _add(connection, budget.name, "set", **values)
            return earlier is not None

    def top_up(self, name: str, amount: Cost) -> Cost:
        """Add prepaid money to a budget whose window is its whole life; returns its limit.

        Raises BudgetError if there is no such budget, its window resets, or the amount is not
        positive; LedgerError if it cannot be written.
        """
        with self._writing() as connection:
            stored = self._find(connection, name)
            if isinstance(stored, StoredRate):
                raise BudgetError(f"{name} is a rate limit; only a budget can be topped up")
            found = stored.budget
            if str(found.window) != "total":
                raise BudgetError(
                    f"budget {name} has the window {found.window}, which resets by itself; only "
                    "one with the window total can be topped up"
                )
            if amount.pico <= 0:
                raise BudgetError(f"cannot top up by {amount} USD: want an amount above 0")
            _check(found.limit + amount)
            _add(connection, name, "topup", limit_pico=amount.pico)
            return found.limit + amount

    def remove(self, name: str) -> None:
        """End a budget; BudgetError if there is none, LedgerError if it cannot be written."""
        with self._writing() as connection:
            self._find(connection, name)
            _add(connection, name, "removed")

    def _find(self, connection: Connection, name: str) -> StoredBudget | StoredRate:
        found = _in_force(connection)
        if name not in found:
            known = ", ".join(found) or "none"
            raise BudgetError(f"there is no budget {name!r} in {self.address}; there are: {known}")
        return found[name]


def read_limits(connection: Connection) -> tuple[list[StoredBudget], list[StoredRate]]:
    """The budgets and the rate limits in force, by name."""
    found = [stored for _, stored in sorted(_in_force(connection).items())]
    budgets = [stored for stored in found if isinstance(stored, StoredBudget)]
    return budgets, [stored for stored in found if isinstance(stored, StoredRate)]


def _in_force(connection: Connection) -> dict[str, StoredBudget | StoredRate]:
    found: dict[str, StoredBudget | StoredRate] = {}
    for row in connection.execute(select(budgets).order_by(budgets.c.number)):
        earlier = found.get(row.name)
        if row.kind == "removed":
            found.pop(row.name, None)
        elif row.kind == "set":
            found[row.name] = _set(row, earlier)
        elif row.kind == "topup" and isinstance(earlier, StoredBudget):
            limit = earlier.budget.limit + Cost(row.limit_pico)
            found[row.name] = replace(earlier, budget=replace(earlier.budget, limit=limit))
    return found


def _set(row: Any, earlier: StoredBudget | StoredRate | None) -> StoredBudget | StoredRate:
    if row.limit_pico is None:
        return StoredRate(RateLimit(row.name, row.scope, row.requests, row.tokens), row.number)
    budget = _budget(row)
    if not isinstance(earlier, StoredBudget):
        return StoredBudget(budget, datetime.fromisoformat(row.at), row.number)
    before = earlier.budget
    same = (before.scope, before.window) == (budget.scope, budget.window)
    return StoredBudget(budget, earlier.began_at, earlier.counted_as if same else row.number)


def _budget(row: Any) -> Budget:
    return Budget(
        row.name,
        Cost(row.limit_pico),
        row.scope,
        Window.parse(row.window, row.zone),
        row.alpha,
        row.mode,
        bool(row.soft),
        None if row.per_operation_pico is None else Cost(row.per_operation_pico),
    )


def _add(connection: Connection, name: str, kind: str, **values: object) -> None:
    row = {"name": name, "kind": kind, "at": timestamp(datetime.now(UTC)), **values}
    connection.execute(insert(budgets), row)


def _check(amount: Cost) -> None:
    if amount.pico > _MOST:
        raise BudgetError(f"{amount} USD is more than a budget can hold, {Cost(_MOST)} USD")
