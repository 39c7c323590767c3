"""What is booked, told to those who count, log and trace it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Protocol

from farthing.core.money import Cost
from farthing.gateway.visits import current
from farthing.ledger.rows import AttemptRow, ChargeRow, OperationRow, OutcomeRow, ReservationRow
from farthing.ledger.store import State, Store

logger = logging.getLogger("farthing.gateway")


@dataclass(slots=True)
class Story:
    """An operation from its beginning on.

    Attributes:
        began: when its request came in, on the clock of `time.perf_counter`.
        ended: when all was booked; None before that.
    """

    operation: OperationRow
    began: float
    attempts: list[AttemptRow] = field(default_factory=list)
    outcome: OutcomeRow | None = None
    ended: float | None = None

    @property
    def cost(self) -> Cost | None:
        """Exact; None if that of any attempt is unknown, or if one is not booked yet."""
        total = Cost(0)
        for attempt in self.attempts:
            if attempt.cost is None:
                return None
            total += attempt.cost
        return total

    @property
    def seconds(self) -> float:
        """From the request's coming in until all was booked."""
        return (perf_counter() if self.ended is None else self.ended) - self.began

    @property
    def upstream_s(self) -> float:
        """Seconds of it in which at least one call of a model ran."""
        return _covered(self.attempts)


class Watcher(Protocol):
    """Is told of what is booked; must not wait."""

    def begun(self, story: Story) -> None:
        """An operation begins."""
        ...

    def called(self, attempt: AttemptRow) -> None:
        """An attempt was booked, maybe after its operation's end."""
        ...

    def ended(self, story: Story) -> None:
        """An operation has an outcome, which is safe."""
        ...


class WatchedLedger:
    """Books in `store`, and tells `watchers`. A watcher that fails is logged, and keeps nothing."""

    def __init__(self, store: Store, watchers: Sequence[Watcher]) -> None:
        self._store, self._watchers = store, watchers
        self._open: dict[str, Story] = {}

    @property
    def in_flight(self) -> int:
        """Operations without an outcome."""
        return len(self._open)

    @property
    def state(self) -> State:
        """As of the store."""
        return self._store.state

    def check(self) -> None:
        """As of the store."""
        self._store.check()

    def begin(self, row: OperationRow) -> None:
        """Book the start of an operation."""
        self._store.begin(row)
        visit = current.get()
        story = self._open[row.id] = Story(row, visit.arrived if visit else perf_counter())
        for watcher in self._watchers:
            try:
                watcher.begun(story)
            except Exception:
                logger.exception("operation %s is not watched", row.id)

    def attempt(self, row: AttemptRow) -> None:
        """Book an attempt."""
        self._store.attempt(row)
        story = self._open.get(row.operation_id)
        if story is not None:
            story.attempts.append(row)
        for watcher in self._watchers:
            try:
                watcher.called(row)
            except Exception:
                logger.exception("attempt %s is not watched", row.id)

    def reserve(self, row: ReservationRow) -> None:
        """Book a reservation."""
        self._store.reserve(row)

    def charge(self, row: ChargeRow) -> None:
        """Book a charge."""
        self._store.charge(row)

    async def finish(self, row: OutcomeRow) -> None:
        """Book an outcome, and tell of it once it is safe, or cannot be."""
        try:
            await self._store.finish(row)
        finally:
            story = self._open.pop(row.operation_id, None)
            if story is not None:
                story.outcome, story.ended = row, perf_counter()
                self._tell_end(story)

    def _tell_end(self, story: Story) -> None:
        for watcher in self._watchers:
            try:
                watcher.ended(story)
            except Exception:
                logger.exception("operation %s is not watched", story.operation.id)

    async def flush(self) -> None:
        """As of the store."""
        await self._store.flush()

    async def close(self) -> None:
        """As of the store."""
        await self._store.close()


def _covered(attempts: Sequence[AttemptRow]) -> float:
    """Seconds that are within at least one of the attempts."""
    if len(attempts) == 1:
        return attempts[0].latency_s or 0.0
    spans = sorted((a.started_at.timestamp(), a.latency_s or 0.0) for a in attempts)
    total, until = 0.0, float("-inf")
    for start, seconds in spans:
        end = start + seconds
        total += max(0.0, end - max(start, until))
        until = max(until, end)
    return total
