"""What each model of a draw came to when its answers are voted and scored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from farthing.models.draw import Draw, bought_cost
from farthing.models.recording import Floats, Ints
from farthing.policies.decisions import PRICES
from farthing.policies.ladder import chains
from farthing.policies.scored import seen_of
from farthing.signals.seen import Seen
from farthing.signals.signal import Signal


@dataclass(frozen=True, slots=True)
class Measures:
    """Of each model, by its place in the draw, with n questions.

    Attributes:
        seen: its samples.
        scores: the signal's values, shape (n,).
        right: how right its commonest answer is, shape (n,).
        cost: picodollars of its samples, shape (n,).
        scoring: picodollars of the signal, shape (n,).
    """

    seen: Sequence[Seen]
    scores: Sequence[Floats]
    right: Sequence[Floats]
    cost: Sequence[Ints]
    scoring: Sequence[Ints]

    @property
    def unit(self) -> float:
        """The strongest model's mean cost, in picodollars: what prices are relative to."""
        return max(float(self.cost[-1].mean()), 1.0)


def measure(
    draw: Draw,
    right: Sequence[Floats],
    signal: Signal,
    samples: Sequence[int],
    memo: dict[object, Any] | None = None,
) -> Measures:
    """The measures of every model; DataError where the recording lacks the signal."""
    memo = {} if memo is None else memo
    places = range(len(draw.models))
    seen = [seen_of(draw, m, samples[m], memo) for m in places]
    return Measures(
        seen,
        [signal.values([stage]) for stage in seen],
        [
            np.take_along_axis(right[m], stage.chosen[:, None], 1)[:, 0]
            for m, stage in enumerate(seen)
        ],
        [draw.cost[m][:, : samples[m]].sum(axis=1) for m in places],
        [
            np.zeros(draw.questions, np.int64)
            if signal.bought is None
            else bought_cost(draw, m, signal.bought, stage.chosen)
            for m, stage in enumerate(seen)
        ],
    )


def worthwhile(told: Measures, most: int) -> list[int]:
    """At most that many models: those that are best alone at some price, then others, by cost."""
    means = np.array([float(cost.mean()) for cost in told.cost])
    quality = np.array([float(answers.mean()) for answers in told.right])
    alone = (quality[:, None] - np.outer(means / told.unit, PRICES)).argmax(axis=0)
    front = {m for chain in chains(means, quality) for m in chain}
    ranked = dict.fromkeys([int(alone[-1]), *alone.tolist(), *sorted(front)])
    return sorted(list(ranked)[:most], key=lambda m: (means[m], m))
