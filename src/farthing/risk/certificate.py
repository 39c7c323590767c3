"""A certificate on live traffic: its violations, and whether costs are still as recorded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from farthing.risk.binomial import upper_bounds
from farthing.risk.exchangeability import ExchangeabilityMonitor
from farthing.risk.monitor import RateMonitor
from farthing.risk.sequence import allowed_marginal

_MOST = 0.999


def watched_rate(alpha: float, level: float, *, mode: str, questions: int) -> tuple[float, float]:
    """The rate to bet against, and the chance of a false alarm that is left for the bets.

    In PAC mode these are alpha and `level`: a plan whose rate is above alpha broke its promise.
    In marginal mode half of all plans may have a rate a little above alpha, with the promise kept
    on average over calibrations, and in unbounded time each of them would be found out. So the
    bets are against what calibration on so many `questions` leaves possible: the exact upper
    bound on the rate, wrong with probability at most `level` / 2, at as many violations as
    the certificate allows. The other half of `level` is for the bets.

    Assumes, in marginal mode, that rates rise along the sequence of cascades that was certified.
    """
    if mode != "marginal":
        return alpha, level
    allowed = max(allowed_marginal(questions, alpha), 0)
    bound = 1.0 if allowed >= questions else float(upper_bounds(allowed, questions, level / 2))
    return min(max(alpha, bound), _MOST), level / 2


@dataclass(slots=True)
class CertificateMonitor:
    """What is known of the requests of a plan, in the order in which they began.

    Attributes:
        rate: bets against the rate of violations.
        costs: bets against costs being like the recorded ones; None if these are not known.
        violations: requests over the budget.
        unknown: requests of unknown cost, which neither kept nor broke the promise.
    """

    rate: RateMonitor
    costs: ExchangeabilityMonitor | None = None
    violations: int = 0
    unknown: int = 0

    def update(self, cost_usd: float, over: bool, *, answered: bool = True) -> None:
        """Take in a request of known cost, in USD, and whether that is over the budget.

        The cost of one that was not `answered` is compared with the budget alone, not with
        those that were recorded.
        """
        self.rate.update(float(over))
        self.violations += over
        if self.costs is not None and answered:
            self.costs.update(cost_usd)

    def skip(self) -> None:
        """Take in a request of unknown cost."""
        self.unknown += 1

    def state(self) -> dict[str, Any]:
        """All that it knows, of numbers and lists alone."""
        return {
            "rate": self.rate.state(),
            "costs": None if self.costs is None else self.costs.state(),
            "violations": self.violations,
            "unknown": self.unknown,
        }

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> CertificateMonitor:
        """The monitor that goes on where `state` was taken. Raises ValueError if it is none."""
        try:
            costs = state["costs"]
            return cls(
                RateMonitor.from_state(state["rate"]),
                None if costs is None else ExchangeabilityMonitor.from_state(costs),
                int(state["violations"]),
                int(state["unknown"]),
            )
        except (KeyError, TypeError) as error:
            raise ValueError(f"not the state of a certificate's monitor: {error!r}") from None
