"""What live costs are watched against: those of the questions that certified a plan."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from farthing.core.money import PICO_PER_USD
from farthing.risk.exchangeability import ExchangeabilityMonitor

_LEAST = 20
"""Questions, below which bins of costs tell nothing."""


def traffic(costs: ArrayLike, seed: int) -> dict[str, Any]:
    """The table `traffic` of a plan file from costs in picodollars; empty if they are too few."""
    usd = np.asarray(costs, dtype=float) / PICO_PER_USD
    if len(usd) < _LEAST:
        return {}
    after = ExchangeabilityMonitor.after(usd, delta=0.5, seed=seed)
    return {"edges_usd": after.edges, "counts": after.counts}
