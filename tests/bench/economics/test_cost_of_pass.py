"""Cost-of-pass by hand, by simulation, and where it is infinite or unknown."""

from __future__ import annotations

from dataclasses import replace

import economics_rows as made
import numpy as np
import pytest

from farthing.bench.economics.cost_of_pass import Human, frontier, members, standings
from farthing.core.errors import DataError

INF = float("inf")


def test_by_hand():
    cheap, dear = standings(made.two(), Human(20.0))
    assert cheap.passed.value == pytest.approx(0.5 / 3)
    assert cheap.cost.value == pytest.approx(0.01)
    assert cheap.cost_of_pass.value == pytest.approx(0.01 / (0.5 / 3))
    assert cheap.with_human.value == pytest.approx((0.02 + 20 + 20) / 3)
    assert (cheap.never, cheap.rank) == (2, 1)
    assert dear.cost_of_pass.value == pytest.approx(2.0 / (2 / 3))
    assert dear.with_human.value == pytest.approx((1 + 3 + 20) / 3)
    assert (dear.never, dear.rank) == (1, 2)


def test_frontier_by_hand():
    study = made.two()
    found = frontier(study, Human(20.0))
    assert found.value.value == pytest.approx((0.02 + 3 + 20) / 3)
    assert found.one_for_all.value == pytest.approx(0.06)
    assert found.by_human == pytest.approx(1 / 3)
    assert found.shares == pytest.approx({"cheap": 1 / 3, "dear": 1 / 3})
    assert found.unsolved == ("q2",)
    without = {w.name: w for w in found.without}
    assert without["cheap"].frontier.value == pytest.approx((1 + 3 + 20) / 3)
    assert without["cheap"].contribution.value == pytest.approx(0.98 / 3)
    assert without["dear"].contribution.value == pytest.approx(17 / 3)


def test_a_cheap_human_beats_the_models():
    found = frontier(made.two(), Human(0.01, 0.5))
    assert found.human == 0.02
    assert found.value.value == pytest.approx(0.02)
    assert found.one_for_all.value == pytest.approx(0.02)
    assert found.by_human == 1.0


def test_never_solved_is_infinite_and_says_what_might_have_been():
    rows = [made.row(f"q{n}", "m", 0.0, 0.5) for n in range(30)]
    (one,) = standings(made.study(rows), Human())
    assert one.cost_of_pass.value == INF
    low, high = one.cost_of_pass.interval
    assert high == INF
    assert low == pytest.approx(0.5 / 0.1157, rel=1e-3)  # 30 failures: at most 11.57 %
    assert one.never == 30
    assert one.with_human.value == 20.0


def test_unknown_is_none():
    rows = [made.row("q0", "m", None, 0.5), made.row("q0", "n", 1.0, None)]
    m, n = standings(made.study(rows), Human())
    assert (m.passed.value, m.cost_of_pass.value, m.never, m.rank) == (None, None, None, None)
    assert m.cost.value == 0.5
    assert (n.cost.value, n.cost_of_pass.value, n.never) == (None, None, 0)
    found = frontier(made.study(rows), Human())
    assert found.value.value is None
    assert found.by_human is None


def test_classes_and_dates():
    study = made.two()
    entries = (
        replace(study.entries[0], kind="small", date="2024-01-01"),
        replace(study.entries[1], kind="large", date="2025-01-01"),
    )
    study = replace(study, entries=entries)
    found = frontier(study, Human(20.0), without=["large", "d*"], before=["2025-01-01"])
    alone = pytest.approx((0.02 + 20 + 20) / 3)
    assert [w.name for w in found.without] == ["large", "d*", "not before 2025-01-01"]
    assert [w.frontier.value for w in found.without] == [alone] * 3
    assert [w.models for w in found.without] == [("dear",)] * 3
    assert [one.frontier.value for one in found.over_time] == [alone, found.value.value]
    with pytest.raises(DataError, match="no class and no model is 'huge'; classes: large, small"):
        members(entries, "huge")


def test_who_has_no_date_is_not_before_one():
    found = frontier(made.two(), Human(), before=["2030-01-01"])
    assert found.without[0].models == ("cheap", "dear")
    assert found.undated == ("cheap", "dear")


@pytest.mark.parametrize(("usd", "success"), [(-1, 1), (1, 0), (1, 1.5), (float("nan"), 1)])
def test_humans_that_there_are_not(usd, success):
    with pytest.raises(DataError, match="a human"):
        Human(usd, success)


@pytest.mark.parametrize("samples", [1, 4])
def test_the_interval_covers(samples):
    """120 recordings of 80 questions tell 0.95 from 0.88."""
    rng = np.random.default_rng(samples)
    covered = 0
    for _ in range(120):
        rows = []
        for question in range(80):
            chance = rng.beta(2, 2)
            for _ in range(samples):
                cost = rng.lognormal(0, 0.5)
                rows.append(made.row(f"{question}", "m", float(rng.random() < chance), cost))
        (one,) = standings(made.study(rows), Human())
        low, high = one.cost_of_pass.interval
        covered += low <= np.exp(0.125) / 0.5 <= high
    assert covered / 120 >= 0.89


def test_attempts_are_drawn_where_questions_are_few():
    rng = np.random.default_rng(0)
    rows = [made.row("q", "m", float(rng.random() < 0.5), 1.0) for _ in range(100)]
    (one,) = standings(made.study(rows), Human())
    low, high = one.passed.interval
    assert 0.15 < high - low < 0.25  # that of 100 coins is 0.196
