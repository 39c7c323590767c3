"""Questions counted in cells between cuts, so that all combinations of cuts are summed at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from farthing.models.recording import Floats, Ints
from farthing.plan.outcomes import Gate, Sequence


@dataclass(frozen=True, slots=True)
class Cells:
    """The questions as a sequence with fixed stage costs sees them.

    Attributes:
        cuts: for each gate the thresholds (as indices) worth looking at, ascending.
        cell: for each gate and question how many of the cuts accept it: cut k accepts the
            cells above k. Shape (gates, questions).
        violation, regret: whether the question ends so when it ends at a stage, shape
            (gates + 1, questions).
        cost: picodollars when it ends at a stage, same shape.
    """

    cuts: tuple[Ints, ...]
    cell: NDArray[np.integer]
    violation: NDArray[np.bool_]
    regret: NDArray[np.bool_]
    cost: Ints

    @classmethod
    def of(cls, sequence: Sequence, budget: int) -> Cells:
        """The cells of a sequence whose costs do not depend on thresholds."""
        gates = sequence.gates
        cuts = tuple(worthwhile(gate) for gate in gates)
        n = len(sequence.end.cost)
        cell = [np.searchsorted(cut, gate.rank) for cut, gate in zip(cuts, gates, strict=True)]
        cost = np.cumsum([*(gate.cost[0] for gate in gates), sequence.end.cost], axis=0)
        regret = np.array([*(gate.regret for gate in gates), sequence.end.regret])
        return cls(
            cuts, np.array(cell, np.int32).reshape(len(gates), n), cost > budget, regret, cost
        )

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of cuts of each gate."""
        return tuple(len(cut) for cut in self.cuts)

    def tabulate(self) -> tuple[Ints, Ints, Floats]:
        """Violations, regret and cost of every combination of cuts, each of shape `shape`."""
        depth = len(self.cuts)
        sums = [np.zeros(self.shape) for _ in range(3)]
        for stage in range(depth + 1):
            dims = min(stage + 1, depth)
            sizes = tuple(size + 1 for size in self.shape[:dims])
            length = int(np.prod(sizes))
            flat = np.zeros(self.cell.shape[1], np.int64)
            for axis in range(dims):
                flat = flat * sizes[axis] + self.cell[axis]
            weights = (self.violation[stage], self.regret[stage], self.cost[stage])
            for total, weight in zip(sums, weights, strict=True):
                table = np.bincount(flat, weight, length).astype(float).reshape(sizes)
                for axis in range(dims):
                    table = _accepted(table, axis) if axis == stage else _passed(table, axis)
                total += table.reshape(table.shape + (1,) * (depth - dims))
        violations, regret, cost = sums
        return np.rint(violations).astype(np.int64), np.rint(regret).astype(np.int64), cost


def worthwhile(gate: Gate) -> Ints:
    """The thresholds (as indices) at which a gate may lie in a best cascade.

    To accept a question whose answer is the strongest model's never does harm: it costs less
    and leaves no regret. So a gate need only lie just above values at which some question
    differs, or below all values. Index t accepts ranks above t.
    """
    differs = np.zeros(len(gate.thresholds) + 1, np.bool_)
    differs[gate.rank[gate.regret]] = True
    differs[0] = True
    return np.flatnonzero(differs[:-1])


def _accepted(table: Floats, axis: int) -> Floats:
    """Sums over the cells above each cut."""
    later = np.flip(np.cumsum(np.flip(table, axis), axis), axis)
    return later.take(np.arange(1, table.shape[axis]), axis)


def _passed(table: Floats, axis: int) -> Floats:
    """Sums over the cells up to each cut."""
    return np.cumsum(table, axis).take(np.arange(table.shape[axis] - 1), axis)
