"""Joules: measured by a meter, shared among requests, unknown without one."""

from farthing.cost.energy.meter import Meter, NvmlMeter, RaplMeter, find_meter
from farthing.cost.energy.sampling import Power, Sampler
from farthing.cost.energy.sharing import Interval, shared

__all__ = [
    "Interval",
    "Meter",
    "NvmlMeter",
    "Power",
    "RaplMeter",
    "Sampler",
    "find_meter",
    "shared",
]
