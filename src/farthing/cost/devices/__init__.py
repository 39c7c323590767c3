"""Device cards: what a machine computes, moves, holds, draws and costs an hour."""

from farthing.cost.devices.card import Device, HourlyPrice
from farthing.cost.devices.catalogue import find, names
from farthing.cost.devices.file import dump, load

__all__ = ["Device", "HourlyPrice", "dump", "find", "load", "names"]
