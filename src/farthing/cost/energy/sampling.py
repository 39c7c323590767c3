"""Reading a meter over and over in a thread of its own, while something else works."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from farthing.core.errors import DataError
from farthing.cost.energy.meter import Meter


@dataclass(frozen=True)
class Power:
    """Power over time: between two samples it is taken to change evenly.

    Attributes:
        times: seconds by one clock, rising.
        watts: at these times.
    """

    times: NDArray[np.float64]
    watts: NDArray[np.float64]

    def __post_init__(self) -> None:
        if len(self.times) != len(self.watts) or len(self.times) < 2:
            raise DataError("power needs two samples or more, a time and watts each")
        if (np.diff(self.times) <= 0).any() or (self.watts < 0).any():
            raise DataError("times of power samples must rise, and watts not be negative")

    def joules(self, start: float, end: float) -> float:
        """Between two times; DataError if the samples do not reach over them."""
        if not self.times[0] <= start <= end <= self.times[-1]:
            raise DataError(
                f"no samples reach over {start:.3f} to {end:.3f}: they go from "
                f"{self.times[0]:.3f} to {self.times[-1]:.3f}"
            )
        inside = self.times[(self.times > start) & (self.times < end)]
        at = np.concatenate(([start], inside, [end]))
        return float(np.trapezoid(np.interp(at, self.times, self.watts), at))


class Sampler:
    """Samples a meter from entering a `with` block until leaving it.

    Args:
        meter: what is read.
        every: seconds between readings.
        clock: of the samples' times.

    Attributes:
        failed: what a reading raised, after which there are no more; else None.
    """

    def __init__(
        self, meter: Meter, every: float = 0.05, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self._meter, self._every, self._clock = meter, every, clock
        self._samples: list[tuple[float, float]] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="power", daemon=True)
        self.failed: Exception | None = None

    def __enter__(self) -> Self:
        self._sample()
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()
        self._sample()

    @property
    def power(self) -> Power:
        """What was sampled; DataError for fewer than two samples, or if a reading failed."""
        if self.failed is not None:
            raise DataError(f"the meter failed: {self.failed}") from self.failed
        times, watts = zip(*self._samples, strict=True)
        return Power(np.array(times), np.array(watts))

    def _run(self) -> None:
        while self.failed is None and not self._stop.wait(self._every):
            self._sample()

    def _sample(self) -> None:
        if self.failed is not None:
            return
        try:
            watts = self._meter.watts()
        except Exception as error:
            self.failed = error
            return
        now = self._clock()
        if not self._samples or now > self._samples[-1][0]:
            self._samples.append((now, watts))
