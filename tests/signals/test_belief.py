"""The value of asking on, against trying every strategy."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farthing.models.recording import Floats
from farthing.signals.belief import Belief, binned
from farthing.signals.verification import Verification


def made(seed: int, models: int, price: float) -> Belief:
    """A process with two bins."""
    rng = np.random.default_rng(seed)
    prior = rng.dirichlet(np.ones(2**models)).reshape((2,) * models)
    chances = tuple(rng.dirichlet(np.ones(2), size=2) for _ in range(models - 1))
    costs = tuple(np.sort(rng.random(models)).tolist())
    cuts = (np.array([0.5]),) * (models - 1)
    return Belief(Verification(), prior, cuts, chances, costs, price)


def gain(belief: Belief, keeps: dict[tuple[int, ...], bool]) -> float:
    """The expected gain of keeping answers by what was seen: the sum over all that can be."""
    models, total = belief.prior.ndim, 0.0
    for state in itertools.product((0, 1), repeat=models):
        for seen in itertools.product((0, 1), repeat=models - 1):
            chance = float(belief.prior[state])
            for m, observation in enumerate(seen):
                chance *= float(belief.chances[m][state[m], observation])
            end = next((m for m in range(models - 1) if keeps[seen[: m + 1]]), models - 1)
            paid = belief.price * sum(belief.costs[: end + 1])
            total += chance * (state[end] - paid)
    return total


@settings(max_examples=40)
@given(st.integers(0, 10_000), st.sampled_from([2, 3]), st.floats(0, 3))
def test_it_is_the_best_strategy_there_is(seed: int, models: int, price: float) -> None:
    belief = made(seed, models, price)
    seen = [bins for m in range(1, models) for bins in itertools.product((0, 1), repeat=m)]
    own = {bins: bool(belief.gains([np.array([float(b)]) for b in bins])[0] >= 0) for bins in seen}
    best = max(
        gain(belief, dict(zip(seen, keeps, strict=True)))
        for keeps in itertools.product((False, True), repeat=len(seen))
    )
    assert gain(belief, own) == pytest.approx(best)


def sample(n: int, seed: int) -> tuple[list[Floats], list[Floats]]:
    """Verification that says no where the small model is right."""
    rng = np.random.default_rng(seed)
    right = [(rng.random(n) < share).astype(float) for share in (0.6, 0.9)]
    return [rng.normal(loc=-right[0])], right


def test_verification_that_is_mostly_wrong_is_turned_round() -> None:
    observed, right = sample(4000, 0)
    belief = Belief.fit(Verification(), observed, right, [0.1, 1.0], 0.3)
    low, high = belief.gains([np.array([-3.0, 3.0])])
    assert low > 0 > high


def test_what_it_learns_is_what_there_is() -> None:
    observed, right = sample(40_000, 1)
    belief = Belief.fit(Verification(), observed, right, [0.1, 1.0], 0.3)
    assert belief.prior == pytest.approx(np.outer([0.4, 0.6], [0.1, 0.9]), abs=0.01)
    bins = binned(observed[0], belief.cuts[0])
    share = [right[0][bins == b].mean() for b in range(6)]
    for b in range(6):
        after = belief._after(belief.prior, 0, b)
        assert after[1].sum() / after.sum() == pytest.approx(share[b], abs=0.01)


def test_the_unknown_is_in_the_lowest_bin() -> None:
    cuts = np.array([0.0, 1.0])
    assert binned(np.array([np.nan, -np.inf, 0.0, 0.5, 1.0, 2.0]), cuts).tolist() == [
        0, 0, 0, 1, 1, 2,
    ]  # fmt: skip
