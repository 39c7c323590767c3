"""What Prometheus reads: counted from the rows that are booked.

With several workers each counts in files of its own, in the folder that the environment variable
PROMETHEUS_MULTIPROC_DIR names, and whichever is asked answers for all of them. A counter of
dollars is a float, as everything in Prometheus; the exact sums are the ledger's.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from time import perf_counter
from typing import TYPE_CHECKING, Any, Literal

from aiohttp import hdrs, web
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
    multiprocess,
)

from farthing.core.errors import RequestError
from farthing.core.money import PICO_PER_USD
from farthing.core.usage import LEAVES
from farthing.gateway.health import HealthMetrics, Healths
from farthing.gateway.watching import Story
from farthing.gateway.workers import FOLDER
from farthing.ledger.rows import AttemptRow
from farthing.ledger.store import State

if TYPE_CHECKING:
    from farthing.gateway.service import Service
    from farthing.ledger.watches import Watch

TICK_S = 1.0
MOST_BUDGETS = 50
OTHERS = "(others)"
"""Stands for the budgets beyond `MOST_BUDGETS`, so that no budget per user floods the metrics."""

_ADDED = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5)
_WHOLE = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
_STATES = ("ok", "spooling", "refusing")


class Metrics:
    """Counts, for one process or for one of several workers."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        counter, gauge = self._counter, self._gauge
        self._operations = counter("operations", "Operations that ended.", "model plan status")
        self._attempts = counter("attempts", "Calls of models.", "model status kind")
        self._tokens = counter("tokens", "Tokens in disjoint leaves.", "model leaf")
        self._cost = counter("cost_usd", "Known costs; exact in the ledger.", "model")
        self._unknown = counter("unknown_cost_attempts", "Calls of unknown cost.", "model")
        self._kept = counter(
            "certificate_operations", "Operations of certified plans, by kept budget.", "plan kept"
        )
        self._alpha = gauge("certificate_alpha", "What a plan promises.", "plan", mode="livemax")
        self._e_value = gauge(
            "certificate_e_value",
            "Capital of the bets against a promise, or against costs being as recorded.",
            "plan monitor",
            mode="livemax",
        )
        self._alarm = gauge(
            "certificate_alarm", "1 once these bets have won.", "plan monitor", mode="livemax"
        )
        self._refusals = counter("refusals", "Requests that a limit refused.", "limit")
        self._responses = counter("http_responses", "Answers by status.", "code")
        self._added = Histogram(
            "farthing_added_latency_seconds",
            "From a request's coming in until it is booked, without the calls of models.",
            registry=self._registry,
            buckets=_ADDED,
        )
        self._whole = Histogram(
            "farthing_operation_seconds",
            "From a request's coming in until it is booked.",
            registry=self._registry,
            buckets=_WHOLE,
        )
        self._lag = Histogram(
            "farthing_event_loop_lag_seconds",
            "How late the event loop is, measured once a second.",
            registry=self._registry,
            buckets=_ADDED,
        )
        self._in_flight = gauge("operations_in_flight", "Operations without an outcome.")
        self._drains = gauge("background_calls", "Calls and postings that no client waits for.")
        self._connections = gauge("connections", "Open connections of clients.")
        self._ledger = gauge("ledger_state", "Processes whose ledger is in this state.", "state")
        self._bypass = gauge("bypass", "1 while plans are switched off.", mode="livemax")
        self._held = gauge("budget_held_usd", "Reserved for operations in flight.", "budget")
        self._exposed = gauge("budget_in_flight_usd", "Held to cost together.", "budget")
        self._lease = gauge("budget_lease_usd", "What may be spent without asking.", "budget")
        self._health = HealthMetrics(counter, gauge)
        self._children: dict[tuple[Any, ...], Any] = {}

    def _counter(self, name: str, text: str, labels: str = "") -> Counter:
        return Counter(f"farthing_{name}", text, labels.split(), registry=self._registry)

    def _gauge(
        self,
        name: str,
        text: str,
        labels: str = "",
        mode: Literal["livesum", "livemax"] = "livesum",
    ) -> Gauge:
        return Gauge(
            f"farthing_{name}",
            text,
            labels.split(),
            registry=self._registry,
            multiprocess_mode=mode,
        )

    def _of(self, metric: Counter | Gauge, *labels: str) -> Any:
        key = (metric, *labels)
        child = self._children.get(key)
        if child is None:
            child = self._children[key] = metric.labels(*labels)
        return child

    def begun(self, story: Story) -> None:
        """Nothing to count yet."""

    def called(self, attempt: AttemptRow) -> None:
        """Count an attempt, its tokens and its cost."""
        model, usage, cost = attempt.model, attempt.usage, attempt.cost
        self._of(self._attempts, model, attempt.status, attempt.kind).inc()
        if usage is not None:
            for leaf in LEAVES:
                if count := getattr(usage, leaf):
                    self._of(self._tokens, model, leaf).inc(count)
        if cost is None:
            self._of(self._unknown, model).inc()
        elif cost:
            self._of(self._cost, model).inc(cost.pico / PICO_PER_USD)

    def ended(self, story: Story) -> None:
        """Count an operation, and whether it kept its plan's budget."""
        operation, outcome = story.operation, story.outcome
        if outcome is None:
            return
        plan = operation.plan or ""
        model = outcome.answered_by or ("" if plan else operation.requested)
        self._of(self._operations, model, plan, outcome.status).inc()
        if outcome.status == "refused":
            return
        if outcome.budget is not None:
            cost = story.cost
            kept = "unknown" if cost is None else "yes" if cost <= outcome.budget else "no"
            self._of(self._kept, plan, kept).inc()
        seconds = story.seconds
        self._whole.observe(seconds)
        self._added.observe(max(0.0, seconds - story.upstream_s))

    def refused(self, limit: str) -> None:
        """A budget or rate limit refused a request."""
        if (self._refusals, limit) not in self._children and self._is_full(self._refusals):
            limit = OTHERS
        self._of(self._refusals, limit).inc()

    def _is_full(self, metric: Counter) -> bool:
        return sum(key[0] is metric for key in self._children) >= MOST_BUDGETS

    def responded(self, status: int) -> None:
        """An answer went out, or its head."""
        self._of(self._responses, str(status)).inc()

    async def keep(self, read: Callable[[], Picture]) -> None:
        """Look once a second at what is not booked; `read` gives a `Picture`."""
        while True:
            due = perf_counter() + TICK_S
            await asyncio.sleep(TICK_S)
            self._lag.observe(max(0.0, perf_counter() - due))
            self.show(read())

    def show(self, picture: Picture) -> None:
        """Set the gauges."""
        self._health.show(picture.health)
        self._in_flight.set(picture.in_flight)
        self._drains.set(picture.drains)
        self._connections.set(picture.connections)
        self._bypass.set(picture.bypass)
        for state in _STATES:
            self._of(self._ledger, state).set(state == picture.ledger)
        for plan, alpha in picture.alphas.items():
            self._of(self._alpha, plan).set(alpha)
        for plan, watch in picture.watches.items():
            costs = watch.monitor.costs
            self._of(self._e_value, plan, "rate").set(watch.e_value)
            self._of(self._alarm, plan, "rate").set(watch.alarm_at is not None)
            if costs is not None:
                self._of(self._e_value, plan, "costs").set(costs.e_value)
                self._of(self._alarm, plan, "costs").set(watch.drift_at is not None)
        for metric, amounts in zip(
            (self._held, self._exposed, self._lease), picture.budgets(), strict=True
        ):
            for key, child in self._children.items():
                if key[0] is metric and key[1] not in amounts:
                    child.set(0)
            for name, pico in amounts.items():
                self._of(metric, name).set(pico / PICO_PER_USD)

    def text(self) -> bytes:
        """All of it in Prometheus' text format; reads files where there are several workers."""
        if os.environ.get(FOLDER):
            registry = CollectorRegistry()
            multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
            return generate_latest(registry)
        return generate_latest(self._registry)


@dataclass(frozen=True, slots=True)
class Picture:
    """What a process has in flight at a moment.

    Attributes:
        drains: calls and postings that no client waits for.
        alphas: what plans promise, by name.
        amounts: picodollars reserved, in flight and leased, by budget.
        health: how the upstreams of each model do.
        watches: what live traffic says of the plans' certificates, by name.
    """

    in_flight: int
    drains: int
    connections: int
    ledger: State
    bypass: bool
    alphas: Mapping[str, float]
    amounts: Mapping[str, tuple[int, int, int]]
    health: Healths = field(default_factory=dict)
    watches: Mapping[str, Watch] = field(default_factory=dict)

    def budgets(self) -> tuple[dict[str, int], dict[str, int], dict[str, int]]:
        """Of `amounts` those reserved, in flight and leased; many budgets are told as one."""
        told: tuple[dict[str, int], dict[str, int], dict[str, int]] = ({}, {}, {})
        for number, (budget, amounts) in enumerate(self.amounts.items()):
            name = budget if number < MOST_BUDGETS else OTHERS
            for sums, pico in zip(told, amounts, strict=True):
                sums[name] = sums.get(name, 0) + pico
        return told


async def metrics_page(service: Service) -> web.Response:
    """`GET /metrics`."""
    metrics = service.metrics
    if metrics is None:
        raise RequestError("nothing is counted here")
    metrics.show(service.picture())
    body = await asyncio.to_thread(metrics.text)
    return web.Response(body=body, headers={hdrs.CONTENT_TYPE: CONTENT_TYPE_LATEST})
