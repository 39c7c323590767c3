"""A sequence of cascades from cautious to bold, fixed by the pilot questions alone."""

from __future__ import annotations

import numpy as np

from farthing.models.recording import Ints
from farthing.plan.evaluate import Result, apply, single
from farthing.plan.outcomes import Outcomes
from farthing.plan.search import Candidate

STEPS = 80

Setting = tuple[int, ...]


def path(pilot: Outcomes, steps: list[Candidate], budget: int, level: int) -> list[Candidate]:
    """Cascades around the best one with at most `level` violations among the pilot questions.

    Each passes up whatever those before it pass up, so that violations grow along the path (but
    for early stopping of votes). It begins with the safest model alone, then the cascade that
    violates least of all.
    `steps` is the pilot's frontier (see `search.frontier`), not empty.
    """
    within = [step for step in steps if step.violations <= level] or steps[:1]
    best = within[-1]
    if not best.thresholds:
        half = [step for step in within if step.violations <= level // 2]
        sequence = [steps[0], *half[-1:], best]
    else:
        sequence = [steps[0], *_Walk(pilot, best, budget).path(2 * level + 1)]
    return list(dict.fromkeys([_safest(pilot, budget), *sequence]))


def _safest(pilot: Outcomes, budget: int) -> Candidate:
    """The model that violates least alone, of several the one whose dearest answer costs least.

    The best cascade without violations may just so have none: it can fail to be certified where
    a cheap model would not, and what is refused is then feasible.
    """
    alone = [single(pilot, model) for model in range(len(pilot.draw.models))]
    figures = [(totals(result, budget), int(result.cost.max())) for result in alone]
    model = min(range(len(alone)), key=lambda m: (figures[m][0][0], figures[m][1]))
    return Candidate((model,), (), *figures[model][0])


class _Walk:
    """From the best cascade, gate by gate, down to accepting everything and up again."""

    def __init__(self, pilot: Outcomes, best: Candidate, budget: int) -> None:
        self._pilot, self._best, self._budget = pilot, best, budget
        self._gates = pilot.sequence(best.models).gates
        self._start: Setting = tuple(
            int(np.searchsorted(gate.thresholds, threshold))
            for gate, threshold in zip(self._gates, best.thresholds, strict=True)
        )
        self._known: dict[Setting, tuple[int, int, int]] = {}

    def path(self, most: int) -> list[Candidate]:
        """From nearly no violations to more than `most`."""
        down = self._follow(self._start, -1, most)
        up = self._follow(self._start, 1, most)
        return [self._candidate(s) for s in [*reversed(down), self._start, *up]]

    def _follow(self, setting: Setting, direction: int, most: int) -> list[Setting]:
        """One gate moves at a time, the one that trades regret for violations best."""
        found: list[Setting] = []
        for count in range(STEPS):
            before = self._figures(setting)
            moves = [
                move
                for gate in range(len(setting))
                if (move := self._move(setting, gate, direction, count))
            ]
            if not moves or (direction > 0 and before[0] > most):
                break
            setting = min(moves, key=lambda move: _price(before, self._figures(move), direction))
            found.append(setting)
        return found

    def _move(self, setting: Setting, gate: int, direction: int, count: int) -> Setting | None:
        """The setting with one gate moved, by ever larger strides; None at its end."""
        last = len(self._gates[gate].thresholds) - 1
        stride = max(1, last // STEPS) * 2 ** (count // 12)
        place = min(max(setting[gate] + direction * stride, 0), last)
        if place == setting[gate]:
            return None
        return (*setting[:gate], place, *setting[gate + 1 :])

    def _thresholds(self, setting: Setting) -> tuple[float, ...]:
        return tuple(
            float(gate.thresholds[place]) for gate, place in zip(self._gates, setting, strict=True)
        )

    def _figures(self, setting: Setting) -> tuple[int, int, int]:
        """Violations, regret and cost on the pilot questions."""
        if setting not in self._known:
            result = apply(self._pilot, self._best.models, self._thresholds(setting))
            self._known[setting] = totals(result, self._budget)
        return self._known[setting]

    def _candidate(self, setting: Setting) -> Candidate:
        return Candidate(self._best.models, self._thresholds(setting), *self._figures(setting))


def totals(result: Result, budget: int) -> tuple[int, int, int]:
    """Violations, regret and cost of a result, summed over its questions."""
    cost: Ints = result.cost
    return int(result.violated(budget).sum()), int(result.regret.sum()), int(cost.sum())


def _price(
    before: tuple[int, int, int], after: tuple[int, int, int], direction: int
) -> tuple[float, int]:
    """What a move costs: regret per violation saved, or violations per regret saved."""
    violations, regret = after[0] - before[0], after[1] - before[1]
    if direction < 0:
        return regret / max(-violations, 0.5), violations
    return max(violations, 0.5) / -regret if regret < 0 else float("inf"), violations
