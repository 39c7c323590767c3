"""A discrete-event simulation of continuous batching, against which `stability` is checked."""

from __future__ import annotations

import heapq
from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from farthing.core.errors import DataError
from farthing.cost.queueing.engine import WATERMARK, Engine
from farthing.cost.queueing.workload import Lengths


@dataclass(frozen=True)
class Run:
    """What a simulated server did.

    Attributes:
        arrived, finished: seconds of each request.
        thrown_out: times that a request was, to be read again.
        steps: that wrote tokens.
        mean_batch: requests running in a step.
    """

    arrived: NDArray[np.float64]
    finished: NDArray[np.float64]
    thrown_out: int
    steps: int
    mean_batch: float

    def throughput(self) -> float:
        """Requests a second, between the first and the last tenth to finish."""
        order = np.sort(self.finished)
        first, last = len(order) // 10, len(order) - len(order) // 10 - 1
        return float((last - first) / (order[last] - order[first]))

    def backlog(self, at: float) -> int:
        """Requests that have arrived and not finished at a time."""
        return int((self.arrived <= at).sum() - (self.finished <= at).sum())


def saturated(engine: Engine, lengths: Lengths) -> Run:
    """All requests wait from the beginning: its throughput is the stability limit."""
    return simulate(engine, lengths, np.zeros(len(lengths)))


def simulate(engine: Engine, lengths: Lengths, arrivals: NDArray[np.float64]) -> Run:
    """Serve requests that arrive at `arrivals`, seconds, rising; every step is simulated.

    DataError if some request does not fit into the cache by itself.
    """
    inputs, outputs = lengths.inputs.tolist(), lengths.outputs.tolist()
    if max(map(sum, zip(inputs, outputs, strict=True))) > engine.capacity:
        raise DataError("a request does not fit into the cache: leave it out (Lengths.within)")
    state = _State(engine, inputs, outputs)
    finished = np.full(len(inputs), np.nan)
    now, coming = 0.0, 0
    due = arrivals.tolist()
    while True:
        while coming < len(due) and due[coming] <= now:
            state.waiting.append(coming)
            coming += 1
        if state.fits():
            now += state.admit()
        elif state.running:
            until = due[coming] if coming < len(due) and not state.waiting else None
            now = state.advance(now, until)
        elif coming < len(due):
            now = due[coming]
            continue
        else:
            break
        for request in state.done():
            finished[request] = now
    steps = max(1, state.steps)
    return Run(
        np.asarray(arrivals, float),
        finished,
        state.thrown_out,
        state.steps,
        state.batches / steps,
    )


class _State:
    """The cache, who runs and who waits."""

    def __init__(self, engine: Engine, inputs: list[int], outputs: list[int]) -> None:
        self.engine, self.inputs, self.outputs = engine, inputs, outputs
        self.waiting: deque[int] = deque()
        self.running: dict[int, int] = {}  # in order of admission: the step that it began at
        self.written = [0] * len(inputs)
        self.ends: list[tuple[int, int]] = []  # (step, request), some of them thrown out since
        self.held = self.reserved = self.clock = 0
        self.steps = self.batches = self.thrown_out = 0
        self._done: list[int] = []

    def fits(self) -> bool:
        """Whether the first in the queue can be let in."""
        if not self.waiting or len(self.running) >= self.engine.most:
            return False
        first = self.waiting[0]
        if self.engine.admission == "whole":
            wanted = self.inputs[first] + self.outputs[first]
            return self.reserved + wanted <= self.engine.capacity
        wanted = self.inputs[first] + self.written[first] + 1
        spare = self.engine.capacity * WATERMARK if self.running else 0
        return self.held + wanted <= self.engine.capacity - spare

    def admit(self) -> float:
        """Read the first in the queue, which writes a token; seconds."""
        request = self.waiting.popleft()
        tokens = self.inputs[request] + self.written[request]
        self.written[request] += 1
        if self.written[request] >= self.outputs[request]:
            self._done.append(request)
        else:
            self.running[request] = self.clock
            self.held += tokens + 1
            self.reserved += self.inputs[request] + self.outputs[request]
            left = self.outputs[request] - self.written[request]
            heapq.heappush(self.ends, (self.clock + left, request))
        return self.engine.prefill(tokens)

    def advance(self, now: float, until: float | None) -> float:
        """Steps up to the next event; the time after them."""
        if self.engine.admission == "grow":
            while self.held + len(self.running) > self.engine.capacity:
                self._throw_out()
        batch = len(self.running)
        while not self._is_valid(self.ends[0]):
            heapq.heappop(self.ends)
        n = self.ends[0][0] - self.clock
        if self.engine.admission == "grow":
            n = min(n, (self.engine.capacity - self.held) // batch)
        taken = 0
        while taken < n:
            now += self.engine.step(batch, self.held)
            self.held += batch
            taken += 1
            if until is not None and now >= until:
                break
        self.clock += taken
        self.steps += taken
        self.batches += taken * batch
        return now

    def done(self) -> list[int]:
        """Those that have written all their tokens since the last call."""
        while self.ends and (not self._is_valid(self.ends[0]) or self.ends[0][0] <= self.clock):
            entry = heapq.heappop(self.ends)
            if self._is_valid(entry):
                request = entry[1]
                del self.running[request]
                self.held -= self.inputs[request] + self.outputs[request]
                self.reserved -= self.inputs[request] + self.outputs[request]
                self._done.append(request)
        found, self._done = self._done, []
        return found

    def _is_valid(self, entry: tuple[int, int]) -> bool:
        end, request = entry
        since = self.running.get(request)
        if since is None:
            return False
        return end == since + self.outputs[request] - self.written[request]

    def _throw_out(self) -> None:
        """The last that was let in goes back to the head of the queue."""
        request, since = self.running.popitem()
        more = self.clock - since
        self.held -= self.inputs[request] + self.written[request] + more
        self.reserved -= self.inputs[request] + self.outputs[request]
        self.written[request] += more
        self.waiting.appendleft(request)
        self.thrown_out += 1
