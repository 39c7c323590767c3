"""Energy: meters read, power integrated, and shared among requests."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from farthing.core.errors import DataError, ExtraError
from farthing.cost.energy import Interval, NvmlMeter, Power, RaplMeter, Sampler, meter, shared
from farthing.cost.energy.meter import MeterError

FLAT = Power(np.array([0.0, 100.0]), np.array([50.0, 50.0]))


class FakeNvml:
    """As much of pynvml as is used; two GPUs."""

    class NVMLError(Exception):
        pass

    def __init__(self, *, gpus: int = 2, works: bool = True) -> None:
        self.gpus, self.works = gpus, works

    def nvmlInit(self) -> None:  # noqa: N802
        pass

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        return self.gpus

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:  # noqa: N802
        return index

    def nvmlDeviceGetPowerUsage(self, handle: int) -> int:  # noqa: N802
        if not self.works:
            raise self.NVMLError("Not Supported")
        return 100_000 + 1_000 * handle


class Steady:
    """A meter whose watts are told."""

    name = "steady"

    def __init__(self, watts: Iterator[float]) -> None:
        self._watts = watts

    def watts(self) -> float:
        return next(self._watts)


def test_a_request_alone_gets_all_that_is_drawn_while_it_runs() -> None:
    assert shared(FLAT, [Interval(10, 14)]) == [200.0]
    ramp = Power(np.array([0.0, 10.0]), np.array([0.0, 100.0]))
    assert shared(ramp, [Interval(2, 4)]) == [pytest.approx(60.0)]
    assert ramp.joules(0, 10) == pytest.approx(500)


def test_concurrent_requests_share_each_moment() -> None:
    first, second, third = shared(FLAT, [Interval(0, 4), Interval(2, 6), Interval(10, 12)])
    assert (first, second, third) == (150.0, 150.0, 100.0)


@given(st.lists(st.tuples(st.floats(1, 90), st.floats(0, 9)), min_size=1, max_size=12))
def test_joules_add_up_to_what_was_drawn_while_any_ran(spans: list[tuple[float, float]]) -> None:
    rng = np.random.default_rng(0)
    power = Power(np.arange(0, 101, 0.5), rng.uniform(20, 300, 202))
    requests = [Interval(start, start + length) for start, length in spans]
    union: list[list[float]] = []
    for start, end in sorted(requests):
        if union and start <= union[-1][1]:
            union[-1][1] = max(union[-1][1], end)
        else:
            union.append([start, end])
    drawn = sum(power.joules(start, end) for start, end in union)
    assert sum(shared(power, requests)) == pytest.approx(drawn, abs=1e-9)


def test_what_is_drawn_idle_can_be_taken_off() -> None:
    assert shared(FLAT, [Interval(0, 2)], idle_watts=20) == [60.0]
    assert shared(FLAT, [Interval(0, 2)], idle_watts=70) == [0.0]


def test_requests_beyond_the_samples_are_refused() -> None:
    with pytest.raises(DataError, match="no samples reach"):
        shared(FLAT, [Interval(99, 101)])
    with pytest.raises(DataError, match="ends before"):
        shared(FLAT, [Interval(5, 4)])
    with pytest.raises(DataError):
        Power(np.array([1.0, 1.0]), np.array([2.0, 2.0]))


def test_a_sampler_reads_until_it_is_left() -> None:
    with Sampler(Steady(iter([40.0] * 10_000)), every=0.002) as sampler:
        start = time.perf_counter()
        time.sleep(0.05)
        end = time.perf_counter()
    power = sampler.power
    assert len(power.times) > 3
    assert shared(power, [Interval(start, end)])[0] == pytest.approx(40 * (end - start))


def test_a_meter_that_fails_leaves_no_joules() -> None:
    with Sampler(Steady(iter([40.0, 41.0])), every=0.001) as sampler:
        time.sleep(0.05)
    with pytest.raises(DataError, match="the meter failed"):
        _ = sampler.power


def test_nvml_adds_up_its_gpus() -> None:
    found = NvmlMeter(FakeNvml())
    assert found.watts() == 201.0
    assert found.name == "NVML, 2 GPUs"
    for broken in (FakeNvml(gpus=0), FakeNvml(works=False)):
        with pytest.raises(MeterError, match="NVML"):
            NvmlMeter(broken)


def rapl(folder: Path, package: int, energy: int) -> None:
    place = folder / f"intel-rapl:{package}"
    for name in (place, folder / f"intel-rapl:{package}:0"):
        name.mkdir(exist_ok=True)
        (name / "energy_uj").write_text(f"{energy}\n")
        (name / "max_energy_range_uj").write_text("1000000000\n")


def test_rapl_counters_are_read_by_package_and_may_wrap(tmp_path: Path) -> None:
    rapl(tmp_path, 0, 999_000_000)
    rapl(tmp_path, 1, 0)
    clock = iter([0.0, 2.0])
    found = RaplMeter(tmp_path, lambda: next(clock))
    assert found.name == "RAPL, 2 packages"
    rapl(tmp_path, 0, 39_000_000)
    rapl(tmp_path, 1, 10_000_000)
    assert found.watts() == pytest.approx((40 + 10) / 2)
    with pytest.raises(MeterError, match="no RAPL counters"):
        RaplMeter(tmp_path / "none")


def test_no_meter_is_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def missing() -> None:
        raise ExtraError("nvidia-ml-py", "energy")

    monkeypatch.setattr(meter, "_pynvml", missing)
    monkeypatch.setattr(meter, "RAPL", tmp_path)
    monkeypatch.setattr(RaplMeter.__init__, "__defaults__", (tmp_path, time.perf_counter))
    assert meter.find_meter() is None
