"""Farthing measures, bounds and cuts what model inference costs."""

__version__ = "0.1.0"
