"""The bench of policies: nothing is judged on what it was learnt from, and its figures are true."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import pytest
import recordings

from farthing.bench.figures import rows
from farthing.bench.policies import BUDGETS, HALF, bench, candidates
from farthing.core.errors import DataError
from farthing.models.draw import Draw
from farthing.plan import selection
from farthing.policies.decisions import PRICES, Decisions
from farthing.policies.threshold import Threshold


@pytest.fixture(scope="module")
def made():
    return bench(recordings.recording(300), methods=["c3po", "threshold"], samples=3)


def test_every_question_is_judged_once(made):
    assert sorted(np.bincount(made.fold)) == [60] * 5
    for judged in made.judged:
        assert len(judged.at) == BUDGETS + 1
        assert (judged.at[HALF].cost > 0).all()


def test_baselines_are_always_there(made):
    names = [row.name for row in rows(made)]
    assert names[:5] == [
        "always-cheap", "always-mid", "always-best", "random at equal cost",
        "oracle",
    ]  # fmt: skip
    assert names[5:] == ["c3po", "threshold"]


def test_figures_are_those_of_the_answers(made):
    row = rows(made)[-1]
    half = made.judged[-1].at[HALF]
    best = made.singles[-1]
    assert row.quality == pytest.approx(half.right.mean())
    assert row.cost_usd_mean == pytest.approx(half.cost.mean() / 1e12)
    over = [float((half.cost > best.cost.mean())[made.fold == f].mean()) for f in range(5)]
    assert list(row.violations) == pytest.approx(over)
    equal = made.judged[-1].equal
    assert row.saving == pytest.approx(1 - equal.cost.sum() / best.cost.sum())
    oracle = next(r for r in rows(made) if r.name == "oracle")
    assert row.oracle_gap == pytest.approx(oracle.quality - row.quality)


@dataclass(frozen=True)
class Clairvoyant(Threshold):
    """Right on every question it was learnt from, and wrong on all others if it can be."""

    kind: ClassVar[str] = "clairvoyant"
    known: tuple[str, ...] = ()

    @classmethod
    def fit(cls, draw: Draw, right: Sequence[Any], *, seed: int = 0) -> list[Self]:
        steps = Threshold.fit(draw, right, seed=seed)[0].steps
        return [cls(steps=steps, known=draw.recording.questions)] * len(PRICES)

    def decide(self, draw: Draw, memo: dict[object, Any] | None = None) -> Decisions:
        known = np.isin(draw.recording.questions, self.known)
        right = np.stack([draw.correct(m)[:, 0] for m in range(len(draw.models))])
        model = np.where(known, right.argmax(axis=0), right.argmin(axis=0))
        n = draw.questions
        cost = np.stack([c[:, 0] for c in draw.cost])[model, np.arange(n)]
        return Decisions(cost, model, np.zeros(n, np.int64), np.ones(n, np.int64))


def test_what_is_learnt_by_heart_does_not_count(monkeypatch):
    monkeypatch.setitem(selection.METHODS, "clairvoyant", Clairvoyant)
    done = bench(recordings.recording(300), methods=["clairvoyant"], samples=1)
    alone = min(float(one.right.mean()) for one in done.singles)
    assert all(float(asked.right.mean()) < alone for asked in done.judged[0].at)


def test_a_method_without_what_it_needs_is_left_out_with_the_reason(monkeypatch):
    class Lacking(Threshold):
        @classmethod
        def fit(cls, draw: Draw, right: Sequence[Any], *, seed: int = 0) -> list[Self]:
            raise DataError("no column 'x'")

    monkeypatch.setitem(selection.METHODS, "lacking", Lacking)
    done = bench(recordings.recording(100), methods=["lacking", "threshold"], samples=1)
    assert done.judged[0].skipped == "no column 'x'"
    assert rows(done)[-2].skipped == "no column 'x'"
    assert not done.judged[1].skipped


def test_candidates_end_with_the_best():
    table = recordings.recording(100)
    assert candidates(table) == ["m0", "m1", "m2"]


def test_noise_is_called_not_significant():
    """A policy that tosses a coin gains nothing, nearly always within its interval."""
    outside = 0
    for seed in range(20):
        done = bench(recordings.recording(200, 2, 1, seed), methods=["coin"], samples=1, seed=seed)
        row = rows(done)[-1]
        assert row.gain_interval is not None
        outside += not row.gain_interval[0] <= 0.0 <= row.gain_interval[1]
    assert outside <= 4


@dataclass(frozen=True)
class Coin(Threshold):
    """Asks the strong model half of the time."""

    kind: ClassVar[str] = "coin"

    @classmethod
    def fit(cls, draw: Draw, right: Sequence[Any], *, seed: int = 0) -> list[Self]:
        return [cls(steps=Threshold.fit(draw, right)[0].steps)] * len(PRICES)

    def decide(self, draw: Draw, memo: dict[object, Any] | None = None) -> Decisions:
        n = draw.questions
        model = np.random.default_rng(n).integers(0, 2, n)
        cost = np.stack([c[:, 0] for c in draw.cost])[model, np.arange(n)]
        return Decisions(cost, model, np.zeros(n, np.int64), np.ones(n, np.int64))


@pytest.fixture(autouse=True)
def coin(monkeypatch):
    monkeypatch.setitem(selection.METHODS, "coin", Coin)
