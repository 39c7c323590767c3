"""Whatever the order of events, not a picodollar is lost or invented."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from farthing.budgets.admission import Admission
from farthing.budgets.limits import Budget
from farthing.budgets.reservations import Ask, Refusal, Reservation
from farthing.budgets.windows import Clock
from farthing.core.money import Cost

BUDGETS = [
    Budget("all", Cost(5 * 10**12), alpha=0.1),
    Budget("alice", Cost(10**12), "key:alice"),
    Budget("worst", Cost(2 * 10**12), "team:a", mode="worst-case"),
    Budget("soft", Cost(10**11), "tag:t=1", soft=True),
]
SCOPES = {budget.name: budget.scope for budget in BUDGETS}
COSTS = st.integers(0, 3 * 10**11)


class Money(RuleBasedStateMachine):
    """A model that only adds integers, beside an admission that crashes now and then."""

    def __init__(self):
        super().__init__()
        self.wall, self.ticks = 1.8e9, 0.0
        self.open: dict[str, Reservation] = {}
        self.spent = dict.fromkeys(SCOPES, 0)
        self.admission = self.fresh()

    def fresh(self):
        return Admission(BUDGETS, clock=Clock(lambda: self.wall, lambda: self.ticks))

    @rule(
        bound=st.none() | COSTS,
        typical=st.integers(1, 10**11),
        alice=st.booleans(),
        length=st.integers(0, 1),
    )
    def admit(self, bound, typical, alice, length):
        scopes = frozenset({"all", "tag:t=1", *(("key:alice", "team:a") if alice else ())})
        ask = Ask(scopes, "m", Cost(typical), None if bound is None else Cost(bound), length)
        before = [self.admission.state(name) for name in SCOPES]
        found = self.admission.admit(ask)
        if isinstance(found, Refusal):
            assert before == [self.admission.state(name) for name in SCOPES]
            state = self.admission.state(found.name)
            assert (found.limit, found.spent) == (state.limit, state.spent)
            assert found.in_flight == state.in_flight
            assert found.name != "soft"
            assert found.reason == "unbounded" or found.needed > found.limit
            assert found.name in found.message
        else:
            assert set(found.holds) == {n for n, scope in SCOPES.items() if scope in scopes}
            self.open[found.id] = found
            for name in found.holds:
                state = self.admission.state(name)
                fits = state.spent + state.in_flight <= state.limit
                assert fits or name == "soft"

    @precondition(lambda self: self.open)
    @rule(data=st.data(), cost=st.none() | COSTS)
    def settle(self, data, cost):
        one = self.open.pop(data.draw(st.sampled_from(sorted(self.open))))
        settled = self.admission.settle(one, None if cost is None else Cost(cost))
        assert settled.assumed == (cost is None)
        for name, hold in one.holds.items():
            self.spent[name] += hold.pico if cost is None else cost

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def cancel(self, data):
        self.admission.cancel(self.open.pop(data.draw(st.sampled_from(sorted(self.open)))))

    @rule(wait=st.floats(0, 1000), jump=st.floats(-5000, 5000))
    def wait(self, wait, jump):
        self.ticks += wait
        self.wall += wait + jump

    @rule()
    def crash(self):
        """The process dies; a new one takes over from what was stored."""
        stored = [one.to_json() for one in self.open.values()]
        self.admission = self.fresh()
        now = datetime.fromtimestamp(self.wall, UTC)
        for name, spent in self.spent.items():
            self.admission.restore({SCOPES[name]}, Cost(spent), now)
        found = [Reservation.from_json(one) for one in stored]
        assert self.admission.recover(found) == len(found)

    @invariant()
    def sums_are_exact(self):
        for name in SCOPES:
            state = self.admission.state(name)
            mine = [one.holds[name].pico for one in self.open.values() if name in one.holds]
            assert state.spent.pico == self.spent[name]
            assert state.held.pico == sum(mine)
            assert state.open == len(mine)
            assert state.in_flight.pico >= 0
            assert (state.in_flight.pico > 0) <= bool(mine)
            assert state.assumed.pico >= 0


Money.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestMoney = Money.TestCase
