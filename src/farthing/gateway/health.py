"""How the upstreams of models do, as Prometheus reads it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import get_args

from prometheus_client import Counter, Gauge

from farthing.core.protocols import Model
from farthing.models.breaker import State
from farthing.models.replicas import Health

_STATES: tuple[State, ...] = get_args(State)

Healths = Mapping[str, Sequence[Health]]


def healths(models: Mapping[str, Model]) -> Healths:
    """How the upstreams of each model do, for models that can tell."""
    tells = {name: getattr(model, "health", None) for name, model in models.items()}
    return {name: tell() for name, tell in tells.items() if tell is not None}


class HealthMetrics:
    """Gauges of the upstreams, and counters that go on where a reload begins anew.

    Args:
        counter, gauge: make a metric of a name, a text and labels.
    """

    def __init__(self, counter: Callable[..., Counter], gauge: Callable[..., Gauge]) -> None:
        labels = "model upstream"
        self._state = gauge(
            "upstream_state", "Processes whose breaker is in this state.", f"{labels} state"
        )
        self._outstanding = gauge("upstream_calls_in_flight", "Calls under way.", labels)
        self._calls = counter("upstream_calls", "Calls of an upstream.", labels)
        self._failures = counter("upstream_failures", "Those that speak against it.", labels)
        self._seen: dict[tuple[str, str], Health] = {}

    def show(self, models: Healths) -> None:
        """Tell how the upstreams do now; those that a reload has removed do nothing."""
        now = {(name, told.upstream): told for name, all in models.items() for told in all}
        for key in self._seen.keys() - now.keys():
            self._tell(key, None, 0)
            del self._seen[key]
        for key, told in now.items():
            self._tell(key, told.state, told.outstanding)
            last = self._seen.get(key)
            begun = last is None or told.calls < last.calls or told.failures < last.failures
            calls, failures = (0, 0) if last is None or begun else (last.calls, last.failures)
            self._calls.labels(*key).inc(told.calls - calls)
            self._failures.labels(*key).inc(told.failures - failures)
            self._seen[key] = told

    def _tell(self, key: tuple[str, str], state: State | None, outstanding: int) -> None:
        for one in _STATES:
            self._state.labels(*key, one).set(one == state)
        self._outstanding.labels(*key).set(outstanding)
