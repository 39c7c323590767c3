"""The search finds what plain enumeration finds."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import recordings
from hypothesis import given, settings
from hypothesis import strategies as st

from farthing.models.draw import draw
from farthing.plan import search
from farthing.plan._bound import least_regret
from farthing.plan._cells import Cells
from farthing.plan.evaluate import apply, apply_candidate
from farthing.plan.outcomes import Outcomes


def enumerated(outcomes: Outcomes, budget: int) -> dict[int, int]:
    """Least regret by number of violations, over every cascade there is."""
    best: dict[int, int] = {}
    for models in search.sequences(len(outcomes.draw.models)):
        gates = outcomes.sequence(models).gates
        for thresholds in itertools.product(*(gate.thresholds for gate in gates)):
            result = apply(outcomes, models, tuple(map(float, thresholds)))
            violations = int(result.violated(budget).sum())
            best[violations] = min(best.get(violations, 10**9), int(result.regret.sum()))
    return best


def least(best: dict[int, int], allowed: int) -> int | None:
    return min((regret for v, regret in best.items() if v <= allowed), default=None)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    signal=st.sampled_from(["agreement", "pooled-agreement", "min_logprob", "conf_raw"]),
    models=st.integers(2, 3),
    quantile=st.floats(0.1, 0.95),
)
def test_frontier_is_exact(seed, signal, models, quantile):
    recording = recordings.recording(14, models, 3, seed)
    drawn = draw(recording, [f"m{i}" for i in range(models)], 3, seed)
    outcomes = Outcomes(drawn, signal)
    budget = int(np.quantile(np.concatenate([c.ravel() for c in drawn.cost]) * 3, quantile))
    best = enumerated(outcomes, budget)
    steps = search.frontier(outcomes, budget)
    for allowed in range(15):
        within = [step for step in steps if step.violations <= allowed]
        assert (within[-1].regret if within else None) == least(best, allowed)
    for step in steps:
        result = apply_candidate(outcomes, step)
        assert int(result.violated(budget).sum()) == step.violations
        assert int(result.regret.sum()) == step.regret
        assert int(result.cost.sum()) == step.cost


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), allowed=st.integers(0, 25), gates=st.integers(2, 3))
def test_branch_and_bound_equals_the_table(seed, allowed, gates):
    recording = recordings.recording(25, gates + 1, 1, seed, null=0.0)
    drawn = draw(recording, [f"m{i}" for i in range(gates + 1)], 1)
    outcomes = Outcomes(drawn, "conf_raw")
    budget = int(np.quantile(np.concatenate([c.ravel() for c in drawn.cost]), 0.8))
    cells = Cells.of(outcomes.sequence(tuple(range(gates + 1))), budget)
    violations, regret, _ = cells.tabulate()
    usable = regret[violations <= allowed]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("farthing.plan._bound.LEAF", 8)
        found = least_regret(cells, allowed)
    assert (found.regret if found else None) == (usable.min() if usable.size else None)
    if found:
        assert violations[found.setting] == found.violations <= allowed


def test_large_tables_take_the_other_ways_to_the_same_end(monkeypatch):
    recording = recordings.recording(60, 4, 3, 5)
    drawn = draw(recording, ["m0", "m1", "m2", "m3"], 3)
    for signal in ("agreement", "conf_raw"):
        outcomes = Outcomes(drawn, signal)
        budget = int(drawn.cost[3].mean())
        levels = [3, 6, 12, 30]
        usual = search.frontier(outcomes, budget, levels)
        with monkeypatch.context() as patch:
            patch.setattr(search, "TABLE", 50)
            patch.setattr(search, "CELLS", 50)
            patch.setattr("farthing.plan._bound.LEAF", 50)
            other = search.frontier(outcomes, budget, levels)
        for level in levels:
            found = [
                [s.regret for s in steps if s.violations <= level][-1:] for steps in (usual, other)
            ]
            assert found[0] == found[1]


def test_brute_force_on_a_grid_does_no_better():
    recording = recordings.recording(80, 3, 5, 9)
    drawn = draw(recording, ["m0", "m1", "m2"], 5)
    outcomes = Outcomes(drawn)
    budget, allowed = int(drawn.cost[2].sum(axis=1).mean()), 8
    grid = np.linspace(0, 1, 15)
    best = 10**9
    for one, two in itertools.product(grid, grid):
        result = apply(outcomes, (0, 1, 2), (one, two))
        if result.violated(budget).sum() <= allowed:
            best = min(best, int(result.regret.sum()))
    steps = search.frontier(outcomes, budget)
    assert [s.regret for s in steps if s.violations <= allowed][-1] <= best
