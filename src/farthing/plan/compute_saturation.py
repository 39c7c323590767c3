"""Where another sample, or another round of thought, stops paying: saturation points.

Source: Scaling over Scaling: Exploring Test-Time Scaling Pareto in Large Reasoning Models (2025).
Its law has one chance of success per unit for all questions, which mixed questions break: beside
it stands one whose chance varies between questions, and both are held against what was measured
further on.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.optimize import least_squares
from scipy.special import betaln, expit, gammaln, logit

from farthing.core.errors import DataError
from farthing.models.recording import Floats, Ints

Law = Literal["one chance", "mixed"]
LAWS: tuple[Law, ...] = ("one chance", "mixed")
RESAMPLES = 200
_MOST = 10**6
_WIDEST = 12.0  # of what is fitted, on the logistic scale


@dataclass(frozen=True, slots=True)
class Saturation:
    """A law fitted to the success after 1, 2, ... units of spending.

    Attributes:
        law: "one chance": ceiling * (1 - (1 - chance) ** N) for N units; "mixed": the chances of
            the questions that can be answered at all are spread as a Beta distribution.
        ceiling, ceiling_interval: success after any number of units.
        chance, chance_interval: of a unit's success on a question that can be answered; the mean.
        spread: a + b of the Beta distribution; infinite with one chance.
        least_gain: what another unit must gain to be worth it.
        stop, stop_interval: units after which another gains less; None if none do.
        measured: (units, success, what the law says) at all measured numbers of units.
        fitted_to: the most units that the law was fitted to.
        misfit, misfit_interval: the largest difference of law and measurement beyond those; None
            if nothing was measured beyond.
    """

    law: Law
    ceiling: float
    ceiling_interval: tuple[float, float]
    chance: float
    chance_interval: tuple[float, float]
    spread: float
    least_gain: float
    stop: int | None
    stop_interval: tuple[float, float]
    measured: tuple[tuple[int, float, float], ...]
    fitted_to: int
    misfit: float | None
    misfit_interval: tuple[float, float] | None

    def at(self, units: int) -> float:
        """What the law says of so many units."""
        if self.law == "one chance":
            return self.ceiling * -math.expm1(units * math.log1p(-self.chance))
        a, b = self.chance * self.spread, (1 - self.chance) * self.spread
        return self.ceiling * -math.expm1(float(betaln(a, b + units) - betaln(a, b)))

    @property
    def fits(self) -> bool | None:
        """Whether the misfit could be chance; None if nothing was measured beyond the fit."""
        if self.misfit_interval is None:
            return None
        return self.misfit_interval[0] <= 0 <= self.misfit_interval[1]


def pass_at(right: Floats) -> Floats:
    """The chance that one of N samples is right, for N = 1, 2, ..., shape (n, samples).

    `right` is 0 or 1 for each question and sample. Unbiased, as in Evaluating Large Language
    Models Trained on Code (Chen et al., 2021): the share of the sets of N samples with a right one.
    """
    n = right.shape[1]
    wrong = n - right.sum(axis=1)[:, None]
    sizes = np.arange(1, n + 1)[None]
    with np.errstate(invalid="ignore"):
        none = np.exp(
            gammaln(wrong + 1) + gammaln(n - sizes + 1)
            - gammaln(np.maximum(wrong - sizes, 0) + 1) - gammaln(n + 1)
        )  # fmt: skip
    return np.where(wrong >= sizes, 1 - none, 1.0)


def saturation(
    success: Floats,
    *,
    law: Law = "one chance",
    fit_to: int | None = None,
    least_gain: float = 0.01,
    seed: int = 0,
) -> Saturation:
    """Fit a law to the success of each question after 1, 2, ... units, shape (n, units).

    Units are samples (`pass_at`, or a vote's success) or rounds of rethinking. It is fitted to
    the first `fit_to` units by least squares; intervals are of 95 %, by resampling questions.
    The misfit is that at the number of units beyond where law and measurement differ most.

    Raises DataError for fewer than three units or ten questions.
    """
    questions, units = success.shape
    fit_to = min(fit_to or units, units)
    if fit_to < 3 or questions < 10:
        raise DataError(
            f"a saturation point needs 3 units and 10 questions, not {fit_to} and {questions}"
        )
    if not 0 < least_gain < 1:
        raise DataError(f"least_gain must be between 0 and 1, not {least_gain}")
    mean = success.mean(axis=0)
    best = _fit(mean[:fit_to], law)
    told = _curve(best, law, np.arange(1, units + 1))
    beyond = int(np.argmax(np.abs(mean - told)[fit_to:])) + fit_to if units > fit_to else None
    rng = np.random.default_rng(seed)
    drawn = []
    for _ in range(RESAMPLES):
        weights = rng.multinomial(questions, np.full(questions, 1 / questions)) / questions
        again = weights @ success
        fitted = _fit(again[:fit_to], law, best)
        off = (
            0.0
            if beyond is None
            else again[beyond] - _curve(fitted, law, np.array([beyond + 1]))[0]
        )
        ceiling, chance, _ = _told(fitted, law)
        drawn.append((ceiling, chance, _stop(fitted, law, least_gain) or math.inf, off))
    low, high = np.quantile(np.array(drawn), [0.025, 0.975], axis=0, method="nearest")
    intervals = [(float(a), float(b)) for a, b in zip(low, high, strict=True)]
    ceiling, chance, spread = _told(best, law)
    return Saturation(
        law, ceiling, intervals[0], chance, intervals[1], spread, least_gain,
        _stop(best, law, least_gain), intervals[2],
        tuple((n + 1, float(mean[n]), float(told[n])) for n in range(units)),
        fit_to,
        None if beyond is None else float(mean[beyond] - told[beyond]),
        None if beyond is None else intervals[3],
    )  # fmt: skip


def _curve(theta: Floats, law: Law, units: Ints) -> Floats:
    """What the law says; `theta` is on the scale of the fit."""
    theta = np.clip(theta, -_WIDEST, _WIDEST)
    ceiling, chance = expit(theta[0]), expit(theta[1])
    if law == "one chance":
        curve: Floats = ceiling * -np.expm1(units * np.log1p(-chance))
        return curve
    spread = np.exp(theta[2])
    a, b = chance * spread, (1 - chance) * spread
    mixed: Floats = ceiling * -np.expm1(betaln(a, b + units) - betaln(a, b))
    return mixed


def _fit(mean: Floats, law: Law, start: Floats | None = None) -> Floats:
    units = np.arange(1, len(mean) + 1)

    def off(theta: Floats) -> Floats:
        return _curve(theta, law, units) - mean

    first = float(np.clip(mean[0] / max(mean[-1], 1e-9), 0.02, 0.98))
    top = float(np.clip(mean[-1], 0.02, 0.99))
    begin = np.array([logit(top), logit(first), 1.0][: 2 if law == "one chance" else 3])
    fitted: Floats = least_squares(off, begin if start is None else start, method="lm").x
    return np.clip(fitted, -_WIDEST, _WIDEST)


def _told(theta: Floats, law: Law) -> tuple[float, float, float]:
    spread = math.inf if law == "one chance" else float(np.exp(theta[2]))
    return float(expit(theta[0])), float(expit(theta[1])), spread


def _stop(theta: Floats, law: Law, least_gain: float) -> int | None:
    """The least number of units after which another gains less; gains fall with each."""

    def gain(units: int) -> float:
        before, after = _curve(theta, law, np.array([units, units + 1]))
        return float(after - before)

    return _first(lambda units: gain(units) < least_gain)


def _first(holds: Callable[[int], bool]) -> int | None:
    """The least number from 0 on for which something holds that goes on to hold."""
    if holds(0):
        return 0
    high = 1
    while not holds(high):
        high *= 2
        if high > _MOST:
            return None
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high
