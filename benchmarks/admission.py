"""Admission rules under concurrency, simulated: does the budget hold, and is it used?

Clients keep a number of requests in flight: whenever one ends, the next is tried; a refused client
tries again after a second, until nothing is in flight. Outputs are log-normal with a mean of 400
tokens at $10 a million; a request takes 0.3 s and 20 ms a token, so that long ones are in flight
for longer (`--fixed-time`: all take 8.3 s). Nothing is known of the costs at the start, or the
costs of `--learned` earlier requests are.

Rules: check-then-charge looks only at what is spent; worst case holds the price of max_tokens
(of 16384 without one); independent adds up the 95 % quantiles of each request; joint is Farthing's.
"""

from __future__ import annotations

import argparse
import heapq
import itertools
import math
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from _common import environment, markdown
from rich.console import Console
from rich.progress import track

from farthing.budgets.admission import Admission
from farthing.budgets.limits import Budget
from farthing.budgets.reservations import Ask, Refusal, Reservation
from farthing.budgets.windows import Clock
from farthing.core.money import Cost, Rates

MEAN_TOKENS = 400
RATES = Rates.per_million("0", "10")
FALLBACK_TOKENS = 16384
RETRY_S = 1.0


class Rule(Protocol):
    """Admits by number; `now` is in seconds."""

    def admit(self, number: int, max_tokens: int | None, now: float) -> bool: ...
    def settle(self, number: int, cost: int, now: float) -> None: ...
    def learn(self, cost: int, seconds: float) -> None: ...


class CheckThenCharge:
    """What is in flight is not counted."""

    def __init__(self, limit: int) -> None:
        self.limit, self.spent = limit, 0

    def admit(self, number: int, max_tokens: int | None, now: float) -> bool:
        return self.spent < self.limit

    def settle(self, number: int, cost: int, now: float) -> None:
        self.spent += cost

    def learn(self, cost: int, seconds: float) -> None:
        pass


class WorstCase:
    """The price of max_tokens is held for each request."""

    def __init__(self, limit: int) -> None:
        self.limit, self.spent, self.held = limit, 0, 0
        self.holds: dict[int, int] = {}

    def hold(self, max_tokens: int | None) -> int:
        return (max_tokens or FALLBACK_TOKENS) * RATES.output

    def admit(self, number: int, max_tokens: int | None, now: float) -> bool:
        hold = self.hold(max_tokens)
        if self.spent + self.held + hold > self.limit:
            return False
        self.holds[number] = hold
        self.held += hold
        return True

    def settle(self, number: int, cost: int, now: float) -> None:
        self.spent += cost
        self.held -= self.holds.pop(number)

    def learn(self, cost: int, seconds: float) -> None:
        pass


class Independent(WorstCase):
    """The conformal 95 % quantile of the last 256 costs is held for each request.

    The worst case until there are 19 costs.
    """

    def __init__(self, limit: int, alpha: float = 0.05) -> None:
        super().__init__(limit)
        self.alpha, self.costs = alpha, list[int]()

    def hold(self, max_tokens: int | None) -> int:
        recent = sorted(self.costs[-256:])
        rank = math.ceil((len(recent) + 1) * (1 - self.alpha))
        worst = super().hold(max_tokens)
        return worst if rank > len(recent) else min(worst, recent[rank - 1])

    def settle(self, number: int, cost: int, now: float) -> None:
        super().settle(number, cost, now)
        self.costs.append(cost)

    def learn(self, cost: int, seconds: float) -> None:
        self.costs.append(cost)


class Joint:
    """Farthing's admission."""

    def __init__(self, limit: int, alpha: float = 0.05) -> None:
        self.time, self.taken, self.calls = 1e9, 0.0, 0
        clock = Clock(lambda: self.time, lambda: self.time)
        self.admission = Admission([Budget("b", Cost(limit), alpha=alpha)], clock=clock)
        self.open: dict[int, Reservation] = {}

    def admit(self, number: int, max_tokens: int | None, now: float) -> bool:
        self.time = 1e9 + now
        ask = Ask.of(["all"], "m", input_tokens=1, max_tokens=max_tokens, calls=[(RATES, 1)])
        begin = time.thread_time()
        found = self.admission.admit(ask)
        self.taken += time.thread_time() - begin
        self.calls += 1
        if isinstance(found, Refusal):
            return False
        self.open[number] = found
        return True

    def settle(self, number: int, cost: int, now: float) -> None:
        self.time = 1e9 + now
        begin = time.thread_time()
        self.admission.settle(self.open.pop(number), Cost(cost))
        self.taken += time.thread_time() - begin

    def learn(self, cost: int, seconds: float) -> None:
        self.admission.learn("m", 1, Cost(cost), seconds)


RULES: dict[str, Callable[[int], Rule]] = {
    "check-then-charge": CheckThenCharge,
    "worst case": WorstCase,
    "independent quantiles": Independent,
    "joint (Farthing)": Joint,
}


@dataclass(frozen=True)
class Load:
    """What one simulation is given."""

    in_flight: int
    limit: int  # picodollars
    max_tokens: int | None
    sigma: float = 0.8
    fixed_time: bool = False
    learned: int = 0


@dataclass(frozen=True)
class Outcome:
    """Final spend over budget; spend over budget at the first refusal; mean in flight, USD."""

    final: float
    first: float
    in_flight: float


def simulate(rule: Rule, load: Load, seed: int) -> Outcome:
    """Run clients against a rule until nothing is admitted any more."""
    rng = np.random.default_rng(seed)
    mu = math.log(MEAN_TOKENS) - load.sigma**2 / 2
    numbers = itertools.count()
    # time, number, cost; a cost of -1 is a try
    events = [(0.0, next(numbers), -1) for _ in range(load.in_flight)]

    def draw() -> tuple[int, float]:
        tokens = max(1, round(math.exp(rng.normal(mu, load.sigma))))
        tokens = min(tokens, load.max_tokens or tokens)
        seconds = 0.3 + 0.02 * (MEAN_TOKENS if load.fixed_time else tokens)
        return tokens * RATES.output, seconds

    for _ in range(load.learned):
        rule.learn(*draw())
    spent = flying = open_now = 0
    first: float | None = None
    held: list[int] = []
    last_change = 0.0
    while events:
        now, number, cost = heapq.heappop(events)
        if cost >= 0:
            rule.settle(number, cost, now)
            spent += cost
            flying -= cost
            open_now -= 1
            last_change = now
            heapq.heappush(events, (now, next(numbers), -1))
            continue
        if rule.admit(number, load.max_tokens, now):
            cost, seconds = draw()
            flying += cost
            open_now += 1
            last_change = now
            heapq.heappush(events, (now + seconds, number, cost))
        else:
            first = spent / load.limit if first is None else first
            if open_now or now - last_change < 3 * RETRY_S:
                heapq.heappush(events, (now + RETRY_S, next(numbers), -1))
        held.append(flying)
    return Outcome(spent / load.limit, 1.0 if first is None else first, max(held) / 1e12)


def cell(values: list[float], digits: int = 3) -> str:
    return f"{statistics.mean(values):.{digits}f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--sigma", type=float, default=0.8, help="of the log of the tokens")
    parser.add_argument("--budgets", default="1,10", help="USD")
    parser.add_argument("--in-flight", default="64,256")
    parser.add_argument("--fixed-time", action="store_true", help="all requests take as long")
    parser.add_argument("--learned", type=int, default=0, help="costs known at the start")
    parser.add_argument("--rules", default=",".join(RULES))
    parser.add_argument("--out", type=Path, help="also write the table to this file")
    given = parser.parse_args()
    numbers = [int(x) for x in given.in_flight.split(",")]
    limits = [Cost.from_usd(x).pico for x in given.budgets.split(",")]
    loads = [
        Load(count, limit, tokens, given.sigma, given.fixed_time, given.learned)
        for count, limit, tokens in itertools.product(numbers, limits, (4096, None))
    ]
    tasks = list(itertools.product(loads, given.rules.split(",")))
    rows = []
    taken, calls = 0.0, 0
    console = Console(file=sys.stderr)
    for load, name in track(tasks, "simulating", console=console):
        outcomes = []
        for seed in range(given.seeds):
            rule = RULES[name](load.limit)
            outcomes.append(simulate(rule, load, seed))
            if isinstance(rule, Joint):
                taken, calls = taken + rule.taken, calls + rule.calls
        finals = [x.final for x in outcomes]
        over = [max(0.0, x.final - 1) for x in outcomes]
        rows.append(
            [
                f"{load.in_flight}",
                f"${load.limit / 1e12:.0f}",
                f"{load.max_tokens or 'none'}",
                name,
                cell(finals),
                f"{max(finals):.3f}",
                f"{100 * statistics.mean(over):.2f} %",
                f"{100 * statistics.mean(x.first for x in outcomes):.1f} %",
                f"{100 * min(x.first for x in outcomes):.1f} %",
                f"{load.limit / 1e12 / statistics.mean(x.in_flight for x in outcomes):.1f}",
            ]
        )
    columns = [
        "in flight",
        "budget",
        "max_tokens",
        "rule",
        "final / budget, mean",
        "worst",
        "mean overshoot",
        "used at first refusal, mean",
        "least",
        "budget / in-flight cost",
    ]
    table = markdown(columns, rows)
    shape = f"sigma {given.sigma}, {'fixed time' if given.fixed_time else 'time by tokens'}"
    shape += f", {given.learned} costs known at the start"
    print(f"{environment()}\n{given.seeds} seeds, {shape}\n\n{table}")
    if calls:
        print(f"\njoint: {1e6 * taken / calls:.0f} microseconds for each admit, with its settle")
    if given.out:
        given.out.write_text(table + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
