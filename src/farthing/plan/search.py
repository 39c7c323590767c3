"""The exact search of thresholds: least regret for every number of budget violations.

A cascade over m models is a sequence of some of them (the others are skipped), gates in front
of the last. For each sequence all distinct thresholds are covered, so the result is the optimum
over everything that the questions can tell apart; a test compares it with plain enumeration.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from farthing.models.recording import Floats, Ints
from farthing.plan._bound import least_regret
from farthing.plan._cells import Cells
from farthing.plan.outcomes import Outcomes, Sequence

TABLE = 4_000_000
CELLS = 300_000


@dataclass(frozen=True, slots=True)
class Candidate:
    """A cascade and how it does on the questions it was searched on.

    Attributes:
        models: indices of the models asked in turn; the last accepts always.
        thresholds: for each model but the last.
        violations: questions that cost more than the budget.
        regret: questions answered otherwise than by the strongest model.
        cost: of all questions together, in picodollars.
    """

    models: tuple[int, ...]
    thresholds: tuple[float, ...]
    violations: int
    regret: int
    cost: int


def frontier(outcomes: Outcomes, budget: int, levels: Iterable[int] = ()) -> list[Candidate]:
    """The cascade of least regret for every number of violations, fewest violations first.

    Regret falls strictly from one to the next; among equals the cheaper stands. `budget` is in
    picodollars; a question violates it by costing more.

    Sequences with too many thresholds to tabulate (signals with more than some thousand
    distinct values in front of two or more gates) are searched by branch and bound for the
    numbers of violations in `levels` only, there exactly in regret.
    """
    steps: list[Candidate] = []
    large: list[tuple[Sequence, Cells]] = []
    for models in sequences(len(outcomes.draw.models)):
        sequence = outcomes.sequence(models)
        settings = np.prod([len(gate.thresholds) for gate in sequence.gates], dtype=float)
        if any(len(gate.cost) > 1 for gate in sequence.gates) or settings <= 64:
            steps.extend(_descend(sequence, budget))
            continue
        cells = Cells.of(sequence, budget)
        if len(cells.shape) == 1 or np.prod(cells.shape, dtype=float) <= CELLS:
            steps.extend(_tabulated(sequence, cells))
        else:
            large.append((sequence, cells))
    steps = _pareto(steps)
    for allowed in sorted(set(levels)) if large else ():
        best = next((step for step in reversed(steps) if step.violations <= allowed), None)
        for sequence, cells in large:
            found = least_regret(cells, allowed, None if best is None else best.regret)
            if found is not None:
                thresholds = tuple(
                    float(gate.thresholds[cuts[cut]])
                    for gate, cuts, cut in zip(
                        sequence.gates, cells.cuts, found.setting, strict=True
                    )
                )
                best = Candidate(
                    sequence.models, thresholds, found.violations, found.regret, found.cost
                )
                steps = _pareto([*steps, best])
    return steps


def sequences(count: int) -> list[tuple[int, ...]]:
    """All non-empty ascending choices of `count` models, shortest first."""
    indices = range(count)
    return [
        chosen for size in range(1, count + 1) for chosen in itertools.combinations(indices, size)
    ]


def _pareto(candidates: Iterable[Candidate]) -> list[Candidate]:
    """The candidates with less regret than all that violate no more often."""
    steps: list[Candidate] = []
    ordered = sorted(candidates, key=lambda c: (c.violations, c.regret, c.cost, len(c.models)))
    for candidate in ordered:
        if not steps or candidate.regret < steps[-1].regret:
            steps.append(candidate)
    return steps


def _steps(violations: Ints, regret: Ints, cost: Floats | Ints) -> list[int]:
    """Indices of the settings on the frontier of one table."""
    least = np.full(int(violations.max()) + 2, np.iinfo(np.int64).max)
    np.minimum.at(least, violations, regret)
    before = np.minimum.accumulate(np.concatenate([[np.iinfo(np.int64).max], least]))
    useful = np.flatnonzero((regret == least[violations]) & (regret < before[violations]))
    order = useful[np.lexsort((cost[useful], violations[useful]))]
    first = np.ones(len(order), np.bool_)
    first[1:] = np.diff(violations[order]) > 0
    return [int(at) for at in order[first]]


def _tabulated(sequence: Sequence, cells: Cells) -> Iterator[Candidate]:
    tables = cells.tabulate()
    violations, regret, cost = tables[0].ravel(), tables[1].ravel(), tables[2].ravel()
    for at in _steps(violations, regret, cost):
        setting = np.unravel_index(at, cells.shape)
        thresholds = tuple(
            float(gate.thresholds[cuts[i]])
            for gate, cuts, i in zip(sequence.gates, cells.cuts, setting, strict=True)
        )
        yield Candidate(
            sequence.models, thresholds, int(violations[at]), int(regret[at]), round(cost[at])
        )


def _descend(
    sequence: Sequence,
    budget: int,
    chosen: tuple[float, ...] = (),
    spent: Ints | None = None,
    so_far: tuple[int, int, int] = (0, 0, 0),
) -> Iterator[Candidate]:
    """All combinations of thresholds, question by question; costs may depend on thresholds.

    Small tables are evaluated at once, larger ones setting by setting of the first gate, with
    the questions that it passes up. `chosen` are the thresholds set already, `spent` what the
    remaining questions have cost, `so_far` violations, regret and cost of those answered.
    """
    spent = np.zeros(len(sequence.end.cost), np.int64) if spent is None else spent
    shape = tuple(len(gate.thresholds) for gate in sequence.gates)
    if len(shape) <= 1 or np.prod(shape, dtype=float) * len(spent) <= TABLE:
        tables = _evaluate(sequence, budget, spent)
        violations, regret, cost = (t + done for t, done in zip(tables, so_far, strict=True))
        for at in _steps(violations, regret, cost):
            setting = np.unravel_index(at, shape) if shape else ()
            own = tuple(
                float(gate.thresholds[i]) for gate, i in zip(sequence.gates, setting, strict=True)
            )
            yield Candidate(
                sequence.models,
                chosen + own,
                int(violations[at]),
                int(regret[at]),
                int(cost[at]),
            )
        return
    gate, *later = sequence.gates
    for level, threshold in enumerate(gate.thresholds):
        total = spent + gate.cost[min(level, len(gate.cost) - 1)]
        accept = gate.rank > level
        done = (
            so_far[0] + int((accept & (total > budget)).sum()),
            so_far[1] + int((accept & gate.regret).sum()),
            so_far[2] + int(total[accept].sum()),
        )
        rest = _restrict(replace(sequence, gates=tuple(later)), np.flatnonzero(~accept))
        yield from _descend(rest, budget, (*chosen, float(threshold)), total[~accept], done)


def _evaluate(sequence: Sequence, budget: int, spent: Ints) -> tuple[Ints, Ints, Ints]:
    """Violations, regret and cost of every combination of thresholds, each flattened."""
    gates, depth = sequence.gates, len(sequence.gates)
    settings = tuple(len(gate.thresholds) for gate in gates)
    violations, regret, cost = (np.zeros(settings, np.int64) for _ in range(3))
    alive = np.ones((1,) * depth + spent.shape, np.bool_)
    total = spent.reshape((1,) * depth + spent.shape)
    for place, gate in enumerate(gates):
        around = (1,) * place, (1,) * (depth - place - 1)
        levels = np.arange(len(gate.thresholds))[:, None]
        accept = (gate.rank > levels).reshape(*around[0], len(levels), *around[1], -1)
        total = total + gate.cost.reshape(*around[0], len(gate.cost), *around[1], -1)
        done = alive & accept
        violations += np.count_nonzero(done & (total > budget), axis=-1)
        regret += np.count_nonzero(done & gate.regret, axis=-1)
        cost += np.where(done, total, 0).sum(axis=-1)
        alive = alive & ~accept
    total = total + sequence.end.cost
    violations += np.count_nonzero(alive & (total > budget), axis=-1)
    regret += np.count_nonzero(alive & sequence.end.regret, axis=-1)
    cost += np.where(alive, total, 0).sum(axis=-1)
    return violations.ravel(), regret.ravel(), cost.ravel()


def _restrict(sequence: Sequence, questions: Ints) -> Sequence:
    gates = tuple(
        replace(
            gate,
            rank=gate.rank[questions],
            cost=gate.cost[:, questions],
            regret=gate.regret[questions],
            correct=gate.correct[questions],
        )
        for gate in sequence.gates
    )
    end = replace(
        sequence.end,
        cost=sequence.end.cost[questions],
        regret=sequence.end.regret[questions],
        correct=sequence.end.correct[questions],
    )
    return Sequence(sequence.models, gates, end)
