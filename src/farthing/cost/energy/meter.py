"""Meters: what tells the power that the machine draws now."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from farthing.core.errors import ExtraError, FarthingError

RAPL = Path("/sys/class/powercap")


class MeterError(FarthingError):
    """A meter that cannot be read."""


class Meter(Protocol):
    """Tells watts.

    Attributes:
        name: which meter it is, and of what.
    """

    name: str

    def watts(self) -> float:
        """Drawn now; MeterError if it cannot be read."""
        ...


class NvmlMeter:
    """NVIDIA GPUs, by NVML: their boards' power, added up. Needs the extra `energy`.

    Raises:
        ExtraError: if pynvml is not installed.
        MeterError: if there is no driver or no GPU that tells its power.
    """

    def __init__(self, nvml: Any = None) -> None:
        self._nvml = nvml or _pynvml()
        try:
            self._nvml.nvmlInit()
            count = int(self._nvml.nvmlDeviceGetCount())
            self._handles = [self._nvml.nvmlDeviceGetHandleByIndex(i) for i in range(count)]
            if not self._handles:
                raise MeterError("NVML sees no GPU")
            self.name = f"NVML, {count} GPU{'s' if count > 1 else ''}"
            self.watts()
        except self._nvml.NVMLError as error:
            raise MeterError(f"NVML cannot be read: {error}") from error

    def watts(self) -> float:
        """Of all GPUs together."""
        try:
            milli = [self._nvml.nvmlDeviceGetPowerUsage(handle) for handle in self._handles]
        except self._nvml.NVMLError as error:
            raise MeterError(f"NVML cannot be read: {error}") from error
        return float(sum(milli)) / 1e3


class RaplMeter:
    """The processor's packages, by the counters of Linux's powercap; mean power since the last
    reading.

    Raises:
        MeterError: if there are no counters that may be read.
    """

    def __init__(self, folder: Path = RAPL, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._counters = [
            place / "energy_uj"
            for place in sorted(folder.glob("intel-rapl:*"))
            if place.name.count(":") == 1
        ]
        if not self._counters:
            raise MeterError(f"no RAPL counters in {folder}")
        self._wraps = [self._read(c.with_name("max_energy_range_uj")) for c in self._counters]
        self.name = f"RAPL, {len(self._counters)} package{'s' if len(self._counters) > 1 else ''}"
        self._last = self._clock(), [self._read(counter) for counter in self._counters]
        self._watts = 0.0

    def watts(self) -> float:
        """Mean since the last call, of all packages together."""
        before, old = self._last
        now, new = self._clock(), [self._read(counter) for counter in self._counters]
        if now > before:
            steps = zip(old, new, self._wraps, strict=True)
            used = sum(b - a if b >= a else b - a + wrap for a, b, wrap in steps)
            self._last, self._watts = (now, new), used / 1e6 / (now - before)
        return self._watts

    def _read(self, path: Path) -> int:
        try:
            return int(path.read_text())
        except (OSError, ValueError) as error:
            raise MeterError(f"{path}: cannot be read: {error}") from error


def find_meter() -> Meter | None:
    """The meter of this machine: its GPUs', else its processor's; None if it has none."""
    for kind in (NvmlMeter, RaplMeter):
        try:
            return kind()
        except (ExtraError, MeterError):
            continue
    return None


def _pynvml() -> Any:
    try:
        import pynvml
    except ImportError as error:
        raise ExtraError("nvidia-ml-py", "energy") from error
    return pynvml
