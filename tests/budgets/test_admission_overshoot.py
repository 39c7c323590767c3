"""The statistical claims of admission, by simulation; the naive rules beside it fail them."""

from __future__ import annotations

import heapq
import math

import numpy as np
import pytest

from farthing.budgets.admission import Admission
from farthing.budgets.limits import Budget
from farthing.budgets.reservations import Ask, Refusal
from farthing.budgets.windows import Clock
from farthing.core.money import Cost

LIMIT = 10**12
MEAN, SIGMA = 4 * 10**9, 0.8  # picodollars; $0.004
CLIENTS = 64


class Naive:
    """Check, then charge."""

    def __init__(self):
        self.spent = 0

    def admit(self):
        return object() if self.spent < LIMIT else None

    def settle(self, one, cost):
        self.spent += cost


class Ours:
    def __init__(self, alpha=0.05, limit=LIMIT, known=()):
        self.now = 1.8e9
        clock = Clock(lambda: self.now, lambda: self.now)
        self.admission = Admission([Budget("b", Cost(limit), alpha=alpha)], clock=clock)
        self.ask = Ask(frozenset({"all"}), "m", Cost(10**10))
        for cost in known:
            self.admission.learn("m", 0, Cost(cost), seconds(cost))

    def admit(self):
        found = self.admission.admit(self.ask)
        return None if isinstance(found, Refusal) else found

    def settle(self, one, cost):
        self.admission.settle(one, Cost(cost))


def draw(rng, mean=MEAN):
    return round(mean * math.exp(rng.normal(-(SIGMA**2) / 2, SIGMA)))


def seconds(cost):
    return 0.3 + 2e-9 * cost


def run(rule, rng, *, clients=CLIENTS, limit=LIMIT, operations=None, shift=None):
    """Spend over budget in the end, and at the first refusal."""
    now, number, spent, first = 0.0, 0, 0, None
    events = [(0.0, i, None, 0) for i in range(clients)]
    number, flying = clients, 0
    while events:
        now, _, one, cost = heapq.heappop(events)
        if isinstance(rule, Ours):
            rule.now = 1.8e9 + now
        number += 1
        if one is not None:
            rule.settle(one, cost)
            spent, flying = spent + cost, flying - 1
            heapq.heappush(events, (now, number, None, 0))
            continue
        if operations is not None and number > 2 * operations:
            continue
        one = rule.admit()
        if one is not None:
            mean = MEAN * (3 if shift is not None and number > 2 * shift else 1)
            cost = draw(rng, mean)
            heapq.heappush(events, (now + seconds(cost), number, one, cost))
            flying += 1
        else:
            first = spent / limit if first is None else first
            if flying:
                heapq.heappush(events, (now + 1, number, None, 0))
    return spent / limit, first


def ours(seed, known, clients, limit=LIMIT):
    rng = np.random.default_rng(seed)
    rule = Ours(limit=limit, known=[draw(rng) for _ in range(known)])
    return run(rule, rng, clients=clients, limit=limit)


@pytest.mark.parametrize(("clients", "runs"), [(64, 20), (256, 8)])
@pytest.mark.parametrize("known", [0, 300])
def test_overshoot_is_small(clients, runs, known):
    """At most 1 % over in the mean, 3 % at the worst. Check-then-charge: over 30 % each time.

    Holds for half of what operations cost would be over by 11 to 26 % each time.
    """
    finals = [ours(seed, known, clients)[0] for seed in range(runs)]
    naive = [run(Naive(), np.random.default_rng(seed), clients=clients)[0] for seed in range(5)]
    assert np.maximum(np.array(finals) - 1, 0).mean() <= 0.01
    assert max(finals) <= 1.03
    assert min(finals) >= 0.85
    assert min(naive) > 1.3


@pytest.mark.parametrize("known", [0, 300])
def test_a_large_budget_is_used_before_the_first_refusal(known):
    """$10 is more than 20 times what 32 clients have in flight."""
    for seed in range(3):
        final, first = ours(seed, known, 32, 10 * LIMIT)
        assert first >= 0.9
        assert 0.98 <= final <= 1.01


@pytest.mark.parametrize("known", [0, 300])
def test_a_budget_is_used_though_all_clients_begin_at_once(known):
    """$10 is 5 times what 256 clients have in flight, and 80 % is the most there could be."""
    for seed in range(2):
        final, first = ours(seed, known, 256, 10 * LIMIT)
        assert first >= 0.6
        assert 0.98 <= final <= 1.01


@pytest.mark.parametrize("alpha", [0.05, 0.2])
def test_share_above_the_reservation_tracks_alpha_when_costs_treble(alpha):
    """6,000 operations; a share of alpha has a standard error of 0.3 to 0.5 %."""
    rule = Ours(alpha, limit=10**6 * LIMIT)
    run(rule, np.random.default_rng(7), limit=10**6 * LIMIT, operations=6000, shift=3000)
    state = rule.admission.state("b")
    assert state.settled > 5500
    assert abs(state.exceeded / state.settled - alpha) < 0.015
