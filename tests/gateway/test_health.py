"""What `/metrics` tells of upstreams."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest

from farthing.gateway.health import HealthMetrics, healths
from farthing.models.breaker import State
from farthing.models.replicas import Health


class Told:
    """The metrics of a registry, read as Prometheus does."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()

        def counter(name: str, text: str, labels: str) -> Counter:
            return Counter(name, text, labels.split(), registry=registry)

        def gauge(name: str, text: str, labels: str) -> Gauge:
            return Gauge(name, text, labels.split(), registry=registry)

        self.metrics = HealthMetrics(counter, gauge)

    def show(self, *all: Health) -> dict[str, float]:
        self.metrics.show({"gpt": all} if all else {})
        lines = generate_latest(self.registry).decode().splitlines()
        told = (line.rpartition(" ") for line in lines if not line.startswith("#"))
        return {name: float(value) for name, _, value in told if "_created" not in name}


def health(upstream: str, state: State, calls: int, failures: int, outstanding: int = 0) -> Health:
    return Health(upstream, state, 0.0, outstanding, calls, failures)


def states(told: dict[str, float], upstream: str) -> list[str]:
    found = [name for name, value in told.items() if value and name.startswith("upstream_state")]
    return [name.split('state="')[1].split('"')[0] for name in found if f'"{upstream}"' in name]


def test_each_upstream_is_told() -> None:
    told = Told().show(health("a", "closed", 5, 1, 2), health("b", "open", 3, 3))
    assert (states(told, "a"), states(told, "b")) == (["closed"], ["open"])
    assert told['upstream_calls_in_flight{model="gpt",upstream="a"}'] == 2
    assert told['upstream_calls_total{model="gpt",upstream="a"}'] == 5
    assert told['upstream_failures_total{model="gpt",upstream="b"}'] == 3


def test_counters_go_on_after_a_reload() -> None:
    one = Told()
    one.show(health("a", "closed", 5, 1))
    assert one.show(health("a", "closed", 7, 1))[CALLS] == 7
    assert one.show(health("a", "closed", 2, 0))[CALLS] == 9
    told = one.show(health("a", "half-open", 4, 2))
    assert (told[CALLS], told['upstream_failures_total{model="gpt",upstream="a"}']) == (11, 3)
    assert states(told, "a") == ["half-open"]


CALLS = 'upstream_calls_total{model="gpt",upstream="a"}'


def test_an_upstream_that_is_gone_has_no_state() -> None:
    one = Told()
    one.show(health("a", "open", 5, 5, 1))
    told = one.show()
    assert states(told, "a") == []
    assert told['upstream_calls_in_flight{model="gpt",upstream="a"}'] == 0
    assert told[CALLS] == 5
    assert one.show(health("a", "closed", 1, 0))[CALLS] == 6


def test_models_that_cannot_tell_are_left_out() -> None:
    well: Sequence[Health] = (health("", "closed", 0, 0),)
    models: Any = {"gpt": SimpleNamespace(health=lambda: well), "tiny": SimpleNamespace()}
    assert healths(models) == {"gpt": well}
