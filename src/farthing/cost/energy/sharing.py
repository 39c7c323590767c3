"""Joules of each request, in the manner of MELODI: power integrated over its time.

Requests that run at the same moment share the power of that moment evenly, so that the requests'
joules add up to what was drawn while any of them ran. What was drawn while none ran is idle, and
belongs to none of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from farthing.core.errors import DataError
from farthing.cost.energy.sampling import Power


class Interval(NamedTuple):
    """When a request ran, in seconds by the clock of the samples."""

    start: float
    end: float


def shared(power: Power, requests: Sequence[Interval], *, idle_watts: float = 0.0) -> list[float]:
    """The joules of each request.

    Args:
        power: sampled over all of them.
        requests: when each ran.
        idle_watts: taken off first, at most all that is drawn: what the machine draws anyway.

    Raises:
        DataError: for a request that ends before it starts, or outlasts the samples.
    """
    for place, request in enumerate(requests):
        if request.end < request.start:
            raise DataError(f"request {place} ends before it starts")
    lowered = Power(power.times, (power.watts - idle_watts).clip(0)) if idle_watts else power
    edges = sorted({edge for request in requests for edge in request})
    starts = sorted(range(len(requests)), key=lambda i: requests[i].start)
    joules = [0.0] * len(requests)
    running: set[int] = set()
    coming = 0
    for left, right in pairwise(edges):
        while coming < len(starts) and requests[starts[coming]].start <= left:
            running.add(starts[coming])
            coming += 1
        running = {i for i in running if requests[i].end > left}
        if running:
            each = lowered.joules(left, right) / len(running)
            for i in running:
                joules[i] += each
    return joules
