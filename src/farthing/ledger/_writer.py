"""The thread that writes a ledger, many rows a transaction."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from time import monotonic
from typing import NamedTuple

from sqlalchemy import Connection, Engine, event

from farthing.ledger._batches import UNWRITABLE, Batch, Row, operation_of
from farthing.ledger._journal import Journal
from farthing.ledger.engines import cause
from farthing.ledger.retention import Keeper

logger = logging.getLogger("farthing.ledger")

_MOST = 5_000  # rows in one transaction
_LINGER_S = 0.05  # for rows that nobody waits for
_COMPANY_S = 0.003  # for others to come along, for each that did the last time
_MOST_COMPANY_S = 0.02
_RETRY_S = 1.0
_PATIENCE_S = 0.5  # before rows go to the journal
_LOCKED_S = 1.0  # that a journal's owner waits for a lock in the ledger
_REPLAY_S = 0.2  # of replaying before new rows get their turn
_PAUSE_S = 0.02  # between batches that are removed

Waiter = asyncio.Future[Exception | None]


@dataclass(frozen=True, slots=True)
class Policy:
    """How a ledger is written.

    Attributes:
        texts: whether prompts and answers are kept.
        relaxed: whether a commit may be lost in a power failure.
        journal: where rows go while the ledger is away; None keeps them in memory.
        keeper: removes what is too old; None keeps everything.
    """

    texts: bool = True
    relaxed: bool = False
    journal: Journal | None = None
    keeper: Keeper | None = None


class _Job(NamedTuple):
    row: Row | None
    waiter: Waiter | None
    stop: bool = False


_job = tuple.__new__  # a third of what `_Job(...)` takes


class Writer:
    """Takes rows without waiting and commits whatever has come in the meantime.

    What cannot be written goes to the journal, if there is one, and from there to the ledger when
    it is back. Without a journal, rows are kept in memory and tried again every second; whoever
    waits for them is told of the failure.

    Attributes:
        failure: why what was booked last is not safe; None if it is.
        spooling: whether rows go to the journal.
    """

    def __init__(self, name: str, open_engine: Callable[[], Engine], policy: Policy) -> None:
        """Begin; `open_engine` is called in other threads, again if it fails."""
        self.failure: Exception | None = None
        self.spooling = False
        self._name, self._open_engine, self._policy = name, open_engine, policy
        self._engine: Engine | None = None
        self._connection: Connection | None = None
        self._jobs: deque[_Job] = deque()
        self._bell: SimpleQueue[None] = SimpleQueue()
        self._asleep = self._lingers = self._awaited = False
        self._company = 0
        self._backlog: deque[Batch] = deque()
        self._rejected: dict[str, Exception] = {}
        self._replayed = 0
        self._why = ""
        self._probe: threading.Thread | None = None
        self._probed_at = -_RETRY_S
        self._reachable = False
        self._thread = threading.Thread(target=self._run, name="farthing-ledger", daemon=True)
        self._thread.start()

    def put(self, row: Row | None = None, waiter: Waiter | None = None) -> None:
        """Book `row`; `waiter` gets None once it and all before it is safe, or else why not."""
        self._jobs.append(_job(_Job, (row, waiter, False)))
        if waiter is not None:
            self._awaited = True
        if self._asleep or (waiter is not None and self._lingers):
            self._asleep = self._lingers = False
            self._bell.put(None)

    def stop(self, waiter: Waiter) -> None:
        """End the thread once all is safe, or has failed once more."""
        self._jobs.append(_Job(None, waiter, stop=True))
        self._awaited = True
        self._bell.put(None)

    def _run(self) -> None:
        stopping = False
        while not stopping:
            jobs = self._take(self._patience())
            stopping = bool(jobs) and jobs[-1].stop
            try:
                self._encode([job.row for job in jobs if job.row is not None])
                failure = self._save()
                if failure is None and not (stopping or self.spooling):
                    self._remove_old()
            except Exception as error:  # it must not end the thread
                failure = self.failure = error
                logger.exception("the ledger's writer failed")
            if stopping:
                self._close()
            self._settle(jobs, failure)

    def _patience(self) -> float | None:
        """Seconds after which there is something to do even if no row comes; None if never."""
        if self.failure is not None or self.spooling:
            return _PAUSE_S if self._reachable else _RETRY_S
        if self._has_journal():
            return 0.0
        keeper = self._policy.keeper
        return None if keeper is None else max(_PAUSE_S, keeper.due - monotonic())

    def _take(self, seconds: float | None) -> list[_Job]:
        """What has come in; rows that nobody waits for are given a moment for company."""
        self._asleep = True
        if not self._jobs:
            self._sleep(seconds)
        self._asleep = False
        if self._jobs and not self._awaited:
            self._lingers = True
            if not self._awaited:
                self._sleep(_LINGER_S)
            self._lingers = False
        elif self._company > 1:
            time.sleep(min(self._company * _COMPANY_S, _MOST_COMPANY_S))
        self._awaited = False
        jobs = [self._jobs.popleft() for _ in range(min(len(self._jobs), _MOST))]
        self._awaited = self._awaited or bool(self._jobs)
        self._company = sum(job.waiter is not None for job in jobs)
        return jobs

    def _sleep(self, seconds: float | None) -> None:
        with suppress(Empty):
            self._bell.get(timeout=seconds)

    def _settle(self, jobs: list[_Job], failure: Exception | None) -> None:
        """Tell all that wait, in one call of each of their loops."""
        told: defaultdict[asyncio.AbstractEventLoop, list[tuple[Waiter, Exception | None]]]
        told = defaultdict(list)
        for row, waiter, _ in jobs:
            if waiter is not None:
                rejected = self._rejected.get(operation_of(row)) if row else None
                told[waiter.get_loop()].append((waiter, rejected or failure))
        self._rejected.clear()
        for loop, results in told.items():
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(_tell, results)

    def _encode(self, rows: list[Row]) -> None:
        if not rows:
            return
        try:
            self._backlog.append(Batch.of(rows, texts=self._policy.texts))
        except Exception:
            for row in rows:
                try:
                    self._backlog.append(Batch.of([row], texts=self._policy.texts))
                except Exception as error:
                    self._reject(None, [row], error)

    def _save(self) -> Exception | None:
        """Make what has come in safe; returns why it is not."""
        if self.spooling or self._has_journal():
            return self._spool()
        until, broken = monotonic() + _PATIENCE_S, False
        while True:
            try:
                self._write_backlog()
            except Exception as error:
                self._disconnect()
                if getattr(error, "connection_invalidated", False) and not broken:
                    broken = True  # the server was started anew, perhaps: try a new connection
                    continue
                if self._policy.journal is None:
                    return self._fail(error)
                if monotonic() < until:
                    time.sleep(_PATIENCE_S / 5)
                    continue
                return self._spool(error)
            self._recover()
            return None

    def _write_backlog(self) -> None:
        while self._backlog:
            batch = self._backlog[0]
            try:
                self._write(batch)
            except UNWRITABLE as error:
                self._isolate(batch, error)
            else:
                self._backlog.popleft()

    def _write(self, batch: Batch) -> None:
        connection = self._connect()
        with connection.begin():
            batch.write(connection)

    def _isolate(self, batch: Batch, error: Exception) -> None:
        """Keep rows that the ledger can never hold from blocking the others."""
        parts = batch.parts(texts=self._policy.texts)
        if len(parts) == 1:
            try:
                self._write(parts[0])
            except UNWRITABLE:
                self._reject(batch, list(batch.rows), error)
            parts = []
        self._backlog.popleft()
        self._backlog.extendleft(reversed(parts))

    def _reject(self, batch: Batch | None, rows: list[Row], error: Exception) -> None:
        for row in rows:
            self._rejected[operation_of(row)] = error
        if batch is not None and self._policy.journal is not None:
            self._policy.journal.reject(batch, error)
            return
        whose = ", ".join(sorted({operation_of(row) for row in rows}))
        logger.error(
            "the ledger %s cannot hold the rows of %s: %s", self._name, whose, cause(error)
        )

    def _fail(self, error: Exception) -> Exception:
        if self.failure is None:
            logger.warning(
                "the ledger %s cannot be written: %s; requests are refused, and what is under way "
                "is kept in memory",
                self._name,
                cause(error),
            )
        self.failure = error
        return error

    def _recover(self) -> None:
        if self.failure is not None:
            logger.warning("the ledger %s is written again", self._name)
        self.failure = None

    def _has_journal(self) -> bool:
        journal = self._policy.journal
        return journal is not None and journal.pending

    def _spool(self, error: Exception | None = None) -> Exception | None:
        """Write rows to the journal, and the journal to the ledger if that is back."""
        journal = self._policy.journal
        assert journal is not None
        if not self.spooling:
            why = cause(error) if error else f"{journal.records} batches were left over"
            logger.warning("rows for the ledger %s go to %s: %s", self._name, journal.path, why)
            self._why = why
            self.spooling, self._reachable = True, error is None
        failure = None
        try:
            while self._backlog:
                journal.append(self._backlog[0])
                self._backlog.popleft()
        except OSError as full:
            failure = full
        if self._reachable:
            self._replay(journal)
        else:
            self._knock()
        if failure is not None and self._backlog:
            if self.failure is None:
                logger.error("the journal %s cannot be written: %s", journal.path, failure)
            self.failure = failure
        else:
            self.failure = None
        return self.failure

    def _knock(self) -> None:
        """See whether the ledger is back, without making anybody wait for it."""
        busy = self._probe is not None and self._probe.is_alive()
        if busy or monotonic() - self._probed_at < _RETRY_S:
            return
        self._probed_at = monotonic()
        self._probe = threading.Thread(target=self._try, name="farthing-probe", daemon=True)
        self._probe.start()

    def _try(self) -> None:
        try:
            with self._opened().begin():
                pass
        except Exception as error:
            self._still_away(error)
        else:
            self._reachable = True
            self._bell.put(None)

    def _still_away(self, error: Exception) -> None:
        """Log why, if it is something new."""
        if self._why != (why := cause(error)):
            self._why = why
            logger.warning("the journal of the ledger %s is kept: %s", self._name, why)

    def _replay(self, journal: Journal) -> None:
        until = monotonic() + _REPLAY_S
        try:
            while journal.pending:
                self._replayed += journal.replay(self._connect())
                if monotonic() > until:
                    return
            records = journal.records
            journal.clear()
            self._write_backlog()
        except Exception as error:
            self._still_away(error)
            self._disconnect()
            self._reachable, self._probed_at = False, monotonic()
            return
        self.spooling = False
        logger.warning(
            "the ledger %s is written again; of %d batches in %s, %d were added and %d were there",
            self._name,
            records,
            journal.path,
            self._replayed,
            records - self._replayed,
        )
        self._replayed = 0

    def _remove_old(self) -> None:
        keeper = self._policy.keeper
        if keeper is not None and monotonic() >= keeper.due:
            try:
                keeper.step(self._connect())
            except Exception as error:
                self._disconnect()
                keeper.wait()
                logger.warning(
                    "cannot remove old rows from the ledger %s: %s", self._name, cause(error)
                )

    def _opened(self) -> Engine:
        if self._engine is None:
            engine = self._open_engine()
            prepare(engine, relaxed=self._policy.relaxed, brief=self._policy.journal is not None)
            self._engine = engine
        return self._engine

    def _connect(self) -> Connection:
        if self._connection is None:
            self._connection = self._opened().connect()
        return self._connection

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(Exception):
                connection.close()

    def _close(self) -> None:
        self._disconnect()
        if self._engine is not None:
            self._engine.dispose()
        if self._policy.journal is not None:
            self._policy.journal.close()


def prepare(engine: Engine, *, relaxed: bool, brief: bool) -> None:
    """Set what a writer's connections need beyond others.

    Args:
        relaxed: a commit may be lost in a power failure.
        brief: wait for locks no longer than a moment.
    """
    statements = []
    locked = round(_LOCKED_S * 1000)
    if engine.dialect.name == "sqlite":
        statements += ["PRAGMA synchronous = NORMAL"] if relaxed else []
        statements += [f"PRAGMA busy_timeout = {locked}"] if brief else []
    else:
        statements += ["SET synchronous_commit = off"] if relaxed else []
        statements += [f"SET lock_timeout = {locked}"] if brief else []
    if not statements:
        return

    @event.listens_for(engine, "connect")
    def set_up(connection: object, _: object) -> None:
        for statement in statements:
            connection.execute(statement)  # type: ignore[attr-defined]
        connection.commit()  # type: ignore[attr-defined]

    engine.dispose()


def _tell(results: list[tuple[Waiter, Exception | None]]) -> None:
    for waiter, failure in results:
        if not waiter.done():
            waiter.set_result(failure)
