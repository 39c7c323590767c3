"""Thresholds of cascades that gain most at each price: what the learnt cascades share.

A cascade is a chain of models; each but the last is accepted where its score reaches a threshold.
For a price, the gain of an answer is how right it is, less the price times what it cost as a
share of the strongest model's mean cost. Thresholds are set one by one to the best value given
the others (exact for one, by a pass over the sorted scores), from several starts, until none
moves: a local optimum, while `plan.search` is exact for the cascades that it covers. Of all
chains that one is taken whose thresholds gain most on questions they were not set on: with many
chains to choose from, one of them always looks good on the questions that it was fitted to.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from farthing.models.recording import Floats, Ints
from farthing.policies.decisions import PRICES

BINS = 64
EACH = 8
FOLDS = 3
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
    fold = np.random.default_rng(0).permutation(len(cost[0])) % FOLDS
    found = []
    for price in PRICES:
        gains = [search.held_out(price, fold) for search in searches]
        search = searches[int(np.argmax(gains))]
        found.append(search.best(price))
    return found


class _Search:
    """The thresholds of one chain."""

    def __init__(
        self, models: tuple[int, ...], right: list[Floats], cost: list[Floats], score: Score
    ) -> None:
        self.models, self.right, self.cost = models, right, cost
        self.cuts: list[Floats] = []
        self.bins: list[Ints] = []
        count = int(np.clip(len(right[0]) // EACH, 2, BINS))
        for place in range(len(models) - 1):
            values = score(models[: place + 1])
            finite = values[np.isfinite(values)]
            cuts = np.zeros(1)
            if len(finite):
                cuts = np.unique(np.quantile(finite, np.linspace(0, 1, count), method="lower"))
            self.cuts.append(cuts)
            self.bins.append(np.searchsorted(cuts, values, side="right"))

    def best(self, price: float) -> Chain:
        """The chain with the thresholds of most gain on all questions."""
        levels = self._levels(price, slice(None))
        thresholds = tuple(
            float(cuts[level]) if level < len(cuts) else float("inf")
            for cuts, level in zip(self.cuts, levels, strict=True)
        )
        return Chain(self.models, thresholds)

    def held_out(self, price: float, fold: Ints) -> float:
        """The gain over all questions, those of each fold by thresholds set without it."""
        if not self.cuts:
            return float((self.right[0] - price * self.cost[0]).sum())
        total = 0.0
        for one in range(FOLDS):
            levels, rows = self._levels(price, fold != one), fold == one
            alive = np.ones(int(rows.sum()), np.bool_)
            for place, (right, cost) in enumerate(zip(self.right, self.cost, strict=True)):
                total -= price * float(cost[rows][alive].sum())
                kept = alive
                if place < len(levels):
                    kept = alive & (self.bins[place][rows] > levels[place])
                total += float(right[rows][kept].sum())
                alive = alive & ~kept
        return total

    def _levels(self, price: float, rows: Any) -> tuple[int, ...]:
        """For each gate the number of the cut of most gain on some of the questions."""
        gates = len(self.cuts)
        if not gates:
            return ()
        cost = [each[rows] for each in self.cost]
        bins = [each[rows] for each in self.bins]
        gains = [right[rows] - price * paid for right, paid in zip(self.right, cost, strict=True)]
        best: tuple[float, tuple[int, ...]] | None = None
        for start in (0.0, 0.5, 1.0):
            levels = [round(start * len(cuts)) for cuts in self.cuts]
            value, before = -np.inf, [-1]
            while levels != before:
                before = list(levels)
                for gate in reversed(range(gates)):
                    levels[gate], value = _level(
                        gate, levels, gains, cost, bins, price, len(self.cuts[gate]) + 1
                    )
                if gates < 2:
                    break
            if best is None or value > best[0]:
                best = value, tuple(levels)
            if gates < 2:
                break
        assert best is not None
        return best[1]


def _level(
    gate: int,
    levels: list[int],
    gains: list[Floats],
    cost: list[Floats],
    bins: list[Ints],
    price: float,
    size: int,
) -> tuple[int, float]:
    """The best level of one gate given the others, and the gain of the chain with it."""
    before = np.ones(len(gains[0]), np.bool_)
    total = 0.0
    for place in range(gate):
        accepted = before & (bins[place] > levels[place])
        total += float(gains[place][accepted].sum())
        before &= ~accepted
        total -= price * float(cost[place][before].sum())
    onward = gains[-1].copy()
    for place in reversed(range(gate + 1, len(gains) - 1)):
        passed = onward - price * cost[place]
        onward = np.where(bins[place] > levels[place], gains[place], passed)
    passed = onward - price * cost[gate]
    here = bins[gate][before]
    accept = np.bincount(here, gains[gate][before], size)
    pass_up = np.bincount(here, passed[before], size)
    values = np.cumsum(pass_up) + np.concatenate([np.cumsum(accept[::-1])[::-1][1:], [0.0]])
    level = int(values.argmax())
    return level, total + float(values[level])
