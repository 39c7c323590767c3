"""How far two rankings of the same things agree."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True, slots=True)
class Agreement:
    """Two rankings beside each other, pair by pair.

    Attributes:
        pairs: pairs of things that the first ranking tells apart.
        reversed: those of them that the second ranks the other way round.
        tau: Kendall's tau-b, which allows for ties; NaN where one ranking ties everything.
    """

    pairs: int
    reversed: int
    tau: float

    @property
    def rate(self) -> float:
        """The share of pairs that are reversed; NaN without pairs."""
        return self.reversed / self.pairs if self.pairs else float("nan")


def agreement(first: ArrayLike, second: ArrayLike) -> Agreement:
    """Compare the rankings by two lists of numbers of the same things (Kendall, 1945)."""
    a, b = _signs(first), _signs(second)
    both = a * b
    apart = np.count_nonzero(a) * float(np.count_nonzero(b))
    tau = float(both.sum()) / apart**0.5 if apart else float("nan")
    return Agreement(int(np.count_nonzero(a)), int(np.count_nonzero(both < 0)), tau)


def _signs(values: ArrayLike) -> NDArray[np.float64]:
    """Of each pair, which is larger: -1, 0 or 1."""
    data = np.asarray(values, dtype=float)
    upper = np.triu_indices(len(data), 1)
    signs: NDArray[np.float64] = np.sign(data[:, None] - data[None, :])[upper]
    return signs
