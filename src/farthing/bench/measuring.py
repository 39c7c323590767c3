"""A thousand inferences under a meter (the protocol of Power Hungry Processing, 2024)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np

from farthing.core.errors import DataError, FarthingError
from farthing.core.money import Cost
from farthing.cost.energy import Interval, Meter, Power, Sampler, shared

IDLE_S = 1.0


class Called(NamedTuple):
    """What one request used; None where unknown."""

    input_tokens: int | None
    output_tokens: int | None
    cost: Cost | None


@dataclass(frozen=True)
class Measured:
    """What the requests took.

    Attributes:
        intervals: when each that was answered ran, in seconds from the first.
        calls: what each used.
        errors: of those that failed.
        joules: of each that was answered; None without a meter or a model of it.
        idle_watts: drawn before the requests began; None if not measured.
        basis: how joules are known.
        meter: its name; None without one.
    """

    intervals: list[Interval]
    calls: list[Called]
    errors: list[str]
    joules: list[float] | None
    idle_watts: float | None
    basis: Literal["measured", "modelled", "unknown"]
    meter: str | None


async def measure(
    ask: Callable[[str], Awaitable[Called]],
    prompts: Sequence[str],
    requests: int = 1000,
    *,
    concurrency: int = 1,
    meter: Meter | None = None,
    watts: float | None = None,
    every: float = 0.05,
    progress: Callable[[], object] = lambda: None,
) -> Measured:
    """Ask `requests` prompts, in turn from `prompts`, and share the joules among them.

    The joules of a request are its share of all that the meter tells while it runs, what the
    machine draws idle included.

    Args:
        ask: answers one prompt; a FarthingError that it raises counts as a failure.
        prompts: representative ones; they are repeated as often as needed.
        requests: how many.
        concurrency: requests at a time.
        meter: of the machine that the model runs on; None where there is none.
        watts: without a meter, power that is assumed while any request runs; None for unknown.
        every: seconds between the meter's readings.
        progress: called after each request.

    Raises:
        DataError: for no prompts, no requests, or a meter that fails.
    """
    if not prompts or requests < 1 or concurrency < 1:
        raise DataError("want a prompt, a request and a request at a time at least")
    idle = None
    if meter is not None:
        with Sampler(meter, every) as before:
            await asyncio.sleep(IDLE_S)
        idle = float(before.power.watts.mean())
    sampler = Sampler(meter, every) if meter is not None else None
    done: list[tuple[Interval, Called]] = []
    errors: list[str] = []
    left = iter(range(requests))

    async def work() -> None:
        for number in left:
            start = time.perf_counter()
            try:
                called = await ask(prompts[number % len(prompts)])
            except FarthingError as error:
                errors.append(str(error))
            else:
                done.append((Interval(start, time.perf_counter()), called))
            progress()

    with sampler or nullcontext():
        await asyncio.gather(*(work() for _ in range(concurrency)))
    done.sort(key=lambda one: one[0])
    intervals, calls = [one[0] for one in done], [one[1] for one in done]
    joules: list[float] | None = None
    basis: Literal["measured", "modelled", "unknown"] = "unknown"
    if intervals and sampler is not None:
        joules, basis = shared(sampler.power, intervals), "measured"
    elif intervals and watts is not None:
        ends = np.array([intervals[0].start, max(i.end for i in intervals) + 1e-9])
        joules, basis = shared(Power(ends, np.full(2, watts)), intervals), "modelled"
    name = None if meter is None else meter.name
    return Measured(intervals, calls, errors, joules, idle, basis, name)


def as_json(found: Measured, grams_per_kwh: float | None = None) -> dict[str, Any]:
    """Totals and means; what is unknown of one request is None in total."""
    count = len(found.intervals)
    seconds = np.array([one.end - one.start for one in found.intervals])
    spent = 0.0
    if count:
        spent = max(one.end for one in found.intervals) - found.intervals[0].start
    told: dict[str, Any] = {
        "requests": count,
        "failed": len(found.errors),
        "first_error": found.errors[0] if found.errors else None,
        "wall_s": spent,
        "requests_per_s": count / spent if spent else None,
        "latency_s": None,
        "input_tokens": _total([call.input_tokens for call in found.calls]),
        "output_tokens": _total([call.output_tokens for call in found.calls]),
        "cost_usd": None,
        "energy": {"basis": found.basis, "meter": found.meter, "idle_watts": found.idle_watts},
    }
    if count:
        told["latency_s"] = {
            "mean": float(seconds.mean()),
            "p50": float(np.quantile(seconds, 0.5)),
            "p95": float(np.quantile(seconds, 0.95)),
        }
    costs = [call.cost for call in found.calls if call.cost is not None]
    if count and len(costs) == count:
        told["cost_usd"] = str(Cost.total(costs))
    total = None if found.joules is None else float(np.sum(found.joules))
    energy = told["energy"]
    energy["joules"] = total
    energy["joules_per_1000_requests"] = None if total is None else total / count * 1000
    energy["joules_p95"] = None
    if found.joules is not None:
        energy["joules_p95"] = float(np.quantile(found.joules, 0.95))
    output = told["output_tokens"]
    energy["joules_per_output_token"] = None if total is None or not output else total / output
    grams = None
    if total is not None and grams_per_kwh is not None:
        grams = total / 3.6e6 * grams_per_kwh / count * 1000
    energy["grams_co2_per_1000_requests"] = grams
    return told


def _total(counts: Sequence[int | None]) -> int | None:
    known = [count for count in counts if count is not None]
    return sum(known) if known and len(known) == len(counts) else None
