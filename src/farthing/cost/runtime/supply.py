"""Energy to tokens: the lesser of what compute and what power can sustain."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from farthing.core.errors import DataError


@dataclass(frozen=True, slots=True)
class Supply:
    """A sustained rate of tokens and what limits it.

    Attributes:
        compute_ceiling: tokens a second that the FLOP/s allow.
        energy_ceiling: tokens a second that the power allows; None if joules are unknown.
        joules_per_token: at the wall of the data centre, PUE included; None if unknown.
    """

    compute_ceiling: float
    energy_ceiling: float | None
    joules_per_token: float | None

    @property
    def tokens_per_s(self) -> float:
        """The lesser of the two; the only one that is known."""
        if self.energy_ceiling is None:
            return self.compute_ceiling
        return min(self.compute_ceiling, self.energy_ceiling)

    @property
    def binds(self) -> Literal["compute", "energy", "compute, energy unknown"]:
        """What limits the rate."""
        if self.energy_ceiling is None:
            return "compute, energy unknown"
        return "energy" if self.energy_ceiling < self.compute_ceiling else "compute"


def supply(
    *,
    flops_per_s: float,
    flops_per_token: float,
    utilisation: float = 1.0,
    facility_watts: float | None = None,
    joules_per_token: float | None = None,
    pue: float = 1.0,
) -> Supply:
    """The energy-to-token function.

    Args:
        flops_per_s: that the machines deliver while busy.
        flops_per_token: that a token of the wanted quality needs.
        utilisation: busy share of the time, above 0 and at most 1.
        facility_watts: drawn from the grid, cooling included; None if it is not limited.
        joules_per_token: at the machine, measured or modelled; None if unknown.
        pue: power usage effectiveness, the facility's power over the machines', 1 or more.

    Raises:
        DataError: for numbers that cannot be.
    """
    positive = (flops_per_s, flops_per_token, utilisation)
    told = [value for value in (facility_watts, joules_per_token) if value is not None]
    if not all(0 < value < float("inf") for value in (*positive, *told)):
        raise DataError("rates, joules, watts and utilisation must be above zero")
    if utilisation > 1 or not 1 <= pue < float("inf"):
        raise DataError(f"utilisation {utilisation} must be at most 1, PUE {pue} at least 1")
    joules = None if joules_per_token is None else joules_per_token * pue
    energy = None
    if joules is not None and facility_watts is not None:
        energy = facility_watts / joules
    return Supply(flops_per_s * utilisation / flops_per_token, energy, joules)
