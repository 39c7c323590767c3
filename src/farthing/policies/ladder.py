"""Thresholds of cascades that gain most at each price: what the learnt cascades share.

A cascade is a chain of models; each but the last is accepted where its score reaches a threshold.
For a price, the gain of an answer is how right it is, less the price times what it cost as a
share of the strongest model's mean cost. Thresholds are set one by one to the best value given
the others (exact for one, by a pass over the sorted scores), from several starts, until none
moves: a local optimum, while `plan.search` is exact for the cascades that it covers.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from farthing.models.recording import Floats, Ints
from farthing.policies.decisions import PRICES

BINS = 64
MOST = 5
LONGEST = 3


@dataclass(frozen=True, slots=True)
class Chain:
    """A cascade of a draw's models, by index; a threshold for each model but the last."""

    models: tuple[int, ...]
    thresholds: tuple[float, ...]


Score = Callable[[tuple[int, ...]], Floats]
"""The score of the last of some models asked in turn, shape (n,); -inf where there is none."""

Rightness = Callable[[tuple[int, ...], bool], Floats]
"""How right the answer is when the last of some models asked in turn accepts, shape (n,); and
whether that one ends the chain."""


def chains(costs: Floats, qualities: Floats) -> list[tuple[int, ...]]:
    """The chains worth trying, given each model's mean cost and quality.

    Of the models that are on the frontier, at most `MOST` spread over it, all ascending choices
    of up to `LONGEST`.
    """
    order = np.lexsort((-qualities, costs))
    best, front = -np.inf, []
    for model in order:
        if qualities[model] > best:
            best = qualities[model]
            front.append(int(model))
    if len(front) > MOST:
        places = np.unique(np.rint(np.linspace(0, len(front) - 1, MOST)).astype(int))
        front = [front[place] for place in places]
    return [
        chosen
        for size in range(1, LONGEST + 1)
        for chosen in itertools.combinations(front, min(size, len(front)))
        if size <= len(front)
    ]


def best_chains(
    right: Rightness,
    cost: Sequence[Ints],
    scoring: Sequence[Ints],
    score: Score,
    tried: Sequence[tuple[int, ...]] | None = None,
) -> list[Chain]:
    """For each of `PRICES` the chain of most gain.

    `cost[m]` (picodollars) is of model m's answer, `scoring[m]` is what its score costs, shapes
    (n,). The chains `tried` are those of `chains` unless they are given.
    """
    means = np.array([float(c.mean()) for c in cost])
    unit = max(float(means[-1]), 1.0)
    if tried is None:
        qualities = [float(right((m,), True).mean()) for m in range(len(cost))]
        tried = chains(means, np.array(qualities))
    searches = [
        _Search(
            chain,
            [right(chain[: place + 1], place == len(chain) - 1) for place in range(len(chain))],
            [*((cost[m] + scoring[m]) / unit for m in chain[:-1]), cost[chain[-1]] / unit],
            score,
        )
        for chain in tried
    ]
    found = []
    for price in PRICES:
        best = max((search.best(price) for search in searches), key=lambda pair: pair[0])
        found.append(best[1])
    return found


class _Search:
    """The thresholds of one chain."""

    def __init__(
        self, models: tuple[int, ...], right: list[Floats], cost: list[Floats], score: Score
    ) -> None:
        self.models, self.right, self.cost = models, right, cost
        self.cuts: list[Floats] = []
        self.bins: list[Ints] = []
        for place in range(len(models) - 1):
            values = score(models[: place + 1])
            finite = values[np.isfinite(values)]
            cuts = np.unique(np.quantile(finite, np.linspace(0, 1, BINS), method="lower")) if len(
                finite
            ) else np.array([0.0])  # fmt: skip
            self.cuts.append(cuts)
            self.bins.append(np.searchsorted(cuts, values, side="right"))

    def best(self, price: float) -> tuple[float, Chain]:
        """The most gain per question, and the chain that has it."""
        gains = [right - price * cost for right, cost in zip(self.right, self.cost, strict=True)]
        n, gates = len(gains[0]), len(self.cuts)
        best: tuple[float, tuple[int, ...]] | None = None
        for start in (0.0, 0.5, 1.0):
            levels = [round(start * len(cuts)) for cuts in self.cuts]
            value = -np.inf
            for _ in range(6):
                for gate in reversed(range(gates)):
                    levels[gate], value = self._level(gate, levels, gains, price)
                if gates < 2:
                    break
            if not gates:
                value = float(gains[0].sum())
            if best is None or value > best[0]:
                best = value, tuple(levels)
        assert best is not None
        thresholds = tuple(
            float(cuts[level]) if level < len(cuts) else float("inf")
            for cuts, level in zip(self.cuts, best[1], strict=True)
        )
        return best[0] / n, Chain(self.models, thresholds)

    def _level(
        self, gate: int, levels: list[int], gains: list[Floats], price: float
    ) -> tuple[int, float]:
        """The best level of one gate given the others, and the gain of the chain with it."""
        before = np.ones(len(gains[0]), np.bool_)
        total = 0.0
        for place in range(gate):
            accepted = before & (self.bins[place] > levels[place])
            total += float(gains[place][accepted].sum())
            before &= ~accepted
            total -= price * float(self.cost[place][before].sum())
        onward = gains[-1].copy()
        for place in reversed(range(gate + 1, len(gains) - 1)):
            passed = onward - price * self.cost[place]
            onward = np.where(self.bins[place] > levels[place], gains[place], passed)
        passed = onward - price * self.cost[gate]
        size = len(self.cuts[gate]) + 1
        bins = self.bins[gate][before]
        accept = np.bincount(bins, gains[gate][before], size)
        pass_up = np.bincount(bins, passed[before], size)
        values = np.cumsum(pass_up) + np.concatenate([np.cumsum(accept[::-1])[::-1][1:], [0.0]])
        level = int(values.argmax())
        return level, total + float(values[level])
