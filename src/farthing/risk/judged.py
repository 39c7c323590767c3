"""Several systems ranked by a biased judge and a few labels, with intervals that hold together.

Each system answers the same questions. On some of them all its answers are labelled, and a judge
scores them everywhere. A judge may favour one system (its own family, longer answers), so its
means rank wrongly however many there are. Here the mean of each system, and the difference of each
pair, is estimated by PPI++, which takes out the bias of that system, or pair.

Bonferroni makes the intervals of the means hold all together, and those of the differences (a
family of its own), from which come the ranks. Differences are paired: of what two systems have in
common, such as hard questions, nothing is left in them.

Assumes what `prediction_powered` does: labelled questions drawn at random, and independent.

Source: ARES: An Automated Evaluation Framework for Retrieval-Augmented Generation Systems (Saad-
Falcon, Khattab, Potts, Zaharia, 2024), with PPI++ in place of PPI and simultaneous intervals.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from farthing.risk.prediction_powered import Estimate, ppi_plus_mean

Interval = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Ranked:
    """What is known of one system.

    Attributes:
        mean: its estimated mean score.
        interval: of the mean; all systems' hold together.
        best, worst: ranks it may have, counted from 1; all systems' hold together.
    """

    mean: Estimate
    interval: Interval
    best: int
    worst: int


def rank(
    labels: ArrayLike, judged: ArrayLike, more: ArrayLike, confidence: float = 0.95
) -> list[Ranked]:
    """Mean scores and ranks of systems, in the order of the columns.

    Args:
        labels: scores by people, shape (n, systems).
        judged: the judge's scores of the same answers, shape (n, systems).
        more: its scores of the answers to other questions, shape (N, systems).
        confidence: that all intervals of means hold; and likewise all ranks.

    Raises:
        ValueError: with fewer than three labelled questions, or shapes that do not fit.
    """
    y, f, rest = (np.asarray(values, dtype=float) for values in (labels, judged, more))
    if y.ndim != 2 or y.shape != f.shape or rest.shape[1:] != y.shape[1:]:
        raise ValueError(f"shapes {y.shape}, {f.shape}, {rest.shape}: want questions x systems")
    systems = y.shape[1]
    means = [ppi_plus_mean(y[:, i], f[:, i], rest[:, i]) for i in range(systems)]
    each = 1 - (1 - confidence) / systems
    pair = 1 - (1 - confidence) / max(1, systems * (systems - 1) // 2)
    better = np.zeros((systems, systems), np.bool_)
    for i in range(systems):
        for j in range(i):
            difference = ppi_plus_mean(
                y[:, i] - y[:, j], f[:, i] - f[:, j], rest[:, i] - rest[:, j]
            )
            if difference.error > 0:  # two systems that never differ are no evidence of order
                low, high = difference.interval(pair)
                better[i, j], better[j, i] = low > 0, high < 0
    return [
        Ranked(
            means[i],
            means[i].interval(each),
            1 + int(better[:, i].sum()),
            systems - int(better[i].sum()),
        )
        for i in range(systems)
    ]
