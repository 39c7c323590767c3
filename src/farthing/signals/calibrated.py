"""A signal brought to the chance that the answer is right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from scipy.special import expit, ndtri

from farthing.models.recording import Floats
from farthing.signals.logistic import fit_logistic
from farthing.signals.seen import Seen
from farthing.signals.signal import Derived, Signal

KNOTS = 65
RIDGE = 0.5


@dataclass(frozen=True, eq=False)
class Calibrated(Derived):
    """Another signal's value as the chance that the answer is right.

    The value's normal score (its rank among the values learnt from, as a quantile of the normal
    distribution) goes through a logistic curve. Unlike Platt's scaling of the raw value (Platt,
    1999) this does not depend on the signal's scale. A signal that tells the wrong way round is
    made constant: it never ranks.

    Attributes:
        signal: the other one.
        values_at: ascending values of it, the knots; between two of them it is linear.
        scores: their normal scores.
        weights: slope and intercept of the logistic curve over normal scores.
    """

    kind: ClassVar[str] = "calibrated"

    signal: Signal
    values_at: Floats
    scores: Floats
    weights: Floats

    def normal(self, values: Floats) -> Floats:
        """Normal scores of the other signal's values; the lowest where there is none."""
        known = np.nan_to_num(values, nan=-np.inf, neginf=-1e300, posinf=1e300)
        scores: Floats = np.interp(known, self.values_at, self.scores)
        return scores

    def expects(self, scores: Floats) -> Floats:
        """The chance of being right at normal scores."""
        chance: Floats = expit(self.weights[0] * scores + self.weights[1])
        return chance

    def values(self, stages: Sequence[Seen]) -> Floats:
        """Chances from 0 to 1, shape (n,); errors are those of the other signal."""
        return self.expects(self.normal(self.signal.values(stages)))

    @classmethod
    def fit(cls, signal: Signal, values: Floats, right: Floats) -> Calibrated:
        """Learn from the signal's values, and how right the answers were, shapes (n,)."""
        knots, scores = normal_scores(values)
        made = cls(signal, knots, scores, np.zeros(2))
        weights = fit_logistic(made.normal(values)[:, None], right, ridge=RIDGE)
        if weights[0] < 0:
            mean = np.clip(right.mean(), 1e-3, 1 - 1e-3)
            weights = np.array([0.0, np.log(mean / (1 - mean))])
        return cls(signal, knots, scores, weights)

    def get_params(self) -> dict[str, Any]:
        """The constructor's parameters."""
        return {
            "signal": {"kind": self.signal.kind, **self.signal.get_params()},
            "values_at": self.values_at,
            "scores": self.scores,
            "weights": self.weights,
        }

    @classmethod
    def from_params(cls, params: dict[str, Any]) -> Calibrated:
        """The signal with these parameters."""
        from farthing.signals.registry import from_params

        params = dict(params)
        signal = from_params(params.pop("signal"))
        return cls(signal, **{name: np.asarray(value, float) for name, value in params.items()})


def normal_scores(values: Floats) -> tuple[Floats, Floats]:
    """At most `KNOTS` distinct values, ascending, and their normal scores.

    Equal values get the middle of their ranks. Unknown ones (minus infinity) rank lowest.
    """
    known = np.where(np.isfinite(values), values, -1e300)
    distinct, counts = np.unique(known, return_counts=True)
    middle = (np.cumsum(counts) - counts / 2) / len(known)
    if len(distinct) > KNOTS:
        wanted = np.linspace(middle[0], middle[-1], KNOTS)
        places = np.unique(np.searchsorted(middle, wanted).clip(0, len(middle) - 1))
        distinct, middle = distinct[places], middle[places]
    return distinct, ndtri(middle)
