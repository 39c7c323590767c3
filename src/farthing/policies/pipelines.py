"""All pipelines of a few calls on recorded answers: their states, and the one of most worth."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from farthing.models.draw import Draw
from farthing.models.recording import Floats, Ints
from farthing.signals.seen import Seen, of_draw

CALLS, BINS = 4, 4
PRIOR = 8.0
"""How many questions the mean of all states with the same calls counts for in each state."""

Counts = tuple[int, ...]
"""How many samples of each model were taken."""


class Table:
    """All that could be called, on questions whose right answers are known.

    Attributes:
        states: for each way to have called, states and labels, see `number_states`.
        right, cost: of each model's samples, shapes (n, samples); cost as a share of the
            strongest's mean.
    """

    def __init__(
        self,
        states: Mapping[Counts, tuple[Ints, Ints]],
        right: Sequence[Floats],
        cost: Sequence[Floats],
    ) -> None:
        self.right, self.cost = right, cost
        self.cells = {
            counts: np.unique(numbers, return_inverse=True)
            for counts, (numbers, _) in states.items()
        }
        self.order = sorted(states, key=sum, reverse=True)

    def best(self, price: float) -> tuple[Ints, Ints]:
        """States and actions of the pipeline that is worth most at a price."""
        worth: dict[Counts, Floats] = {}
        actions = {}
        for counts in self.order:
            values = self._stops(counts)
            for model in range(len(counts)):
                more = tuple(c + (m == model) for m, c in enumerate(counts))
                if more in worth:
                    values[model] = worth[more] - price * self.cost[model][:, counts[model]]
            worth[counts], actions[counts] = self._choose(counts, values)
        return self._listed(actions)

    def fixed(self, price: float) -> tuple[Ints, Ints]:
        """States and actions of the best pipeline whose calls do not depend on answers."""
        found = []
        for counts in self.order:
            if not sum(counts):
                continue
            worth, actions = self._choose(counts, self._stops(counts))
            paid = sum(self.cost[model][:, place].mean() for model, place in slots_of(counts))
            found.append((float(worth.mean()) - price * paid, counts, actions))
        _, counts, actions = max(found, key=lambda each: each[0])
        chosen, reached = {counts: actions}, [0] * len(counts)
        for model, _ in slots_of(counts):
            at = tuple(reached)
            chosen[at] = np.full(len(self.cells[at][0]), model)
            reached[model] += 1
        return self._listed(chosen)

    def _stops(self, counts: Counts) -> dict[int, Floats]:
        """By action, how right each sample is."""
        return {
            -1 - slot: self.right[model][:, place]
            for slot, (model, place) in enumerate(slots_of(counts))
        }

    def _choose(self, counts: Counts, values: Mapping[int, Floats]) -> tuple[Floats, Ints]:
        """What comes of the best action in each cell, shape (n,), and these actions."""
        numbers, cell = self.cells[counts]
        size = np.bincount(cell, minlength=len(numbers))
        means = np.stack(
            [
                (np.bincount(cell, value, len(numbers)) + PRIOR * value.mean()) / (size + PRIOR)
                for value in values.values()
            ],
            axis=1,
        )
        chosen = means.argmax(axis=1)
        came = np.stack(list(values.values()), axis=1)[np.arange(len(cell)), chosen[cell]]
        return came, np.array(list(values))[chosen]

    def _listed(self, actions: Mapping[Counts, Ints]) -> tuple[Ints, Ints]:
        """States and actions that can be reached from the beginning, by ascending state."""
        reached, wanted = [], [(0,) * len(self.right)]
        while wanted:
            counts = wanted.pop()
            reached.append(counts)
            for model in np.unique(actions[counts][actions[counts] >= 0]):
                more = tuple(c + (m == model) for m, c in enumerate(counts))
                if more not in reached and more not in wanted:
                    wanted.append(more)
        states = np.concatenate([self.cells[counts][0] for counts in reached])
        order = np.argsort(states)
        return states[order], np.concatenate([actions[counts] for counts in reached])[order]


def reachable(limits: Counts) -> list[Counts]:
    """All ways to have called each model at most so often, and `CALLS` times in all."""
    ranges = (range(limit + 1) for limit in limits)
    return [counts for counts in itertools.product(*ranges) if sum(counts) <= CALLS]


def slots_of(counts: Counts) -> list[tuple[int, int]]:
    """Model and number of each sample that was taken."""
    return [(model, place) for model, count in enumerate(counts) for place in range(count)]


def stages_of(
    draw: Draw, models: Sequence[int], limits: Counts, memo: dict[object, Any]
) -> list[Seen]:
    """The samples of each model on a draw, made once for all that share `memo`."""
    key = ("hops", tuple(models), limits)
    if key not in memo:
        memo[key] = [
            of_draw(draw, model, limit) for model, limit in zip(models, limits, strict=True)
        ]
    stages: list[Seen] = memo[key]
    return stages


def number_states(
    stages: Sequence[Seen | None], counts: Counts, column: str, cuts: Sequence[Sequence[float]]
) -> tuple[Ints, Ints]:
    """The numbers of the states after `counts`, shape (n,), and labels, shape (n, samples).

    Equal answers have the same label, from 1 in the order of samples; 0 is no answer.
    """
    taken = [
        stage.answers[:, place]
        for stage, count in zip(stages, counts, strict=True)
        for place in range(count)
        if stage is not None
    ]
    n = next((len(stage.answers) for stage in stages if stage is not None), 1)
    labels = np.zeros((n, len(taken)), np.int64)
    for slot, answers in enumerate(taken):
        labels[:, slot] = np.where(answers >= 0, labels.max(axis=1, initial=0) + 1, 0)
        for before in reversed(range(slot)):
            same = (taken[before] == answers) & (answers >= 0)
            labels[same, slot] = labels[same, before]
    number = np.zeros(n, np.int64)
    for digit in (*counts, *labels.T):
        number = number * (CALLS + 1) + digit
    number = number * (CALLS + 1) + len(taken)
    strongest = max((m for m, count in enumerate(counts) if count), default=None)
    level = np.zeros(n, np.int64)
    if column and strongest is not None and (stage := stages[strongest]) is not None:
        values = stage.columns[column][:, 0] if column in stage.columns else np.full(n, np.nan)
        level = np.where(np.isnan(values), 0, 1 + np.searchsorted(cuts[strongest], values))
    return number * (BINS + 1) + level, labels


def cuts_of(stage: Seen, column: str) -> tuple[float, ...]:
    """Values that divide a model's first samples into `BINS` equal parts."""
    known = stage.columns[column][:, 0]
    known = known[~np.isnan(known)]
    if not len(known):
        return (0.0,) * (BINS - 1)
    parts = np.quantile(known, np.arange(1, BINS) / BINS, method="lower")
    return tuple(parts.tolist())
