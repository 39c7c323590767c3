"""How long a model takes on a device, what binds it, and what its tokens cost there."""

from farthing.cost.runtime.idealized import Ideal, Verdict, compare, fit
from farthing.cost.runtime.longcontext import LongContext, long_context
from farthing.cost.runtime.own import OwnPrice, own_price
from farthing.cost.runtime.roofline import Server, Step
from farthing.cost.runtime.supply import Supply, supply

__all__ = [
    "Ideal",
    "LongContext",
    "OwnPrice",
    "Server",
    "Step",
    "Supply",
    "Verdict",
    "compare",
    "fit",
    "long_context",
    "own_price",
    "supply",
]
