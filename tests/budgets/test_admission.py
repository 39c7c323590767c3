from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from farthing.budgets.admission import Admission
from farthing.budgets.limits import Budget, RateLimit, scopes
from farthing.budgets.reservations import Ask, Refusal, Reservation
from farthing.budgets.windows import Clock, Window
from farthing.core.errors import BudgetError
from farthing.core.money import Cost, Rates

RATES = Rates.per_million("1", "10")


def usd(text):
    return Cost.from_usd(text)


class Time:
    """Wall and monotonic clock, set by hand."""

    def __init__(self, start="2026-11-20T12:00:00+00:00"):
        self.now = datetime.fromisoformat(start).timestamp()
        self.clock = Clock(lambda: self.now, lambda: self.now)


def ask(max_tokens=1000, input_tokens=100, route="m", **whose):
    return Ask.of(
        scopes(**whose), route, input_tokens=input_tokens, max_tokens=max_tokens, calls=[(RATES, 1)]
    )


def test_what_is_asked():
    found = ask(max_tokens=200)
    assert found.bound == usd("0.0021")
    assert found.typical == usd("0.0021")
    assert found.tokens == 300
    found = ask(max_tokens=None)
    assert found.bound is None
    assert found.typical == usd("0.0101")
    both = Ask.of({"all"}, "p", input_tokens=0, max_tokens=10, calls=[(RATES, 5), (RATES, 1)])
    assert both.bound == usd("0.0006")


def test_worst_case_holds_the_bound_and_settles_to_the_cost():
    time = Time()
    admission = Admission(
        [Budget("b", usd("0.0202"), mode="worst-case", window=Window.parse("day"))],
        clock=time.clock,
    )
    one, two = admission.admit(ask()), admission.admit(ask())
    assert one.reserved == usd("0.0101")
    refusal = admission.admit(ask())
    assert isinstance(refusal, Refusal)
    assert (refusal.name, refusal.scope, refusal.reason) == ("b", "all", "budget")
    assert refusal.limit == usd("0.0202")
    assert refusal.spent == Cost(0)
    assert refusal.in_flight == usd("0.0202")
    assert refusal.needed == usd("0.0303")
    assert refusal.resets_at == datetime(2026, 11, 21, tzinfo=UTC)
    assert refusal.retry_after_s == 1
    assert refusal.message == (
        "budget b (all) of 0.0202 USD: 0 spent, 0.0202 held in flight, 0.0303 with this request; "
        "resets at 2026-11-21T00:00:00Z"
    )
    assert admission.settle(one, usd("0.02")).exceeded == ("b",)
    state = admission.state("b")
    assert (state.spent, state.held, state.open) == (usd("0.02"), usd("0.0101"), 1)
    assert admission.admit(ask()).retry_after_s == 12 * 3600
    admission.cancel(two)
    assert admission.state("b").held == Cost(0)
    time.now += 12 * 3600
    assert isinstance(admission.admit(ask()), Reservation)


def test_worst_case_refuses_what_nothing_bounds():
    admission = Admission([Budget("b", usd(1), mode="worst-case")])
    refusal = admission.admit(ask(max_tokens=None))
    assert refusal.reason == "unbounded"
    assert "set max_tokens" in refusal.message
    assert refusal.retry_after_s is None


def test_all_budgets_or_none():
    admission = Admission(
        [
            Budget("all", usd(1), mode="worst-case"),
            Budget("alice", usd("0.015"), "key:alice", mode="worst-case"),
        ],
        [RateLimit("often", requests=10)],
    )
    assert isinstance(admission.admit(ask(key="alice")), Reservation)
    assert admission.admit(ask(key="alice")).name == "alice"
    assert admission.state("all").held == usd("0.0101")
    assert isinstance(admission.admit(ask(key="bob")), Reservation)
    assert admission.state("all").open == 2


def test_soft_budgets_warn():
    admission = Admission([Budget("s", usd("0.001"), soft=True, mode="worst-case")])
    found = admission.admit(ask())
    assert [(w.name, w.soft) for w in found.warnings] == [("s", True)]
    admission.settle(found, usd("0.005"))
    assert admission.state("s").spent == usd("0.005")


def test_unknown_costs_are_charged_as_reserved():
    admission = Admission([Budget("b", usd(1), mode="worst-case")])
    settled = admission.settle(admission.admit(ask()), None)
    assert settled.assumed
    state = admission.state("b")
    assert state.spent == state.assumed == usd("0.0101")
    assert (state.settled, state.exceeded) == (0, 0)


def test_misuse():
    admission = Admission([Budget("b", usd(1))])
    one = admission.admit(ask(), id="x")
    with pytest.raises(ValueError, match="already in flight"):
        admission.admit(ask(), id="x")
    with pytest.raises(ValueError, match="cannot cost"):
        admission.settle(one, Cost(-1))
    admission.settle(one, usd("0.001"))
    for again in (lambda: admission.settle(one, usd("0.001")), lambda: admission.cancel(one)):
        with pytest.raises(BudgetError, match="not in flight"):
            again()
    with pytest.raises(BudgetError, match="there are: b"):
        admission.state("c")
    with pytest.raises(ValueError, match="two limits"):
        Admission([Budget("b", usd(1)), Budget("b", usd(1))])


def test_top_up():
    admission = Admission(
        [Budget("b", usd(0), mode="worst-case"), Budget("d", usd(1), window=Window.parse("day"))]
    )
    refusal = admission.admit(ask())
    assert (refusal.name, refusal.retry_after_s) == ("b", None)
    assert admission.top_up("b", usd("0.02")).limit == usd("0.02")
    assert isinstance(admission.admit(ask()), Reservation)
    with pytest.raises(BudgetError, match="window total"):
        admission.top_up("d", usd(1))
    with pytest.raises(ValueError, match="cannot top up"):
        admission.top_up("b", usd(-1))


def test_cap_is_the_least_per_operation():
    budgets = [Budget(f"b{i}", usd(9), per_operation=usd(x)) for i, x in enumerate("312")]
    assert Admission(budgets).admit(ask()).cap == usd(1)
    assert Admission().admit(ask()).cap is None


def test_rates():
    time = Time()
    admission = Admission(
        rates=[RateLimit("requests", requests=2), RateLimit("tokens", "key:a", tokens=1500)],
        clock=time.clock,
    )
    one = admission.admit(ask(key="a"))
    refusal = admission.admit(ask(key="a"))
    assert (refusal.name, refusal.reason, refusal.retry_after_s) == ("tokens", "rate", 1)
    assert (refusal.spent, refusal.in_flight, refusal.limit) == (0, 1100, 1500)
    admission.settle(one, usd("0.001"), tokens=300)
    time.now += 10
    two = admission.admit(ask(key="a"))
    refusal = admission.admit(ask())
    assert (refusal.name, refusal.retry_after_s) == ("requests", 50)
    assert refusal.message.startswith("rate limit requests (all) of 2 a minute: 2 spent")
    admission.cancel(two)
    assert isinstance(admission.admit(ask()), Refusal)  # what was cancelled still was a request
    time.now += 51
    assert isinstance(admission.admit(ask()), Reservation)


def test_recover_and_restore():
    time = Time()
    budget = Budget("b", usd("0.03"), window=Window.parse("1h"), mode="worst-case")
    first = Admission([budget], clock=time.clock)
    kept = [first.admit(ask()), first.admit(ask(max_tokens=None, input_tokens=3))]
    assert isinstance(kept[1], Refusal)
    stored = json.loads(json.dumps(kept[0].to_json()))
    time.now += 100
    second = Admission([budget], clock=time.clock)
    for hours, cost in ((-2, "9"), (0, "0.015")):
        at = datetime.fromtimestamp(time.now, UTC) + timedelta(hours=hours)
        second.restore({"all"}, usd(cost), at)
    found = Reservation.from_json(stored)
    assert found == kept[0]
    assert second.recover([found]) == 1
    assert second.recover([found]) == 0
    state = second.state("b")
    assert (state.spent, state.held, state.open) == (usd("0.015"), usd("0.0101"), 1)
    assert second.open == [found]
    assert isinstance(second.admit(ask()), Refusal)
    second.settle(found, usd("0.002"))
    assert second.state("b").spent == usd("0.017")


def test_reservations_are_learned_by_route_and_length():
    time = Time()
    admission = Admission([Budget("b", usd(100))], clock=time.clock)
    prior = admission.admit(ask(max_tokens=None)).reserved
    assert prior > usd("0.0101")
    for i in range(100):
        admission.settle(admission.admit(ask(max_tokens=None)), Cost(10**9 * (1 + i)))
        time.now += 1
    assert usd("0.09") < admission.admit(ask(max_tokens=None)).reserved < usd("0.15")
    assert admission.admit(ask(max_tokens=1)).reserved == usd("0.00011")  # max_tokens bounds it
    assert admission.admit(ask(max_tokens=None, route="other")).reserved == prior
    assert admission.admit(ask(max_tokens=None, input_tokens=9000)).reserved > prior
    learned = Admission([Budget("b", usd(100))], clock=time.clock)
    for i in range(100):
        learned.learn("m", 7, Cost(10**9 * (1 + i)), 1.0)
    assert usd("0.09") < learned.admit(ask(max_tokens=None)).reserved < usd("0.11")


def test_what_has_run_long_is_held_to_cost_more():
    time = Time()
    admission = Admission([Budget("b", usd(100))], clock=time.clock)
    for i in range(100):
        admission.learn("m", 7, Cost(10**8 * (1 + i)), 0.1 * (1 + i))
    one = admission.admit(ask(max_tokens=None))
    new = admission.state("b").in_flight
    time.now += 9.5
    held = admission.state("b")
    assert held.in_flight > new
    assert held.held == one.reserved
    for _ in range(80):
        admission.admit(ask(max_tokens=None))
    held = admission.state("b")
    assert held.in_flight.pico < 0.75 * held.held.pico  # a sum varies less than its parts


def test_a_clock_set_back_opens_no_window():
    time = Time("2026-11-30T23:59:50+00:00")
    ticks = [0.0]
    clock = Clock(lambda: time.now, lambda: ticks[0])
    budget = Budget("b", usd("0.0101"), window=Window.parse("month"), mode="worst-case")
    admission = Admission([budget], clock=clock)
    time.now += 20  # December
    admission.settle(admission.admit(ask()), usd("0.0101"))
    time.now -= 3600
    assert isinstance(admission.admit(ask()), Refusal)
    assert admission.state("b").spent == usd("0.0101")
