"""How often rules of PAC certification refuse, and what those that do not refuse buy."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np

from farthing.core.errors import InfeasibleError
from farthing.models.draw import Draw
from farthing.plan._path import path
from farthing.plan.calibrate import Promise, calibrate
from farthing.plan.evaluate import Result, apply
from farthing.plan.outcomes import Outcomes
from farthing.plan.search import frontier, sequences
from farthing.risk.binomial import interval, p_values
from farthing.risk.bootstrap import mean_interval
from farthing.risk.testing import bonferroni, fixed_sequence

Cascade = tuple[tuple[int, ...], tuple[float, ...]]
Bought = tuple[float, float, float, bool]
"""Accuracy, cost and regret on the held-out half, and whether it is over alpha on all questions."""

GRAPH = "graph, as `farthing plan` does"
CEILING = "the safest model alone, one test"

TIGHT = [
    ("0.0057", 0.1),
    ("0.0058", 0.1),
    ("0.0059", 0.1),
    ("0.006", 0.1),
    ("0.008", 0.1),
    ("0.02", 0.1),
    ("0.006", 0.35),
    ("0.02", 0.35),
]


def chosen(drawn: Draw, promise: Promise, signal: str, seed: int) -> dict[str, Cascade | None]:
    """What each rule takes from one half of the recording; None where it refuses."""
    budget, alpha, delta = promise.budget.pico, promise.alpha, promise.delta
    assert delta is not None
    every = Outcomes(drawn, signal)

    def p(on: Outcomes, cascades: list[Cascade]) -> np.ndarray:
        counts = [int(apply(on, *one).violated(budget).sum()) for one in cascades]
        return p_values(counts, on.questions, alpha)

    def best(cascades: list[Cascade], passed: np.ndarray) -> Cascade | None:
        kept = [one for one, certain in zip(cascades, passed, strict=True) if certain]
        figures = {one: apply(every, *one) for one in kept}
        return min(
            kept,
            key=lambda one: (figures[one].regret.sum(), figures[one].cost.sum()),
            default=None,
        )

    order = np.random.default_rng(seed).permutation(drawn.questions)
    count = round(drawn.questions / 2)
    pilot, certify = (
        Outcomes(drawn.select(np.sort(part)), signal) for part in (order[:count], order[count:])
    )
    level = pilot.questions * promise.allowed(certify.questions) // certify.questions
    steps = frontier(pilot, budget, [level // 2, level])
    along = [(one.models, one.thresholds) for one in path(pilot, steps, budget, level)]
    grid = [
        (models, tuple(map(float, thresholds)))
        for models in sequences(len(drawn.models))
        for thresholds in itertools.product(
            *(gate.thresholds for gate in every.sequence(models).gates)
        )
    ]
    safest = [((0,), ())]
    try:
        found = calibrate(drawn, promise, signal=signal, seed=seed).chosen
        ours: Cascade | None = (found.models, found.thresholds)
    except InfeasibleError:
        ours = None
    return {
        "Bonferroni, all cascades": best(grid, bonferroni(p(every, grid), delta)),
        "pilot's path, Bonferroni": best(along, bonferroni(p(certify, along), delta)),
        "pilot's path, fixed sequence": best(along, fixed_sequence(p(certify, along), delta)),
        GRAPH: ours,
        CEILING: best(safest, p(every, safest) <= delta),
    }


def bought(cascade: Cascade, held: Outcomes, every: Outcomes, promise: Promise) -> Bought:
    """What a cascade buys."""
    result: Result = apply(held, *cascade)
    over = apply(every, *cascade).violated(promise.budget.pico).mean() > promise.alpha
    assert result.quality is not None
    return result.quality, result.cost_usd_mean, float(result.regret.mean()), bool(over)


def rows(
    found: list[list[dict[str, Bought | None]]], asked: list[list[str]]
) -> Iterator[list[str]]:
    """The table: for each promise and rule, over all splits."""
    for place in range(len(found[0])):
        splits = [split[place] for split in found]
        for rule in splits[0]:
            kept = [done for split in splits if (done := split[rule]) is not None]
            refused = len(splits) - len(kept)
            low, high = interval(refused, len(splits))
            row = [*asked[place], rule, f"{refused / len(splits):.3f} ({low:.3f} to {high:.3f})"]
            if not kept:
                yield [*row, "", "", "", "", ""]
                continue
            quality, cost, regret, over = np.mean(kept, axis=0)
            gain = [
                ours[0] - done[0]
                for split in splits
                if (done := split[rule]) is not None and (ours := split[GRAPH]) is not None
            ]
            beside = ""
            if rule != GRAPH and gain:
                low, high = mean_interval(gain)
                beside = f"{np.mean(gain):+.4f} ({low:+.4f} to {high:+.4f})"
            over_all = over * len(kept) / len(splits)
            yield [
                *row,
                f"{quality:.3f}",
                f"{cost:.3g}",
                f"{regret:.3f}",
                f"{over_all:.3f}",
                beside,
            ]
