"""A cascade whose thresholds come from a model of how confidences hang together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
from scipy.special import ndtr, ndtri

from farthing.models.draw import Draw
from farthing.models.recording import Floats
from farthing.policies.decisions import PRICES
from farthing.policies.ladder import chains
from farthing.policies.measures import Measures, measure
from farthing.policies.scored import ScoredCascade, Step
from farthing.policies.threshold import plain_signal
from farthing.signals.calibrated import RIDGE, Calibrated
from farthing.signals.logistic import fit_logistic, logistic

PRIOR = 4.0
"""How many questions a correlation of zero counts for."""


@dataclass(frozen=True)
class Rational(ScoredCascade):
    """Accepts an answer whose calibrated chance of being right is high enough, or abstains.

    Source: Rational Tuning of LLM Cascades via Probabilistic Modeling (Zellinger & Thomson,
    2025); for abstaining Cost-Saving LLM Cascades with Early Abstention (Zellinger, Liu &
    Thomson, 2025). As there, confidences are calibrated, and those of a cascade are a Markov
    chain joined by copulas. Here the copula is Gaussian, not Gumbel, the margins are those seen,
    not scaled Beta mixtures, and the thresholds are found by backward induction over the chain,
    not by gradient: it gives the best of the model outright.
    """

    kind: ClassVar[str] = "rational"

    @classmethod
    def fit(
        cls,
        draw: Draw,
        right: Sequence[Floats],
        *,
        seed: int = 0,
        abstaining: float | None = None,
    ) -> list[Self]:
        """The ladder (see `policies.decisions.Learnt`); DataError where there is no signal.

        `abstaining` is what no answer is worth, in right answers (a wrong one is worth 0); None
        never abstains.
        """
        signal, samples = plain_signal(draw)
        told = measure(draw, right, signal, samples)
        margins = [
            _Margin(Calibrated.fit(signal, scores, answers), scores)
            for scores, answers in zip(told.scores, told.right, strict=True)
        ]
        means = np.array([float(cost.mean()) for cost in told.cost])
        quality = np.array([float(answers.mean()) for answers in told.right])
        tried = [_Chain(models, margins, told) for models in chains(means, quality)]
        found = []
        for price in PRICES:
            best = max((chain.best(price, abstaining) for chain in tried), key=lambda pair: pair[0])
            found.append(best[1])
        return [
            cls(
                steps=tuple(
                    Step(draw.models[m], samples[m])
                    if gate is None
                    else Step(draw.models[m], samples[m], margins[m].calibrated, *gate)
                    for m, gate in chain
                )
            )
            for chain in found
        ]


Gates = list[tuple[int, tuple[float, float] | None]]
"""Of each model of a chain its thresholds, to accept and to abstain; None for the last."""


class _Margin:
    """The distribution of one model's confidence, in cells about the knots of its normal scores.

    Attributes:
        calibrated: the signal.
        seen: each question's normal score, shape (n,).
        scores: of the cells, shape (cells,).
        mass: their shares of the questions.
        edges: normal scores between which the cells lie, shape (cells + 1,).
    """

    def __init__(self, calibrated: Calibrated, values: Floats) -> None:
        self.calibrated, self.scores = calibrated, calibrated.scores
        self.seen = calibrated.normal(values)
        between = (self.scores[1:] + self.scores[:-1]) / 2
        cells = np.searchsorted(between, self.seen)
        self.mass = np.bincount(cells, minlength=len(self.scores)) / len(values)
        self.edges = ndtri(np.clip(np.append(0.0, np.cumsum(self.mass)), 0.0, 1.0))

    def given(self, earlier: _Margin) -> Floats:
        """The chance of each cell given each cell of the model before: (earlier cells, cells)."""
        n = len(self.seen)
        together = np.cov(self.seen, earlier.seen)
        spread = float(np.sqrt(together[0, 0] * together[1, 1]))
        rho = together[0, 1] / spread * n / (n + PRIOR) if spread > 1e-12 else 0.0
        rho = float(np.clip(rho, -0.98, 0.98))
        reached = ndtr((self.edges[None, :] - rho * earlier.scores[:, None]) / np.sqrt(1 - rho**2))
        chances: Floats = np.diff(reached, axis=1)
        return chances


class _Chain:
    """The modelled gain of one chain of models."""

    def __init__(self, models: tuple[int, ...], margins: Sequence[_Margin], told: Measures) -> None:
        self.models = models
        self.margins = [margins[m] for m in models[:-1]]
        self.cost = [
            float((told.cost[m] + told.scoring[m]).mean()) / told.unit for m in models[:-1]
        ]
        last = models[-1]
        self.last_cost = float(told.cost[last].mean()) / told.unit
        self.last: Floats = np.array([told.right[last].mean()])
        if self.margins:
            before = self.margins[-1]
            weights = fit_logistic(before.seen[:, None], told.right[last], ridge=RIDGE)
            self.last = logistic(before.scores[:, None], weights)
        self.moves = [
            margin.given(before)
            for before, margin in zip(self.margins, self.margins[1:], strict=False)
        ]

    def best(self, price: float, abstaining: float | None) -> tuple[float, Gates]:
        """The most expected gain of a question, and the thresholds that have it."""
        onward = self.last - price * self.last_cost
        gates: Gates = [(self.models[-1], None)]
        for place in reversed(range(len(self.margins))):
            margin = self.margins[place]
            accepted = margin.calibrated.expects(margin.scores)
            ranks = margin.calibrated.weights[0] > 0
            level = _split(onward, accepted, margin.mass, inner=ranks)
            value = np.where(np.arange(len(accepted)) < level, onward, accepted)
            accept = _threshold(margin, level, accepted - onward)
            abstain = -np.inf
            if abstaining is not None:
                none = np.full(len(value), abstaining)
                level = _split(none, value, margin.mass, inner=ranks)
                abstain = _threshold(margin, level, value - none)
                value = np.where(np.arange(len(value)) < level, none, value)
            gates.append((self.models[place], (accept, abstain)))
            move = self.moves[place - 1] if place else margin.mass[None, :]
            onward = move @ value - price * self.cost[place]
        return float(onward[0]), gates[::-1]


def _split(below: Floats, above: Floats, mass: Floats, *, inner: bool) -> int:
    """From which cell on `above` is to be had and not `below`, so that most is gained."""
    gains = np.append(0.0, np.cumsum(mass * (below - above)))
    if not inner:
        return len(below) if gains[-1] > 0 else 0
    return int(gains.argmax())


def _threshold(margin: _Margin, level: int, difference: Floats) -> float:
    """The calibrated chance at which the cells from `level` on begin.

    Between two cells it is where the `difference` in gain crosses zero.
    """
    if level == 0:
        return -np.inf
    if level == len(difference):
        return np.inf
    before, after = difference[level - 1], difference[level]
    part = 0.5 if after <= before else float(np.clip(-before / (after - before), 0.0, 1.0))
    low, high = margin.scores[level - 1], margin.scores[level]
    at = low + np.clip(part, 0.01, 0.99) * (high - low)
    return float(margin.calibrated.expects(np.array([at]))[0])
