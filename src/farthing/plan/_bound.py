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

# How a question can end: the bit of (violation + 2 * regret). What it can still come to in a box
# is a set of these, a number from 0 to 15; of each set:
_SETS = np.arange(16)
_CLEAN, _VIOLATES, _REGRETS, _BOTH = ((_SETS >> bit) & 1 > 0 for bit in range(4))
MUST_VIOLATE = ~(_CLEAN | _REGRETS) & (_VIOLATES | _BOTH)
MUST_REGRET = ~(_CLEAN | _VIOLATES) & (_REGRETS | _BOTH)
TORN = ~_CLEAN & _VIOLATES & _REGRETS


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
    endings = (1 << (cells.violation + 2 * cells.regret.astype(np.uint8))).astype(np.uint8)
    heap: list[tuple[int, int, _Box]] = []

    def push(box: _Box) -> None:
        bound, box = _reduce(cells, endings, box, allowed)
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


def _reduce(
    cells: Cells, endings: NDArray[np.uint8], box: _Box, allowed: int
) -> tuple[int | None, _Box]:
    """The least regret possible in the box (None if it violates too much), and it tidied.

    `endings` is the bit of the ending at each stage, shape (gates + 1, questions).
    """
    count = len(box.open)
    on = np.ones(count, np.bool_)
    can = np.zeros(count, np.uint8)
    ways = np.zeros(count, np.uint8)
    for axis, (low, high) in enumerate(zip(box.low, box.high, strict=True)):
        cell = cells.cell[axis].take(box.open)
        reach = on & (cell > low)
        can |= endings[axis].take(box.open) * reach
        ways += reach
        on &= cell <= high
    can |= endings[-1].take(box.open) * on
    ways += on
    decided = ways == 1
    among = np.bincount(can, minlength=16)
    done = np.bincount(can[decided], minlength=16)
    fixed = (
        box.fixed[0] + int(done[MUST_VIOLATE].sum()),
        box.fixed[1] + int(done[MUST_REGRET].sum()),
    )
    tidy = _Box(box.low, box.high, box.open[~decided], fixed)
    violations = box.fixed[0] + int(among[MUST_VIOLATE].sum())
    if violations > allowed:
        return None, tidy
    least = box.fixed[1] + int(among[MUST_REGRET].sum())
    return least + max(0, violations + int(among[TORN].sum()) - allowed), tidy


def _open_share(cells: Cells, box: _Box) -> list[int]:
    """How many open questions each gate of the box decides on."""
    share = []
    for axis, (low, high) in enumerate(zip(box.low, box.high, strict=True)):
        cell = cells.cell[axis].take(box.open)
        share.append(int(np.count_nonzero((cell > low) & (cell <= high))))
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
