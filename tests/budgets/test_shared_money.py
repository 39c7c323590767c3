"""Whatever happens to gateways that share budgets, no picodollar is lost or counted twice."""

import asyncio
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from ledger_sql import rows

from farthing.budgets.book import BudgetBook
from farthing.budgets.limits import Budget
from farthing.budgets.reservations import Ask, Reservation
from farthing.budgets.spending import list_budgets
from farthing.budgets.stored import Budgets
from farthing.budgets.windows import Window
from farthing.core.money import Cost
from farthing.ledger import AttemptRow, Ledger, OperationRow, OutcomeRow, new_id

GATEWAYS = 3
LIMIT = Cost(10**6)
TYPICAL = Cost(10**4)
costs = st.one_of(st.none(), st.integers(1, 3 * 10**4))
steps = st.lists(
    st.one_of(
        st.tuples(st.just("begin"), st.integers(0, GATEWAYS - 1), st.booleans()),
        st.tuples(st.just("settle"), st.integers(0, 99), costs),
        st.tuples(st.just("cancel"), st.integers(0, 99), st.none()),
        st.tuples(st.just("renew"), st.integers(0, GATEWAYS - 1), st.none()),
        st.tuples(st.just("crash"), st.integers(0, GATEWAYS - 1), st.none()),
    ),
    min_size=5,
    max_size=40,
)


class World:
    """Gateways on one ledger, and what must be true of it."""

    def __init__(self, where):
        self.where, self.dead, self.expected = where, set(), {}
        self.open = {}  # identifier to gateway and reservation
        self.gateways = {}

    async def gateway(self, number):
        if number not in self.gateways:
            ledger = Ledger.open(self.where)
            book = BudgetBook(self.where, ledger)
            book._shared._silent = lambda others: [name for name in others if name in self.dead]
            assert await book.has_limits()
            self.gateways[number] = book, ledger
        return self.gateways[number]

    async def begin(self, number, in_both):
        book, ledger = await self.gateway(number)
        scopes = frozenset({"all", "key:a"} if in_both else {"all"})
        id = new_id()
        answered = await book.admit(Ask(scopes, "m", TYPICAL), id=id)
        if isinstance(answered, Reservation):
            ledger.begin(OperationRow(id, datetime.now(UTC), "q", gateway=book.gateway))
            book.admission.book(answered)
            self.open[id] = number, answered

    def pick(self, index):
        return sorted(self.open)[index % len(self.open)] if self.open else None

    async def settle(self, index, pico):
        if (id := self.pick(index)) is not None:
            number, reservation = self.open.pop(id)
            book, ledger = self.gateways[number]
            cost = None if pico is None else Cost(pico)
            now = datetime.now(UTC)
            ledger.attempt(AttemptRow(f"{id}.0", id, 0, "n", "m", now, "ok", cost=cost))
            await ledger.finish(OutcomeRow(id, now, "ok"))
            book.settle(reservation, cost)
            for name, hold in reservation.holds.items():
                self.expected[id, name] = hold.pico if pico is None else pico

    async def cancel(self, index, _):
        if (id := self.pick(index)) is not None:
            number, reservation = self.open.pop(id)
            self.gateways[number][0].cancel(reservation)
            self.expected |= dict.fromkeys(((id, name) for name in reservation.holds), 0)

    async def renew(self, number, _):
        book, _ = await self.gateway(number)
        await book._renew(book._used())

    async def crash(self, number, _):
        if number in self.gateways:
            book, ledger = self.gateways.pop(number)
            book._keeper.cancel()
            await ledger.close()
            book._shared.close()
            self.dead.add(book.gateway)
            for id, (owner, reservation) in list(self.open.items()):
                if owner == number:
                    del self.open[id]
                    for name, hold in reservation.holds.items():
                        self.expected[id, name] = hold.pico

    async def end(self):
        for number in range(GATEWAYS):
            while any(owner == number for owner, _ in self.open.values()):
                await self.settle(0, 7)
        await self.renew(0, None)
        for book, ledger in self.gateways.values():
            await book.aclose()
            await ledger.close()


async def live(where, todo):
    with Budgets(where) as store:
        store.set(Budget("all", LIMIT))
        store.set(Budget("a", LIMIT, "key:a", Window.parse("day")))
    world = World(where)
    for name, *arguments in todo:
        await getattr(world, name)(*arguments)
    await world.end()
    return world


@settings(max_examples=25, deadline=None)
@given(todo=steps)
def test_charges_sums_and_what_was_billed_agree(todo):
    with tempfile.TemporaryDirectory() as folder:
        where = str(Path(folder) / "l.db")
        world = asyncio.run(live(where, todo))
        found = rows(where, "SELECT operation_id, budget, pico FROM charges")
        assert {(row["operation_id"], row["budget"]): row["pico"] for row in found} == (
            world.expected
        )
        summed = sum(row["pico"] for row in rows(where, "SELECT pico FROM spending"))
        assert summed == sum(world.expected.values())
        spent = {status.stored.budget.name: status.spent.pico for status in list_budgets(where)[0]}
        for name in ("all", "a"):
            charged = sum(pico for (_, budget), pico in world.expected.items() if budget == name)
            assert spent[name] == charged
        assert rows(where, "SELECT * FROM leases") == []
        held = "SELECT count(*) AS n FROM reservations"
        assert rows(where, held) == [{"n": len(world.expected)}]
