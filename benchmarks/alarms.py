"""How often certificates that hold are alarmed at over a long life, and how soon drifts are.

    python benchmarks/alarms.py [--streams 400] [--length 20000]

Made-up requests through the monitors that a gateway keeps for a plan (`farthing.risk.certificate`):
alpha is 10 %, 200 questions certified, and an alarm is false with probability at most 1 % (or 5 %).
Plans in PAC mode go over their budget in just 10 % of requests; those in marginal mode
as often as the certification of each left it, 10 % on average. Costs are log-normal.
"""

from __future__ import annotations

import argparse

import numpy as np
from _common import environment, markdown

from farthing.risk.binomial import interval
from farthing.risk.certificate import watched_rate
from farthing.risk.exchangeability import ExchangeabilityMonitor
from farthing.risk.monitor import RateMonitor
from farthing.risk.sequence import allowed_marginal

ALPHA, QUESTIONS, LEVELS, GOOD, SPREAD = 0.1, 200, (0.01, 0.05), 0.06, 0.8
QUIET = (0, 1_000, 10_000)
RATES, FACTORS = (0.12, 0.15, 0.2, 0.3, 0.5), (1.5, 2.0, 4.0)


def monitor(mode: str, level: float) -> RateMonitor:
    """What watches the rate of a plan with 200 certification questions."""
    return RateMonitor(*watched_rate(ALPHA, level, mode=mode, questions=QUESTIONS))


def false_alarms(streams: int, length: int) -> list[list[str]]:
    """A row for each promise: streams with an alarm, at each level, and what that says."""
    rng = np.random.default_rng(1)
    allowed = allowed_marginal(QUESTIONS, ALPHA)
    found: dict[str, list[list[bool]]] = {}
    for _ in range(streams):
        left = rng.beta(allowed + 1, QUESTIONS - allowed)
        for name, mode, true in (
            ("pac", "pac", ALPHA),
            ("marginal", "marginal", left),
            ("marginal, were the bets against alpha", "pac", left),
        ):
            over = (rng.random(length) < true).tolist()
            alarms = [_until(monitor(mode, level), over) < np.inf for level in LEVELS]
            found.setdefault(name, []).append(alarms)
    for seed in range(streams):
        costs = rng.lognormal(0, SPREAD, QUESTIONS + length)
        watch = ExchangeabilityMonitor.after(costs[:QUESTIONS], LEVELS[0], seed=seed)
        for cost in costs[QUESTIONS:].tolist():
            watch.update(cost)
        alarms = [watch.peak >= 1 / level for level in LEVELS]
        found.setdefault("costs as recorded", []).append(alarms)
    rows = []
    for name, told in found.items():
        cells = []
        for alarms in zip(*told, strict=True):
            low, high = interval(sum(alarms), streams)
            cells.append(f"{sum(alarms)} of {streams} ({low:.1%} to {high:.1%})")
        rows.append([name, *cells])
    return rows


def delays(streams: int, longest: int) -> list[list[str]]:
    """A row for each drift: outcomes until the alarm at level 1 %, median / 90 % quantile."""
    rng, rows = np.random.default_rng(2), []
    for mode in ("pac", "marginal"):
        for new in RATES:
            cells = []
            for quiet in QUIET:
                found = []
                for _ in range(streams):
                    rate = monitor(mode, LEVELS[0])
                    for x in (rng.random(quiet) < GOOD).tolist():
                        rate.update(x)
                    found.append(_until(rate, (rng.random(longest) < new).tolist()))
                cells.append(_told(found))
            rows.append([f"{mode}: {GOOD:.0%} to {new:.0%} over", *cells])
    for factor in FACTORS:
        cells = []
        for quiet in QUIET:
            found = []
            for seed in range(streams):
                costs = rng.lognormal(0, SPREAD, QUESTIONS + quiet)
                watch = ExchangeabilityMonitor.after(costs[:QUESTIONS], LEVELS[0], seed=seed)
                for cost in costs[QUESTIONS:].tolist():
                    watch.update(cost)
                drifted = factor * rng.lognormal(0, SPREAD, longest)
                found.append(_until(watch, drifted.tolist()))
            cells.append(_told(found))
        rows.append([f"costs x {factor:g}", *cells])
    return rows


def _until(watch: RateMonitor | ExchangeabilityMonitor, values: list[float]) -> float:
    """How many values until the alarm; NaN if it was there before, infinite without one."""
    if watch.alarm:
        return np.nan
    for count, value in enumerate(values, 1):
        watch.update(value)
        if watch.alarm:
            return count
    return np.inf


def _told(found: list[float]) -> str:
    numbers = np.array([value for value in found if not np.isnan(value)])
    both = np.quantile(numbers, [0.5, 0.9], method="higher")
    return " / ".join(f"{value:,.0f}" if np.isfinite(value) else "never" for value in both)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--streams", type=int, default=400)
    parser.add_argument("--length", type=int, default=20_000, help="requests of a stream")
    parser.add_argument("--drifts", type=int, default=60, help="streams of each drift")
    given = parser.parse_args()
    print(environment() + "\n")
    columns = ["streams with an alarm", *(f"level {level:.0%}" for level in LEVELS)]
    print(markdown(columns, false_alarms(given.streams, given.length)) + "\n")
    columns = ["requests until the alarm", *(f"after {quiet:,}" for quiet in QUIET)]
    print(markdown(columns, delays(given.drifts, given.length)))


if __name__ == "__main__":
    main()
