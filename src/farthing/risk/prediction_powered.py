"""The mean of something dear to look at, from a few labels and many cheap predictions of it.

Of n units both the label y and the prediction f are known, of N others only f. The labels say how
wrong the predictions are on average, and the predictions say the rest:

    mean(y) + w * (mean of the N predictions - mean of the n predictions)

With w = 0 this is the mean of the labels alone, with w = 1 prediction-powered inference, and with
the w of least variance PPI++, which predictions however bad cannot make worse in large samples.

Assumes that the labelled units are a random sample of all, drawn without a look at what their
labels are likely to be, and that units are independent. Asymptotic: the intervals rest on sums
being nearly normal, or with their skewness known. Where hardly any label is unlike what the
predictions make of it (`Estimate.telling` below ten or so), they are too short.

Sources: Angelopoulos, Bates, Fannjiang, Jordan, Zrnic: Prediction-Powered Inference (2023);
Angelopoulos, Duchi, Zrnic: PPI++ (2024); for the skewness Hall: On the Removal of Skewness by
Transformation (1992), and Johnson: Modified t Tests (1978).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

Floats = NDArray[np.float64]
Side = Literal["two", "lower", "upper"]


@dataclass(frozen=True, slots=True)
class Estimate:
    """An estimated mean, in the unit of the labels, and how far it may be off.

    Attributes:
        value: the estimate.
        error: its standard error.
        skewness: third standardised cumulant of the estimate.
        freedom: degrees of freedom of the standard error.
        weight: that of the predictions; 0 for labels alone.
        labelled, judged: numbers of labels, and of predictions without one.
        effective: how many labels alone would have this standard error; NaN where it is 0.
        telling: how many labels the standard error rests on, (sum r^2)^2 / sum r^4 of their
            residuals. Where it is small (of a hundred labels, three that the predictions get
            wrong), the interval is too short, however many labels there are.
    """

    value: float
    error: float
    skewness: float
    freedom: int
    weight: float
    labelled: int
    judged: int
    effective: float
    telling: float

    def interval(
        self, confidence: float = 0.95, side: Side = "two", *, skewed: bool = True
    ) -> tuple[float, float]:
        """Covers the mean with probability near `confidence`; one end infinite if one-sided.

        Args:
            skewed: move both ends by the first term of Edgeworth's expansion. Without it the
                bound on the side of the short tail is too near: at a true rate of 95 % and 100
                labels, the lower bound at 95 % is above it in 12 % of cases.
        """
        if not 0 < confidence < 1:
            raise ValueError(f"confidence is {confidence}: want a number between 0 and 1")
        tail = (1 - confidence) / (2 if side == "two" else 1)
        reach = float(stats.t.ppf(1 - tail, self.freedom))
        shift = self.skewness * (2 * reach**2 + 1) / 6 if skewed else 0.0
        low = self.value - (reach - shift) * self.error
        high = self.value + (reach + shift) * self.error
        return (-math.inf if side == "upper" else low), (math.inf if side == "lower" else high)


def classical_mean(labels: ArrayLike) -> Estimate:
    """The mean of the labels alone, with Student's t; ValueError with fewer than two."""
    return weighted_mean(labels, np.zeros(np.size(labels)), np.zeros(1), 0.0)


def ppi_mean(labels: ArrayLike, predictions: ArrayLike, more: ArrayLike) -> Estimate:
    """Prediction-powered inference: predictions count in full (see `weighted_mean`)."""
    return weighted_mean(labels, predictions, more, 1.0)


def ppi_plus_mean(labels: ArrayLike, predictions: ArrayLike, more: ArrayLike) -> Estimate:
    """PPI++: predictions have the weight of least variance, learned from the same labels.

    One degree of freedom is given up for the weight, as in a regression.
    """
    y, f, rest = _arrays(labels, predictions, more)
    return weighted_mean(y, f, rest, power_weight(y, f, rest), tuned=True)


def power_weight(labels: ArrayLike, predictions: ArrayLike, more: ArrayLike) -> float:
    """The weight of least estimated variance: cov(y, f) / (var(f) + var(more) * n / N).

    Below 0 where predictions rank the wrong way round, above 1 where they differ too little from
    each other. 0 if they do not differ at all.
    """
    y, f, rest = _arrays(labels, predictions, more)
    spread = float(f.var() + rest.var() * len(y) / len(rest))
    if spread <= 1e-12 * max(1.0, float(np.abs(f).max()) ** 2):
        return 0.0
    return float(np.mean((y - y.mean()) * (f - f.mean()))) / spread


def weighted_mean(
    labels: ArrayLike,
    predictions: ArrayLike,
    more: ArrayLike,
    weight: float,
    *,
    tuned: bool = False,
) -> Estimate:
    """The estimate with a given weight of the predictions.

    Args:
        labels, predictions: of the labelled units, shape (n,).
        more: predictions of the others, shape (N,).
        tuned: whether the weight was learned from these labels.

    Raises:
        ValueError: with fewer than two labels (three if tuned), no other unit, or NaN.
    """
    y, f, rest = _arrays(labels, predictions, more)
    freedom = len(y) - (2 if tuned else 1)
    if freedom < 1:
        raise ValueError(f"{len(y)} labels are too few for a standard error")
    left = y - weight * f
    part, other = left - left.mean(), weight * (rest - rest.mean())
    variance = float(part @ part) / freedom / len(y) + float(other @ other) / len(rest) ** 2
    third = float((part**3).mean()) / len(y) ** 2 + float((other**3).mean()) / len(rest) ** 2
    return Estimate(
        value=float(left.mean() + weight * rest.mean()),
        error=math.sqrt(variance),
        skewness=third / variance**1.5 if variance > 0 else 0.0,
        freedom=freedom,
        weight=weight,
        labelled=len(y),
        judged=len(rest) if weight else 0,
        effective=float(y.var(ddof=1)) / variance if variance > 0 else math.nan,
        telling=telling(part),
    )


def telling(residuals: Floats) -> float:
    """(sum r^2)^2 / sum r^4: how many residuals their sum of squares rests on; 0 if all are 0."""
    fourth = float((residuals**4).sum())
    return float(residuals @ residuals) ** 2 / fourth if fourth > 0 else 0.0


def _arrays(
    labels: ArrayLike, predictions: ArrayLike, more: ArrayLike
) -> tuple[Floats, Floats, Floats]:
    y, f, rest = (np.asarray(values, dtype=float) for values in (labels, predictions, more))
    if y.ndim != 1 or y.shape != f.shape or rest.ndim != 1:
        raise ValueError(f"shapes {y.shape}, {f.shape}, {rest.shape}: want (n,), (n,), (N,)")
    if not len(y) or not len(rest):
        raise ValueError(f"{len(y)} labels and {len(rest)} other units: want some of both")
    if not (np.isfinite(y).all() and np.isfinite(f).all() and np.isfinite(rest).all()):
        raise ValueError("labels and predictions must be finite")
    return y, f, rest
