"""What an attempt costs: prices by model, and the token counts that they multiply."""

from farthing.cost.prices import Price, PriceBook
from farthing.cost.shares import SampleShare, share
from farthing.cost.usage import read_usage

__all__ = ["Price", "PriceBook", "SampleShare", "read_usage", "share"]
