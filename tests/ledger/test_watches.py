"""Certificates watched out of the ledger: what counts, in which order, once, by many processes."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from ledger_rows import attempt, operation, outcome
from sqlalchemy import event

from farthing.core.errors import LedgerError
from farthing.core.money import Cost
from farthing.ledger import Ledger
from farthing.ledger.report import make_report
from farthing.ledger.watches import GRACE, PATIENCE, Watched, Watching, read_watches

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
BUDGET = 1000
FILE = Watched(
    "thrifty", "sha256:a", ("small", "large"), Cost(BUDGET), 0.1, "pac", 200, 0.01,
    (0.5e-9, 2e-9), (40, 40, 20),
)  # fmt: skip


class Traffic:
    """Operations of the plan, each a tenth of a second after the one before."""

    def __init__(self, ledger):
        self.ledger, self.number, self.at = ledger, 0, NOW

    async def ask(self, cost, status="ok", digest=FILE.digest, calls=1, *, ends=True, plan=None):
        """Book an operation of one attempt; returns what would end it."""
        self.number += 1
        self.at += timedelta(seconds=0.1)
        id = f"op_{int(self.at.timestamp() * 1e6):014x}{self.number:018x}"
        row = attempt(self.number, cost=cost)
        end = replace(
            outcome(self.number, status), operation_id=id, certificate=digest, calls=calls
        )
        begin = replace(operation(self.number, plan=plan or FILE.plan), id=id)
        self.ledger.begin(begin)
        self.ledger.attempt(replace(row, id=f"{id}.0", operation_id=id))
        if ends:
            await self.ledger.finish(end)
        await self.ledger.flush()
        return end

    @property
    def later(self):
        return self.at + GRACE + timedelta(seconds=0.1)


@pytest.fixture
async def traffic(where):
    async with Ledger.open(where) as ledger:
        yield Traffic(ledger)


@pytest.fixture
def watching(where, traffic):
    watching = Watching(where)
    watching.look(FILE, now=NOW)
    yield watching
    watching.close()


async def test_what_counts(traffic, watching):
    await traffic.ask(BUDGET)
    await traffic.ask(BUDGET + 1)
    await traffic.ask(BUDGET + 1, "failed")
    await traffic.ask(None)  # unknown
    await traffic.ask(9 * BUDGET, "cancelled")
    await traffic.ask(9 * BUDGET, "lost")
    await traffic.ask(9 * BUDGET, digest=None)  # bypassed, or widened
    await traffic.ask(9 * BUDGET, digest="sha256:b")  # another file of the same name
    await traffic.ask(9 * BUDGET, plan="other")
    watch = watching.look(FILE, now=traffic.later).watch
    assert (watch.operations, watch.monitor.violations, watch.monitor.unknown) == (3, 2, 1)
    assert watch.monitor.costs.outcomes == 2  # of those that were answered
    assert watch.rate == pytest.approx(2 / 3)
    assert watching.look(FILE, now=traffic.later).watch.monitor == watch.monitor


async def test_those_that_began_later_wait(traffic, watching):
    slow = await traffic.ask(9 * BUDGET, ends=False)
    late = await traffic.ask(1, calls=2)  # one of its calls is still billed
    await traffic.ask(1)
    assert watching.look(FILE, now=traffic.later).watch.operations == 0
    await traffic.ledger.finish(slow)
    assert watching.look(FILE, now=traffic.later).watch.operations == 1
    id = late.operation_id
    traffic.ledger.attempt(
        replace(attempt(0, cost=BUDGET), id=f"{id}.1", operation_id=id, number=1)
    )
    await traffic.ledger.flush()
    watch = watching.look(FILE, now=traffic.later).watch
    assert (watch.operations, watch.monitor.violations) == (3, 2)


async def test_nobody_is_waited_for_without_end(traffic, watching):
    await traffic.ask(1, ends=False)
    await traffic.ask(1, calls=2)
    await traffic.ask(1)
    watch = watching.look(FILE, now=traffic.at + PATIENCE + timedelta(seconds=1)).watch
    assert (watch.operations, watch.monitor.unknown) == (1, 1)


async def test_the_order_is_that_in_which_they_began(traffic, watching):
    """A burst in which every tenth is dear, and the dear ones end last."""
    dear = []
    for number in range(200):
        end = await traffic.ask(9 * BUDGET if number % 10 == 9 else 1, ends=number % 10 != 9)
        if number % 10 == 9:
            dear.append(end)
        watching.look(FILE, now=traffic.later)
    for end in dear:
        await traffic.ledger.finish(end)
        assert not watching.look(FILE, now=traffic.later).alarm
    watch = watching.look(FILE, now=traffic.later).watch
    assert (watch.operations, watch.monitor.violations) == (200, 20)
    assert watch.monitor.rate.peak < 2


async def test_an_alarm_is_found_once_and_stays(traffic, watching, where):
    for number in range(60):
        await traffic.ask(9 * BUDGET if number % 2 else 1)
    other = Watching(where)
    looks = [w.look(FILE, now=traffic.later) for w in (watching, other, watching)]
    assert [look.alarm for look in looks] == [True, False, False]
    first = looks[0].watch
    assert first.e_value >= first.alarm_e_value == pytest.approx(100)
    for _ in range(300):
        await traffic.ask(1)
    last = other.look(FILE, now=traffic.later).watch
    assert last.operations == 360
    assert last.alarm_at == first.alarm_at
    other.close()
    told = last.as_json()
    assert told["recalibrate"].startswith("farthing plan RECORDING --models small,large --budget")
    (read,) = read_watches(where)
    assert read.as_json() == told
    assert make_report(where).as_json()["watches"] == [told]


async def test_costs_unlike_the_recorded_ones_are_told_without_an_alarm(traffic, watching):
    for _ in range(150):
        await traffic.ask(900)  # within the budget, and the middle of what was recorded
    look = watching.look(FILE, now=traffic.later)
    assert look.drift
    assert not look.alarm
    assert (look.watch.drift_at is None, look.watch.alarm_at) == (False, None)


async def test_another_file_begins_afresh(traffic, watching, where):
    for _ in range(40):
        await traffic.ask(9 * BUDGET)
    assert watching.look(FILE, now=traffic.later).alarm
    new = replace(FILE, digest="sha256:b")
    assert watching.look(new, now=traffic.later).watch.alarm_at is None
    traffic.at = traffic.later
    await traffic.ask(1, digest=new.digest)
    assert watching.look(new, now=traffic.later).watch.operations == 1
    assert [watch.digest for watch in read_watches(where)] == [FILE.digest, new.digest]


async def test_two_that_look_at_once_take_in_each_operation_once(traffic, watching, where):
    await traffic.ask(1)
    other = Watching(where)
    taken = []

    def interrupt(connection, cursor, statement, *_):
        if "sum(attempts.cost_pico)" in statement and not taken:
            taken.append(True)
            taken.append(other.look(FILE, now=traffic.later))

    event.listen(watching._reading, "before_cursor_execute", interrupt)
    look = watching.look(FILE, now=traffic.later)
    assert taken[1].watch.operations == look.watch.operations == 1
    assert watching.look(FILE, now=traffic.later).watch.operations == 1
    other.close()


async def test_a_fresh_look_is_enough(traffic, watching):
    await traffic.ask(1)
    later = traffic.later
    assert watching.look(FILE, now=later).watch.operations == 1
    await traffic.ask(1)
    soon = traffic.later
    assert watching.look(FILE, now=soon, fresh_s=60).watch.operations == 1
    assert watching.look(FILE, now=soon, fresh_s=0.01).watch.operations == 2


async def test_where_there_is_nothing_to_take_in_hardly_anything_is_written(traffic, watching):
    await traffic.ask(1)
    later = traffic.later
    seen = {
        watching.look(FILE, now=later + timedelta(seconds=second)).watch.seen_at
        for second in range(25)
    }
    assert len(seen) == 3


async def test_many_are_taken_in_steps(traffic, watching, monkeypatch):
    monkeypatch.setattr("farthing.ledger.watches._AT_ONCE", 7)
    for _ in range(30):
        await traffic.ask(1)
    assert watching.look(FILE, now=traffic.later).watch.operations == 30


async def test_a_ledger_that_is_away(where, tmp_path):
    watching = Watching(tmp_path / "nowhere" / "l.db")
    with pytest.raises(LedgerError, match="cannot watch certificates in the ledger"):
        watching.look(FILE, now=NOW)
    watching.close()
