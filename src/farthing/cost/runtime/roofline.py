"""The roofline: a pass takes as long as its products or its bytes need, whichever is more."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from farthing.core.errors import DataError
from farthing.cost.architecture import Architecture, Peak, Work, count, peak
from farthing.cost.devices import Device

_POINTS = 33


@dataclass(frozen=True, slots=True)
class Step:
    """A pass on a device; times are modelled.

    Attributes:
        work: what it computes and moves.
        peak: what it needs to hold.
        compute_s, memory_s: seconds that its products and its bytes need.
        overhead_s: seconds on top.
        fits: whether its peak fits into the memory.
    """

    work: Work
    peak: Peak
    compute_s: float
    memory_s: float
    overhead_s: float
    fits: bool

    @property
    def seconds(self) -> float:
        """How long it takes."""
        return max(self.compute_s, self.memory_s) + self.overhead_s

    @property
    def binds(self) -> Literal["memory", "compute", "bandwidth"]:
        """What keeps it from more: capacity if it does not fit, else the slower of the two."""
        if not self.fits:
            return "memory"
        return "compute" if self.compute_s >= self.memory_s else "bandwidth"


@dataclass(frozen=True)
class Server:
    """A model on one device, or split evenly over several like it.

    Several are reckoned as one of so many times the rates and the memory: what they tell each
    other is left out, so that times over several are lower bounds.

    Attributes:
        model: what runs.
        device: where.
        devices: how many.
        overhead_s: seconds that each pass takes on top, for launches and scheduling.
    """

    model: Architecture
    device: Device
    devices: int = 1
    overhead_s: float = 0.0

    def __post_init__(self) -> None:
        if self.devices < 1 or not self.overhead_s >= 0:
            raise DataError(f"cannot run on {self.devices} devices, {self.overhead_s} s on top")

    @property
    def flops_per_s(self) -> float:
        """FLOP/s that are reckoned with, in the type that the model computes in."""
        return self.device.rate(self.model.compute)[0] * self.device.reached[0] * self.devices

    @property
    def bytes_per_s(self) -> float:
        """Bytes a second between memory and cores that are reckoned with."""
        return self.device.bandwidth * self.device.reached[1] * self.devices

    @property
    def memory(self) -> float:
        """Bytes of memory."""
        return self.device.memory * self.devices

    def step(self, new: int, past: int = 0, batch: int = 1) -> Step:
        """A pass of `batch` sequences that each read `new` tokens after `past` cached ones."""
        work, held = count(self.model, new, past, batch), peak(self.model, new, past, batch)
        return Step(
            work,
            held,
            work.flops / self.flops_per_s,
            work.nbytes / self.bytes_per_s,
            self.overhead_s,
            held.total <= self.memory,
        )

    def prefill(self, tokens: int, batch: int = 1) -> Step:
        """Reading prompts of so many tokens."""
        return self.step(tokens, 0, batch)

    def decode(self, context: int, batch: int = 1) -> Step:
        """One more token of each sequence, which sees `context` tokens, itself included."""
        return self.step(1, context - 1, batch)

    def decoding(self, input: int, output: int, batch: int = 1) -> float:
        """Seconds for all output tokens but the first, which the prefill gives.

        Summed over steps exactly, or for more than 33 of them by the trapezoidal rule over 33,
        which is exact while the same thing binds and no window closes in between.
        """
        steps = output - 1
        if steps <= 0:
            return 0.0
        if steps <= _POINTS:
            contexts = range(input + 1, input + output)
            return math.fsum(self.decode(n, batch).seconds for n in contexts)
        at = np.unique(np.linspace(input + 1, input + steps, _POINTS).round().astype(int))
        times = [self.decode(int(n), batch).seconds for n in at]
        ends = (times[0] + times[-1]) / 2
        return float(np.trapezoid(times, at)) + ends

    def request(self, input: int, output: int, batch: int = 1) -> float:
        """Seconds of requests of so many tokens that run together, from first to last."""
        return self.prefill(input, batch).seconds + self.decoding(input, output, batch)
