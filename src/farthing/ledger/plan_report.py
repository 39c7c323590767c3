"""What plans saved, and whether their certificates hold, by the ledger."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import Any

from sqlalchemy import Connection, select

from farthing.core.money import Cost
from farthing.core.usage import Usage
from farthing.cost.prices import Price
from farthing.ledger.queries import (
    alone_pico,
    input_tokens,
    is_answer,
    output_tokens,
    sample_count,
    started_within,
)
from farthing.ledger.saving import Saving, SavingTally
from farthing.ledger.schema import attempts, operations, outcomes
from farthing.risk import binomial

_Row = Any  # of a query below; SQLAlchemy does not type its columns by name


@dataclass(frozen=True, slots=True)
class Conformity:
    """How often operations cost more than a certificate's budget.

    Attributes:
        alpha: the probability that the certificate allows; None if it names none.
        operations: finished operations under the certificate whose verdict is known.
        violations: those that cost more than `budget`.
        unknown: finished operations that are not in `operations`, since an attempt's cost is
            unknown and the rest is within the budget.
    """

    budget: Cost
    alpha: float | None
    operations: int
    violations: int
    unknown: int

    @property
    def rate(self) -> float | None:
        """Share of violations; None without operations."""
        return self.violations / self.operations if self.operations else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """95% Clopper-Pearson interval of the violation rate; None without operations."""
        if self.operations == 0:
            return None
        return binomial.interval(self.violations, self.operations)

    def as_json(self) -> dict[str, Any]:
        """Safe for JSON; amounts are decimal strings in USD."""
        return {
            "budget_usd": str(self.budget),
            "alpha": self.alpha,
            "operations": self.operations,
            "violations": self.violations,
            "violation_rate": self.rate,
            "interval": self.interval,
            "unknown": self.unknown,
        }


@dataclass(frozen=True, slots=True)
class PlanReport:
    """A plan in the ledger.

    Attributes:
        strongest: the model that the saving is reckoned against.
        operations: all that the plan was asked.
        compared: those in `saving`: answered, and of known cost.
        saving: None if nobody knows what the strongest model alone would have cost.
    """

    plan: str
    strongest: str | None
    operations: int
    compared: int
    saving: Saving | None
    certificates: tuple[Conformity, ...]

    def as_json(self) -> dict[str, Any]:
        """Safe for JSON; amounts are decimal strings in USD."""
        saving = self.saving
        return {
            "plan": self.plan,
            "strongest": self.strongest,
            "operations": self.operations,
            "compared": self.compared,
            "spend_usd": saving and str(saving.spent),
            "strongest_usd": saving and str(saving.strongest),
            "strongest_basis": saving and saving.basis,
            "answered_by_strongest": saving and saving.answered_by_strongest,
            "saving": saving and saving.share,
            "saving_interval": saving and saving.interval,
            "significant": saving and saving.significant,
            "certificates": [certificate.as_json() for certificate in self.certificates],
        }


def plan_reports(
    connection: Connection,
    since: datetime | None,
    price: Callable[[str], Price | None],
    seed: int,
) -> Iterator[PlanReport]:
    """A report for each plan (and strongest model, where a plan's changed), by name."""
    tallies: dict[tuple[str, str | None], _Tally] = {}
    for rows in _operations(connection, since):
        plan = (rows[0].plan, rows[0].strongest)
        if plan not in tallies:
            tallies[plan] = _Tally(rows[0].strongest, price)
        tallies[plan].add(rows)
    for (plan_name, strongest), tally in sorted(
        tallies.items(), key=lambda item: (item[0][0], item[0][1] or "")
    ):
        if strongest is not None:
            tally.add_observations(_elsewhere(connection, plan_name, strongest))
        yield PlanReport(
            plan=plan_name,
            strongest=strongest,
            operations=tally.operations,
            compared=tally.compared,
            saving=tally.saving.result(seed),
            certificates=tuple(tally.conformities()),
        )


class _Tally:
    """What is added up of one plan."""

    def __init__(self, strongest: str | None, price: Callable[[str], Price | None]) -> None:
        self.operations = self.compared = 0
        self.saving = SavingTally()
        self._strongest = strongest
        self._price = price(strongest) if strongest else None
        self._certificates: dict[tuple[int, float | None], list[int]] = {}

    def add(self, rows: Sequence[_Row]) -> None:
        """Add an operation, given its attempts."""
        self.operations += 1
        called = [row for row in rows if row.model is not None]
        spent = Cost(sum(row.cost_pico or 0 for row in called))
        known = all(row.cost_pico is not None for row in called)
        self._certify(rows[0], spent, known)
        answers = [row for row in called if row.status == "ok" and row.is_answer]
        first = next((row for row in answers if row.input_tokens is not None), None)
        if self._strongest is None or rows[0].outcome != "ok" or not known or first is None:
            return
        self.compared += 1
        alone = [
            row.alone_pico
            for row in answers
            if row.model == self._strongest and row.alone_pico is not None
        ]
        self.saving.operation(
            spent,
            input_tokens=first.input_tokens,
            alone=Cost(round(sum(alone) / len(alone))) if alone else None,
            modelled=self._modelled(first),
        )

    def add_observations(self, rows: Iterable[_Row]) -> None:
        """Add answers that the strongest model gave elsewhere."""
        for row in rows:
            self.saving.observation(row.input_tokens, Cost(round(row.alone_pico)))

    def conformities(self) -> Iterator[Conformity]:
        """The certificates under which the plan ran."""
        for (budget, alpha), counts in sorted(
            self._certificates.items(), key=lambda item: (item[0][0], item[0][1] or 0.0)
        ):
            yield Conformity(Cost(budget), alpha, *counts)

    def _certify(self, operation: _Row, spent: Cost, known: bool) -> None:
        if operation.budget_pico is None:
            return
        key = (operation.budget_pico, operation.alpha)
        counts = self._certificates.setdefault(key, [0, 0, 0])
        over = spent.pico > operation.budget_pico
        if known or over:
            counts[0] += 1
            counts[1] += over
        else:
            counts[2] += 1

    def _modelled(self, row: _Row) -> Cost | None:
        """The strongest model's cost for one answer as long as those that `row` returned."""
        if self._price is None:
            return None
        usage = Usage(
            input=row.input,
            cache_read=row.cache_read,
            cache_write=row.cache_write,
            cache_write_1h=row.cache_write_1h or 0,
            input_audio=row.input_audio or 0,
            input_image=row.input_image or 0,
            output=round(row.output_tokens / max(row.samples, 1)),
        )
        return self._price.cost(usage)


def _operations(connection: Connection, since: datetime | None) -> Iterator[list[_Row]]:
    """The attempts of each operation of a plan, in the order of the operations."""
    query = (
        select(
            operations.c.id,
            operations.c.plan,
            operations.c.strongest,
            outcomes.c.status.label("outcome"),
            outcomes.c.budget_pico,
            outcomes.c.alpha,
            attempts.c.model,
            attempts.c.status,
            is_answer.label("is_answer"),
            attempts.c.cost_pico,
            attempts.c.input,
            attempts.c.cache_read,
            attempts.c.cache_write,
            attempts.c.cache_write_1h,
            attempts.c.input_audio,
            attempts.c.input_image,
            output_tokens.label("output_tokens"),
            input_tokens.label("input_tokens"),
            alone_pico.label("alone_pico"),
            sample_count.label("samples"),
        )
        .select_from(operations.outerjoin(outcomes).outerjoin(attempts))
        .where(operations.c.plan.is_not(None), *started_within(since, None))
        .order_by(operations.c.id, attempts.c.number)
    )
    rows = connection.execution_options(yield_per=2_000).execute(query)
    for _, group in groupby(rows, key=lambda row: row.id):
        yield list(group)


def _elsewhere(connection: Connection, plan: str, strongest: str) -> Iterator[_Row]:
    """What the strongest model answered outside of the plan, at any time."""
    query = (
        select(input_tokens.label("input_tokens"), alone_pico.label("alone_pico"))
        .select_from(attempts.join(operations))
        .where(attempts.c.model == strongest, attempts.c.status == "ok", is_answer)
        .where(operations.c.plan.is_distinct_from(plan))
    )
    for row in connection.execution_options(yield_per=2_000).execute(query):
        if row.input_tokens is not None and row.alone_pico is not None:
            yield row
