"""What a transformer computes, reads and holds, counted from its config.json alone."""

from farthing.cost.architecture.counting import Work, count
from farthing.cost.architecture.formats import FORMATS, Format
from farthing.cost.architecture.memory import Peak, peak
from farthing.cost.architecture.reading import load, read
from farthing.cost.architecture.shapes import Architecture

__all__ = [
    "FORMATS",
    "Architecture",
    "Format",
    "Peak",
    "Work",
    "count",
    "load",
    "peak",
    "read",
]
