"""How many requests a server with a bounded cache can sustain."""

from farthing.cost.queueing.engine import Engine
from farthing.cost.queueing.simulation import Run, saturated, simulate
from farthing.cost.queueing.stability import Limit, devices_needed, limit
from farthing.cost.queueing.workload import Lengths, load

__all__ = [
    "Engine",
    "Lengths",
    "Limit",
    "Run",
    "devices_needed",
    "limit",
    "load",
    "saturated",
    "simulate",
]
