"""Budgets that come into force while operations are in flight."""

from datetime import UTC, datetime

import pytest

from farthing.budgets.kept import KeptAdmission
from farthing.budgets.limits import Budget, RateLimit
from farthing.budgets.reservations import Ask
from farthing.budgets.stored import Budgets, StoredBudget, StoredRate
from farthing.budgets.windows import Window
from farthing.core.errors import BudgetError
from farthing.core.money import Cost
from farthing.ledger import MemoryLedger

USD = Cost.from_usd(1)
ASK = Ask(frozenset({"all"}), "m", USD)


def stored(name, number, scope="all"):
    return StoredBudget(Budget(name, USD * 1000, scope), datetime.now(UTC), number)


def admission_with(*limits):
    admission = KeptAdmission(MemoryLedger(), "gw")
    admission.exchange(limits, [])
    for account in admission.shared:
        account.share.lease = 10**18
    return admission


def begin(admission, name):
    reservation = admission.admit(ASK, id=name)
    admission.book(reservation)
    return reservation


def test_what_is_in_flight_is_held_and_charged_in_a_new_budget_too():
    admission = admission_with(stored("first", 1))
    ledger = admission._ledger
    early, late = begin(admission, "early"), begin(admission, "late")
    admission.settle(early, USD)
    new = admission.exchange([stored("first", 1), stored("second", 2), stored("b", 3, "key:b")], [])
    assert [s.budget.name for s in new] == ["second", "b"]
    assert admission.state("second").open == admission.state("first").open == 1
    admission.settle(late, USD * 10)
    assert [(row.operation_id, row.budget, row.cost) for row in ledger.charges] == [
        ("early", "first", USD),
        ("late", "first", USD * 10),
        ("late", "second", USD * 10),
    ]
    assert [(row.operation_id, row.counted_as) for row in ledger.reservations] == [
        ("early", 1),
        ("late", 1),
        ("late", 2),
    ]
    assert admission.state("first").spent == USD * 11
    assert admission.state("b").spent == Cost(0)


def test_a_new_limit_of_the_same_counting_keeps_what_is_spent():
    admission = admission_with(stored("first", 1))
    admission.settle(begin(admission, "a"), USD)
    raised = StoredBudget(Budget("first", USD * 2000), datetime.now(UTC), 1)
    assert admission.exchange([raised], []) == []
    assert admission.state("first").limit == USD * 2000
    assert admission.state("first").spent == USD


def test_what_is_removed_is_not_charged_any_more():
    admission = admission_with(stored("first", 1))
    running = begin(admission, "a")
    admission.exchange([], [])
    assert not admission.has_limits
    admission.settle(running, USD)
    assert admission._ledger.charges == []


def test_rates_are_exchanged_too():
    admission = KeptAdmission(MemoryLedger(), "gw")
    admission.exchange([], [StoredRate(RateLimit("often", requests=2), 4)])
    assert admission.admit(ASK).name == "often"  # no lease yet
    [often] = admission.shared
    often.share.lease = 2
    admission.admit(ASK)
    admission.exchange([], [StoredRate(RateLimit("often", requests=2), 4)])
    admission.admit(ASK)
    assert admission.admit(ASK).reason == "rate"
    admission.exchange([], [StoredRate(RateLimit("often", requests=9), 5)])
    [anew] = admission.shared
    assert (anew.share.lease, anew.limit) == (0, 9)


def test_a_name_that_was_removed_begins_anew(where):
    with Budgets(where) as store:
        assert not store.set(Budget("a", USD))
        assert store.top_up("a", USD) == USD * 2
        store.remove("a")
        with pytest.raises(BudgetError, match="there is no budget 'a'"):
            store.top_up("a", USD)
        assert not store.set(Budget("a", USD * 5))
        assert store.top_up("a", USD) == USD * 6


def test_a_rate_is_set_in_place_of_a_budget_and_cannot_be_topped_up(where):
    with Budgets(where) as store:
        store.set(Budget("a", USD))
        assert store.set_rate(RateLimit("a", tokens=100))
        with pytest.raises(BudgetError, match="a is a rate limit"):
            store.top_up("a", USD)
        store.remove("a")
        assert not store.set_rate(RateLimit("a", "key:x", requests=100))


@pytest.mark.parametrize("window", ["day", "total", "90m", "1s", "30d"])
def test_the_parts_of_a_window_hold_what_is_summed_up_in_them(window):
    budget = StoredBudget(
        Budget("a", USD, window=Window.parse(window)), datetime(2026, 1, 1, tzinfo=UTC), 1
    )
    now = datetime(2026, 3, 4, 5, 6, 7, 890, tzinfo=UTC)
    assert budget.begins(now) <= budget.since(now) <= now
    assert budget.since(budget.since(now)) == budget.since(now)
