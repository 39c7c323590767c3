"""How often monitors alarm falsely, and how soon they see an injected drift.

    python benchmarks/drift.py [--streams 200]

Made-up streams: losses of 0 and 1 whose rate was promised to be at most 10 % and is 6 % until the
drift; costs that are log-normal, and rise. Monitors have delta = 0.05.
"""

from __future__ import annotations

import argparse

import numpy as np
from _common import environment, markdown

from farthing.risk.exchangeability import ExchangeabilityMonitor
from farthing.risk.monitor import RateMonitor

ALPHA, DELTA, GOOD = 0.1, 0.05, 0.06
QUIET = (0, 1_000, 10_000)

Monitor = RateMonitor | ExchangeabilityMonitor


def outcomes(monitor: Monitor, values: np.ndarray) -> int | None:
    """How many outcomes until the alarm; None without one."""
    for count, value in enumerate(values, 1):
        monitor.update(float(value))
        if monitor.alarm:
            return count
    return None


def rate(streams: int, quiet: int, drifted: float, length: int) -> list[int | None]:
    """Delays of the monitor of the rate; streams that alarmed before the drift are left out."""
    rng, found = np.random.default_rng(1), []
    for _ in range(streams):
        monitor = RateMonitor(ALPHA, DELTA)
        if outcomes(monitor, rng.random(quiet) < GOOD) is None:
            found.append(outcomes(monitor, rng.random(length) < drifted))
    return found


def costs(streams: int, quiet: int, factor: float, length: int) -> list[int | None]:
    """Delays of the monitor of exchangeability, of costs that rise by `factor`."""
    rng, found = np.random.default_rng(2), []
    for seed in range(streams):
        before, after = (rng.lognormal(0.0, 0.8, count) for count in (200 + quiet, length))
        monitor = ExchangeabilityMonitor.after(before[:200], DELTA, seed=seed)
        if outcomes(monitor, before[200:]) is None:
            found.append(outcomes(monitor, factor * after))
    return found


def row(name: str, delays: list[list[int | None]]) -> list[str]:
    """Median and 90 % quantile of the delays, for each length of quiet before."""
    cells = []
    for found in delays:
        numbers = np.array([np.inf if delay is None else delay for delay in found])
        low, high = np.quantile(numbers, [0.5, 0.9], method="higher")
        cells.append(" / ".join(f"{v:,.0f}" if np.isfinite(v) else "never" for v in (low, high)))
    return [name, *cells]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--streams", type=int, default=200)
    parser.add_argument("--longest", type=int, default=5_000, help="outcomes of a stream")
    given = parser.parse_args()
    streams, longest = given.streams, given.longest
    print(environment() + "\n")
    for name, found in (
        ("rate at 10 %, just as promised", rate(streams, 0, ALPHA, longest)),
        ("costs as before", costs(streams, 0, 1.0, longest)),
    ):
        alarms = sum(delay is not None for delay in found)
        print(f"False alarms within {longest:,}, {name}: {alarms} of {len(found)} streams")
    print()
    rates = [
        row(f"rate {new:.0%}", [rate(streams, quiet, new, longest) for quiet in QUIET])
        for new in (0.15, 0.2, 0.3, 0.5)
    ]
    rises = [
        row(f"costs x {new:g}", [costs(streams, quiet, new, longest) for quiet in QUIET])
        for new in (1.25, 1.5, 2.0, 4.0)
    ]
    columns = ["drift", *(f"after {quiet:,}" for quiet in QUIET)]
    print(markdown(columns, [*rates, *rises]))


if __name__ == "__main__":
    main()
