"""Budgets that come into force while operations are in flight."""

import asyncio
from datetime import UTC, datetime

import pytest

from farthing.budgets.kept import BudgetBook, KeptAdmission
from farthing.budgets.limits import Budget
from farthing.budgets.reservations import Ask, Reservation
from farthing.budgets.stored import Budgets, StoredBudget
from farthing.core.errors import BudgetError
from farthing.core.money import Cost

USD = Cost.from_usd(1)
ASK = Ask(frozenset({"all"}), "m", USD)


def stored(name, scope="all"):
    return StoredBudget(Budget(name, USD * 1000, scope), datetime.now(UTC))


def test_each_operation_counts_once_whenever_it_settles():
    admission = KeptAdmission()
    admission.exchange([(stored("first"), [])], set())
    early, between, late = (admission.admit(ASK, id=id) for id in ("early", "between", "late"))
    admission.settle(early, USD)  # the ledger's sums have it
    assert set(admission.watch()) == {"between", "late"}  # the sums leave these out
    admission.settle(between, USD * 10)
    new = admission.admit(ASK)  # begins after the sums' end
    admission.settle(new, USD * 100)
    admission.exchange(
        [(stored("second"), [(datetime.now(UTC), USD.pico)]), (stored("other", "key:a"), [])],
        {"first"},
    )
    admission.unwatch()
    assert admission.state("second").spent == USD * 111
    assert admission.state("second").open == admission.state("first").open == 1
    admission.settle(late, USD * 200)
    assert admission.state("second").spent == admission.state("first").spent == USD * 311
    assert admission.state("second").open == 0
    assert admission.state("other").spent == Cost(0)


def test_what_is_removed_is_not_charged_any_more():
    admission = KeptAdmission()
    admission.exchange([(stored("first"), [])], set())
    running = admission.admit(ASK)
    admission.watch()
    admission.exchange([], set())
    assert not admission.has_budgets
    admission.settle(running, USD)
    assert isinstance(admission.admit(ASK), Reservation)


async def test_many_at_once_read_once(tmp_path):
    with Budgets(tmp_path / "farthing.db") as store:
        store.set(Budget("a", USD))
        book = BudgetBook(tmp_path / "farthing.db")
        admissions = await asyncio.gather(*(book.current() for _ in range(20)))
        assert all(admission.names == ["a"] for admission in admissions)
        book.close()


def test_a_name_that_was_removed_begins_anew(tmp_path):
    with Budgets(tmp_path / "farthing.db") as store:
        assert not store.set(Budget("a", USD))
        assert store.top_up("a", USD) == USD * 2
        store.remove("a")
        with pytest.raises(BudgetError, match="there is no budget 'a'"):
            store.top_up("a", USD)
        assert not store.set(Budget("a", USD * 5))
        assert store.top_up("a", USD) == USD * 6
