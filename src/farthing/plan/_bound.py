"""Branch and bound over boxes of cuts, for searches too large to tabulate."""

from __future__ import annotations

import heapq
import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from farthing.models.recording import Ints
from farthing.plan._cells import Cells

LEAF = 20_000


@dataclass(frozen=True, slots=True)
class _Box:
    """Cuts between `low` and `high` (inclusive), and the questions they still decide on.

    `fixed` holds violations and regret of the questions that end alike for all cuts in it.
    """

    low: tuple[int, ...]
    high: tuple[int, ...]
    open: Ints
    fixed: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Cut:
    """A setting of the gates (indices into `Cells.cuts`) and its figures."""

    setting: tuple[int, ...]
    violations: int
    regret: int
    cost: int


def least_regret(cells: Cells, allowed: int, below: int | None = None) -> Cut | None:
    """The setting of least regret with at most `allowed` violations; None if there is none.

    With `below`, only settings of less regret than that are of interest. Best first: a box is
    opened only while its bound can beat the best setting found, so the result is exact. In a
    box, a question that could end without violation and without regret is hoped to do so; one
    that can only avoid the one by the other adds to their sum.
    """
    every = np.arange(cells.cell.shape[1])
    whole = _Box((0,) * len(cells.shape), tuple(size - 1 for size in cells.shape), every, (0, 0))
    limit = np.iinfo(np.int64).max if below is None else below
    order = itertools.count()
    heap: list[tuple[int, int, _Box]] = []

    def push(box: _Box) -> None:
        bound, box = _reduce(cells, box, allowed)
        if bound is not None and bound < limit:
            heapq.heappush(heap, (bound, next(order), box))

    push(whole)
    best = _coarse(cells, whole, allowed, limit) if heap else None
    limit = best.regret if best is not None else limit
    while heap:
        bound, _, box = heapq.heappop(heap)
        if bound >= limit:
            break
        sides = [high - low + 1 for low, high in zip(box.low, box.high, strict=True)]
        decided = not len(box.open)
        if decided or np.prod(sides, dtype=float) <= LEAF:
            picks = [np.arange(1 if decided else side) for side in sides]
            found = _leaf(cells, box, picks, allowed, limit)
            if found is not None:
                best, limit = found, found.regret
            continue
        axis = int(np.argmax(_open_share(cells, box)))
        middle = _middle(cells, box, axis)
        for low, high in ((box.low[axis], middle), (middle + 1, box.high[axis])):
            push(
                _Box(
                    (*box.low[:axis], low, *box.low[axis + 1 :]),
                    (*box.high[:axis], high, *box.high[axis + 1 :]),
                    box.open,
                    box.fixed,
                )
            )
    return best


def _reduce(cells: Cells, box: _Box, allowed: int) -> tuple[int | None, _Box]:
    """The least regret possible in the box (None if it violates too much), and it tidied."""
    depth = len(box.low)
    cell = cells.cell[:, box.open]
    reach: list[NDArray[np.bool_]] = []
    on = np.ones(len(box.open), np.bool_)
    for axis in range(depth):
        reach.append(on & (cell[axis] > box.low[axis]))
        on = on & (cell[axis] <= box.high[axis])
    reach.append(on)
    possible = np.array(reach)
    violation, regret = cells.violation[:, box.open], cells.regret[:, box.open]
    ways = possible.sum(axis=0)
    decided = ways == 1
    fixed_violations = box.fixed[0] + int((possible & violation)[:, decided].sum())
    fixed_regret = box.fixed[1] + int((possible & regret)[:, decided].sum())
    rest = ~decided
    possible, violation, regret = possible[:, rest], violation[:, rest], regret[:, rest]
    must_violate = (~possible | violation).all(axis=0)
    must_regret = (~possible | regret).all(axis=0)
    no_clean = (~possible | violation | regret).all(axis=0)
    torn = int((no_clean & ~must_violate & ~must_regret).sum())
    violations = fixed_violations + int(must_violate.sum())
    tidy = _Box(box.low, box.high, box.open[rest], (fixed_violations, fixed_regret))
    if violations > allowed:
        return None, tidy
    least = fixed_regret + int(must_regret.sum())
    return least + max(0, violations + torn - allowed), tidy


def _open_share(cells: Cells, box: _Box) -> Ints:
    """How many open questions each gate of the box decides on."""
    cell = cells.cell[:, box.open]
    low, high = np.array(box.low)[:, None], np.array(box.high)[:, None]
    share: Ints = ((cell > low) & (cell <= high)).sum(axis=1)
    return share


def _middle(cells: Cells, box: _Box, axis: int) -> int:
    """Where to split: half of the gate's open questions on either side."""
    cell = cells.cell[axis, box.open]
    low, high = box.low[axis], box.high[axis]
    inside = cell[(cell > low) & (cell <= high)]
    middle = int(np.partition(inside, len(inside) // 2)[len(inside) // 2]) - 1
    return min(max(middle, low), high - 1)


def _leaf(cells: Cells, box: _Box, picks: list[Ints], allowed: int, limit: int) -> Cut | None:
    """The best setting among `picks` (offsets into the box, for each gate), below `limit`."""
    local = [
        np.searchsorted(low + pick, cells.cell[axis, box.open])
        for axis, (low, pick) in enumerate(zip(box.low, picks, strict=True))
    ]
    part = Cells(
        tuple(picks),
        np.array(local),
        cells.violation[:, box.open],
        cells.regret[:, box.open],
        cells.cost[:, box.open],
    )
    violations, regret, cost = part.tabulate()
    violations, regret = violations + box.fixed[0], regret + box.fixed[1]
    usable = (violations <= allowed) & (regret < limit)
    if not usable.any():
        return None
    least = regret[usable].min()
    at = np.unravel_index(
        int(np.argmin(np.where(usable & (regret == least), cost, np.inf))), cost.shape
    )
    setting = tuple(int(low + pick[i]) for low, pick, i in zip(box.low, picks, at, strict=True))
    return Cut(setting, int(violations[at]), int(regret[at]), total_cost(cells, setting))


def _coarse(cells: Cells, whole: _Box, allowed: int, limit: int) -> Cut | None:
    """A good setting to begin with: the best on a coarse lattice of cuts."""
    steps = int(LEAF ** (1 / len(cells.shape)))
    picks = [
        np.unique(np.linspace(0, size - 1, min(size, steps)).astype(np.int64))
        for size in cells.shape
    ]
    return _leaf(cells, whole, picks, allowed, limit)


def total_cost(cells: Cells, setting: tuple[int, ...]) -> int:
    """The picodollars that all questions cost together at a setting."""
    on = np.ones(cells.cell.shape[1], np.bool_)
    total = 0
    for axis, cut in enumerate(setting):
        accept = on & (cells.cell[axis] > cut)
        total += int(cells.cost[axis, accept].sum())
        on &= ~accept
    return total + int(cells.cost[-1, on].sum())
