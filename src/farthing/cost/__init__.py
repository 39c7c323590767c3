"""What an attempt costs: prices by model, and the token counts that they multiply."""

from farthing.cost.calls import read_calls
from farthing.cost.estimate import estimate_usage
from farthing.cost.prices import Price, PriceBook
from farthing.cost.shares import SampleShare, share
from farthing.cost.usage import UsageReader, read_service_tier, read_usage

__all__ = [
    "Price",
    "PriceBook",
    "SampleShare",
    "UsageReader",
    "estimate_usage",
    "read_calls",
    "read_service_tier",
    "read_usage",
    "share",
]
