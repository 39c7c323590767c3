"""Budgets that several processes share, each with a book of its own; on either database."""

import asyncio
import random
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest
from ledger_sql import execute, rows
from sqlalchemy.exc import OperationalError

from farthing.budgets import book, leases, recovery
from farthing.budgets.book import BudgetBook
from farthing.budgets.limits import Budget, RateLimit
from farthing.budgets.reservations import Ask, Refusal, Reservation
from farthing.budgets.spending import list_budgets
from farthing.budgets.stored import Budgets
from farthing.budgets.windows import Window
from farthing.core.errors import LedgerError
from farthing.core.money import Cost
from farthing.core.usage import Usage
from farthing.ledger import AttemptRow, Ledger, OperationRow, OutcomeRow, new_id

USD = Cost.from_usd(1)
CENT = Cost.from_usd("0.01")


def ask(cost=CENT, scopes=("all",), tokens=0):
    return Ask(frozenset(scopes), "m", cost, cost, tokens=tokens)


class Gateway:
    """What a gateway does with a request, without one."""

    def __init__(self, where, **options):
        self.ledger = Ledger.open(where, **options)
        self.book = BudgetBook(where, self.ledger, fresh_s=0.05)

    async def begin(self, asked=None):
        """Admit and book; None if there are no limits."""
        id = new_id()
        if not await self.book.has_limits():
            return None
        answered = await self.book.admit(asked or ask(), id=id)
        if isinstance(answered, Reservation):
            now = datetime.now(UTC)
            self.ledger.begin(OperationRow(id, now, "q", gateway=self.book.gateway))
            self.book.admission.book(answered)
        return answered

    async def end(self, reservation, cost, *, settle=True):
        now = datetime.now(UTC)
        self.ledger.attempt(
            AttemptRow(f"{reservation.id}.0", reservation.id, 0, "n", "m", now, "ok", cost=cost)
        )
        await self.ledger.finish(OutcomeRow(reservation.id, now, "ok"))
        if settle:
            self.book.settle(reservation, cost)

    async def die(self):
        """As after kill -9: nothing is given back."""
        if self.book._keeper is not None:
            self.book._keeper.cancel()
        await self.ledger.close()

    async def close(self):
        await self.book.aclose()
        await self.ledger.close()


@asynccontextmanager
async def gateways(where, count):
    opened = [Gateway(where) for _ in range(count)]
    try:
        yield opened
    finally:
        for gateway in opened:
            await gateway.close()


def sums(where):
    """Charges, and the sums that stand for them."""
    [one] = rows(where, "SELECT coalesce(sum(pico), 0) AS pico FROM charges")
    summed = rows(where, "SELECT gateway, pico FROM spending")
    return int(one["pico"]), sum(row["pico"] for row in summed if not row["gateway"].endswith("~"))


def status(where, name="all"):
    return next(s for s in list_budgets(where)[0] if s.stored.budget.name == name)


async def test_many_at_once_read_once(where):
    with Budgets(where) as store:
        store.set(Budget("a", USD))
    async with gateways(where, 1) as [one]:
        found = await asyncio.gather(*(one.book.has_limits() for _ in range(20)))
        assert all(found)
        assert one.book.admission.names == ["a"]


@pytest.mark.parametrize("mode", ["worst-case", "quantile"])
async def test_several_never_allow_several_times_the_limit(where, mode):
    with Budgets(where) as store:
        store.set(Budget("all", USD, mode=mode))
        store.set(Budget("key", USD * 5, "key:a"))

    async def client(gateway, seed):
        chance, refused = random.Random(seed), 0
        while refused < 30:
            reservation = await gateway.begin(ask(scopes=("all", "key:a")))
            if isinstance(reservation, Refusal):
                refused += 1
                await asyncio.sleep(0.05)
                continue
            await asyncio.sleep(chance.uniform(0, 0.01))
            await gateway.end(reservation, Cost(chance.randrange(CENT.pico)))

    async with gateways(where, 3) as opened:
        clients = [client(gateway, n) for n in range(20) for gateway in opened]
        await asyncio.gather(*clients)
        for gateway in opened:
            await gateway.ledger.flush()
    charged, summed = sums(where)
    assert charged == summed == 2 * status(where).spent.pico
    most = 1.0 if mode == "worst-case" else 1.04  # 60 clients have a third of it in flight
    assert USD.pico * 0.85 <= status(where).spent.pico <= USD.pico * most
    assert status(where).held == Cost(0)
    assert status(where, "key").spent == status(where).spent
    assert rows(where, "SELECT * FROM leases") == []
    ended = rows(where, "SELECT ended_by, id FROM gateways")
    assert len(ended) == 3
    assert all(row["ended_by"] == row["id"] for row in ended)


async def test_a_lease_that_is_more_than_is_free_lets_nobody_in(where):
    with Budgets(where) as store:
        store.set(Budget("all", USD, mode="worst-case"))
    async with gateways(where, 1) as [one]:
        begun = [await one.begin() for _ in range(98)]
        for reservation in begun[:20]:
            await one.end(reservation, CENT * 2)
        await one.ledger.flush()
        assert isinstance(await one.begin(), Refusal)  # what is in flight is leased, 0.18 too much
        for reservation in begun[20:60]:
            one.book.cancel(reservation)
        more = [await one.begin() for _ in range(40)]
        admitted = [found for found in more if isinstance(found, Reservation)]
        assert len(admitted) == 22  # 0.4 is spent, 0.38 in flight
        for reservation in begun[60:] + admitted:
            one.book.cancel(reservation)


async def test_a_rate_is_shared(where):
    with Budgets(where) as store:
        store.set_rate(RateLimit("often", requests=30))
        store.set_rate(RateLimit("tokens", tokens=10_000))
    async with gateways(where, 2) as opened:
        answers = await asyncio.gather(*(opened[n % 2].begin(ask(tokens=1)) for n in range(100)))
        admitted = [answer for answer in answers if isinstance(answer, Reservation)]
        assert 25 <= len(admitted) <= 30
        refusal = next(answer for answer in answers if isinstance(answer, Refusal))
        assert (refusal.name, refusal.limit) == ("often", 30)
        assert "rate limit often" in refusal.message


async def test_what_was_spent_before_counts_once(where):
    async with gateways(where, 2) as [one, two]:
        for gateway in (one, two):
            assert not await gateway.book.has_limits()
        now = datetime.now(UTC)
        for gateway, owner in ((one, "gw_gone"), (one, None), (two, two.book.gateway)):
            id = new_id()
            gateway.ledger.begin(OperationRow(id, now, "q", gateway=owner))
            row = AttemptRow(f"{id}.0", id, 0, "n", "m", now, "ok", cost=CENT)
            gateway.ledger.attempt(row)
            await gateway.ledger.finish(OutcomeRow(id, now, "ok"))
        with Budgets(where) as store:
            store.set(Budget("all", USD, window=Window.parse("day")))
            store.set(Budget("rolling", USD, window=Window.parse("1h")))
        assert status(where).spent == status(where, "rolling").spent == CENT * 3
        await asyncio.sleep(0.05)
        for gateway in (one, two):
            assert await gateway.book.has_limits()
        for name in ("all", "rolling"):
            assert status(where, name).spent == CENT * 3
            await one.book._renew(one.book.admission.shared)
            assert one.book.admission.state(name).spent == CENT * 3


async def test_what_was_in_flight_when_a_process_died_is_charged_and_marked(where, monkeypatch):
    monkeypatch.setattr(recovery, "DEAD_AFTER_S", 0.4)
    monkeypatch.setattr(book, "RENEW_S", 0.05)
    with Budgets(where) as store:
        store.set(Budget("all", USD))
    one = Gateway(where)
    flying, done = await one.begin(), await one.begin()
    settled = await one.begin()
    await one.end(done, CENT * 3, settle=False)  # its charge was not booked any more
    await one.end(settled, CENT)
    await one.ledger.flush()
    await one.die()
    held = status(where).held
    assert held == flying.reserved + done.reserved
    async with gateways(where, 2) as both:
        for gateway in both:
            assert await gateway.book.has_limits()
        await asyncio.sleep(0.6)
        await asyncio.gather(*(g.book._renew(g.book._used()) for g in both))
        found = rows(where, "SELECT operation_id, pico, basis FROM charges")
        assert {row["operation_id"]: (row["pico"], row["basis"]) for row in found} == {
            flying.id: (flying.reserved.pico, "lost"),
            done.id: (CENT.pico * 3, "counted"),
            settled.id: (CENT.pico, "counted"),
        }
        outcomes = rows(where, "SELECT operation_id, status FROM outcomes WHERE status = 'lost'")
        assert [row["operation_id"] for row in outcomes] == [flying.id]
        assert status(where).spent == flying.reserved + CENT * 4
        assert (status(where).held, status(where).assumed) == (Cost(0), flying.reserved)
        [dead] = rows(where, f"SELECT ended_by FROM gateways WHERE id = '{one.book.gateway}'")
        assert dead["ended_by"] in {g.book.gateway for g in both}
    assert len(set(sums(where))) == 1


async def test_one_that_stood_still_goes_on_and_nothing_counts_twice(where, monkeypatch):
    monkeypatch.setattr(recovery, "DEAD_AFTER_S", 0.4)
    monkeypatch.setattr(book, "RENEW_S", 0.05)
    with Budgets(where) as store:
        store.set(Budget("all", USD))
    async with gateways(where, 2) as [still, other]:
        flying = await still.begin()
        name = still.book.gateway
        still.book._keeper.cancel()
        await other.book.has_limits()
        await other.ledger.flush()
        await still.ledger.flush()
        await other.book._renew(other.book._used())
        await asyncio.sleep(0.6)
        await other.book._renew(other.book._used())
        assert status(where).spent == flying.reserved
        await still.end(flying, CENT * 2)  # it wakes up
        await still.book._renew(still.book._used())
        assert still.book.gateway != name
        again = await still.begin()
        await still.end(again, CENT)
        await still.ledger.flush()
        attempts = rows(where, "SELECT cost_pico FROM attempts ORDER BY id")
        assert [row["cost_pico"] for row in attempts] == [CENT.pico * 2, CENT.pico]
    charged, summed = sums(where)
    assert charged == summed == flying.reserved.pico + CENT.pico


async def test_a_restart_learns_what_requests_cost(where):
    with Budgets(where) as store:
        store.set(Budget("all", USD * 1000))
    asked = Ask(frozenset({"all"}), "m", USD, length=5)
    async with gateways(where, 1) as [one]:
        for _ in range(60):
            reservation = await one.begin(asked)
            id, now = reservation.id, datetime.now(UTC)
            row = AttemptRow(
                f"{id}.0", id, 0, "n", "m", now, "ok", usage=Usage(input=12), cost=CENT
            )
            one.ledger.attempt(row)
            await one.ledger.finish(OutcomeRow(id, now, "ok"))
            one.book.settle(reservation, CENT)
    execute(where, "UPDATE operations SET requested = 'm'")
    async with gateways(where, 1) as [two]:
        reservation = await two.begin(asked)
        assert reservation.reserved.pico < USD.pico // 10


async def test_while_the_server_is_away_leases_hold_and_nothing_is_lost(stoppable, tmp_path):
    server = stoppable()
    where = server.get_uri()
    with Budgets(where) as store:
        store.set(Budget("all", USD, mode="worst-case"))
    one = Gateway(where, on_failure="spool", spool=tmp_path / "spool")
    await one.end(await one.begin(), CENT)
    await one.book._renew(one.book._used())
    lease = one.book.admission.shared[0].share.lease
    assert lease > CENT.pico * 10
    server.cleanup()
    await asyncio.sleep(0.1)  # what was read is old
    done = [CENT]

    async def go_on():
        while reservation := await one.begin():
            await one.end(reservation, CENT)
            done.append(CENT)

    with pytest.raises(LedgerError, match="cannot write the budgets"):
        await go_on()
    assert lease // CENT.pico // 2 < len(done) <= lease // CENT.pico + 1
    server = stoppable()
    for _ in range(600):
        if one.ledger.state == "ok":
            break
        await asyncio.sleep(0.05)
    await one.end(await one.begin(), CENT)
    await one.close()
    assert status(where).spent == CENT * (len(done) + 1)
    assert len(set(sums(where))) == 1


async def test_a_server_that_was_away_makes_nobody_dead(where, monkeypatch):
    monkeypatch.setattr(recovery, "DEAD_AFTER_S", 0.3)
    with Budgets(where) as store:
        store.set(Budget("all", USD))
    async with gateways(where, 2) as [one, two]:
        for gateway in (one, two):
            await gateway.begin()
            gateway.book._keeper.cancel()
            await gateway.book._renew(gateway.book._used())
        with monkeypatch.context() as away:
            away.setattr(leases, "renew", _away)
            with pytest.raises(LedgerError):
                await one.book._renew(one.book._used())
            await asyncio.sleep(0.4)
        await one.book._renew(one.book._used())
        assert len(rows(where, "SELECT id FROM gateways WHERE ended_at IS NULL")) == 2


def _away(*_, **__):
    raise OperationalError("renew", {}, Exception("the server is away"))


async def test_an_idle_process_gives_its_lease_back(where):
    with Budgets(where) as store:
        store.set(Budget("all", USD))
    async with gateways(where, 2) as [idle, busy]:
        for gateway in (idle, busy):
            await gateway.end(await gateway.begin(), CENT)
            gateway.book._keeper.cancel()
        await idle.ledger.flush()
        for _ in range(book.IDLE_RENEWALS + 2):
            await idle.book._renew(idle.book._used())
        assert idle.book.admission.shared[0].share.lease == 0
        assert idle.book._used() == []
        held = rows(where, f"SELECT pico FROM leases WHERE gateway = '{idle.book.gateway}'")
        assert held == [{"pico": 0}]
        assert isinstance(await idle.begin(), Reservation)
