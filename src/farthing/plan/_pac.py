"""PAC certification with every question that may be used, along a graph of cascades.

Cascades that no data chose can be tested on all questions: each model alone, and where the signal
is a vote, sequences of thresholds, which are shares of votes. The path that the pilot questions
chose can be tested on the others only. All share one level delta (`risk.graph`); what a certified
cascade frees goes on, but never from the pilot's path back to what was fixed beforehand: of
that, the level must not depend on questions that test it too.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from farthing.models.recording import Floats
from farthing.plan.evaluate import apply
from farthing.plan.outcomes import Bools, Outcomes
from farthing.plan.search import sequences
from farthing.risk.binomial import p_values
from farthing.risk.graph import graphical

Cascade = tuple[tuple[int, ...], tuple[float, ...]]

FIRST = 0.8  # of delta, for the first model alone; the rest is for the others
TO_PATH = 0.5  # of the level that a model alone hands on

GROUPS = 15  # sequences of models; with more the level of each is too low to be of use


@dataclass(frozen=True, slots=True)
class Beforehand:
    """Cascades that no question chose.

    Attributes:
        alone: each model alone, in the order in which they were named.
        rising: sequences of cascades from the cautious to the bold, each over the same models.
    """

    alone: list[Cascade]
    rising: list[list[Cascade]]

    @classmethod
    def of(cls, outcomes: Outcomes) -> Beforehand:
        """All that there are for these models and this signal."""
        count = len(outcomes.draw.models)
        alone: list[Cascade] = [((model,), ()) for model in range(count)]
        to_last = [m for m in sequences(count) if len(m) > 1 and m[-1] == count - 1]
        usable = outcomes.voting and len(to_last) <= GROUPS
        return cls(alone, [_rising(outcomes, models) for models in to_last if usable])

    @property
    def cascades(self) -> list[Cascade]:
        """All, in the order of the graph."""
        return [*self.alone, *(cascade for group in self.rising for cascade in group)]


def certified(
    every: Outcomes,
    beforehand: Beforehand,
    path_violated: Bools,
    budget: int,
    alpha: float,
    delta: float,
) -> tuple[Bools, Bools]:
    """Which cascades violate with a rate of at most `alpha`, all with confidence 1 - delta.

    Args:
        every: all questions.
        path_violated: path x certification question, from cautious to bold.
        budget: in picodollars.

    Returns:
        of `beforehand.cascades`, and of the path.
    """
    counts = [int((apply(every, *one).cost > budget).sum()) for one in beforehand.cascades]
    p = np.concatenate(
        [
            p_values(counts, every.questions, alpha),
            p_values(path_violated.sum(axis=1), path_violated.shape[1], alpha),
        ]
    )
    lengths = [len(group) for group in beforehand.rising]
    weights, transitions = levels(len(beforehand.alone), lengths, len(path_violated))
    found = graphical(p, delta, weights, transitions)
    return found[: len(counts)], found[len(counts) :]


def levels(alone: int, lengths: list[int], path: int) -> tuple[Floats, Floats]:
    """Weights and transitions of models alone, rising sequences of these lengths, and a path.

    A model alone is the most cautious of all cascades that begin with it, so that all level is
    with these at first. What is not handed to cascades fixed beforehand goes to the path, or is
    lost without one: their shares must not depend on whether there is a path.
    """
    total = alone + sum(lengths) + path
    weights, hands = np.zeros(total), np.zeros((total, total))
    weights[:alone] = (1 - FIRST) / (alone - 1)
    weights[0] = FIRST
    starts = alone + np.cumsum([0, *lengths])[:-1].astype(np.int64)
    begin = total - path
    hands[:alone, starts] = (1 - TO_PATH) / max(len(lengths), 1)
    for start, length in zip(starts, lengths, strict=True):
        inner = np.arange(start, start + length - 1)
        hands[inner, inner + 1] = 1.0
        others = [*range(alone), *starts[starts != start]]
        hands[start + length - 1, others] = 1 / (len(others) + 1)  # and one for the path
    if path:
        hands[:begin, begin] = 1 - hands[:begin].sum(axis=1)
        inner = np.arange(begin, total - 1)
        hands[inner, inner + 1] = 1.0
    return weights, hands


def _rising(outcomes: Outcomes, models: tuple[int, ...]) -> list[Cascade]:
    """All gates at their lowest, then the one that asks for the least share of votes a step up."""
    grids = [gate.thresholds for gate in outcomes.sequence(models).gates]
    places = [0] * len(grids)
    found = [places.copy()]
    while any(place < len(grid) - 1 for place, grid in zip(places, grids, strict=True)):
        open_ = [gate for gate, grid in enumerate(grids) if places[gate] < len(grid) - 1]
        gate = min(open_, key=lambda gate: float(grids[gate][places[gate]]))
        places[gate] += 1
        found.append(places.copy())
    return [
        (models, tuple(float(grid[at]) for grid, at in zip(grids, places, strict=True)))
        for places in found
    ]
