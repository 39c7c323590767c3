"""Replay runs the plan's own policy, and its figures are those of the tables."""

from __future__ import annotations

import dataclasses
import io

import numpy as np
import pytest
import recordings
from rich.console import Console

from farthing.core.errors import DataError
from farthing.core.money import Cost
from farthing.models.draw import draw
from farthing.plan import Promise, make_plan, replay_plan
from farthing.plan.evaluate import apply
from farthing.plan.explain import explain, summarise
from farthing.plan.outcomes import Outcomes
from farthing.plan.replay import as_json

MODELS = ["m0", "m1", "m2"]


def made(signal: str = "agreement", **settings):
    promise = Promise(Cost.from_usd("0.0015"), 0.3)
    recording = recordings.recording(160, seed=3)
    return make_plan(recording, MODELS, promise, signal=signal, **settings), recording


@pytest.mark.parametrize("signal", ["agreement", "pooled-agreement", "conf_raw", "min_logprob"])
@pytest.mark.parametrize("sampling", ["calls", "n"])
def test_replay_equals_the_tables(signal, sampling):
    plan, _ = made(signal, sampling=sampling)
    fresh = recordings.recording(90, seed=4)
    done = replay_plan(plan, fresh, seed=7)
    outcomes = Outcomes(draw(fresh, MODELS, 5, 7), signal, sampling)
    called = [i for i, accept in enumerate(plan.thresholds) if accept != "skip"]
    end = next(i for i in called if plan.thresholds[i] == "always")
    models = tuple(i for i in called if i <= end)
    table = apply(outcomes, models, tuple(plan.thresholds[i] for i in models[:-1]))
    assert (done.result.cost == table.cost).all()
    assert (done.result.regret == table.regret).all()
    assert (done.result.answered == table.answered).all()
    assert np.array_equal(done.result.correct, table.correct)
    assert not done.same_recording


def test_json_has_the_promised_keys_and_adds_up():
    plan, recording = made()
    steps = []
    done = replay_plan(plan, recording, progress=steps.append)
    data = as_json(done)
    assert set(data) >= {
        "questions", "quality", "cost_usd_mean", "violation_rate", "regret", "shares", "baselines"
    }  # fmt: skip
    assert steps[-1] == data["questions"] == 160
    assert sum(data["shares"].values()) == pytest.approx(1)
    assert data["cost_usd_total"] == pytest.approx(data["cost_usd_mean"] * 160)
    assert data["violation_rate"] == pytest.approx(data["violations"] / 160)
    low, high = data["quality_interval"]
    assert low <= data["quality"] <= high
    assert data["same_recording"]
    assert [row["name"] for row in data["baselines"]] == [*MODELS, "random", "oracle"]
    oracle = data["baselines"][-1]
    assert all(oracle["quality"] >= row["quality"] for row in data["baselines"][:3])


def test_without_labels_quality_is_unknown_not_zero():
    plan, _ = made()
    bare = recordings.table(60, seed=5).drop_columns(["correct", "reference"])
    data = as_json(replay_plan(plan, recordings.from_table(bare)))
    assert data["quality"] is None
    assert data["quality_interval"] is None
    assert all(row["quality"] is None for row in data["baselines"])
    assert data["baselines"][-1]["name"] == "random"
    assert data["regret"] is not None


def test_plan_of_another_recording_is_refused_when_it_lacks_models_or_samples():
    plan, _ = made()
    with pytest.raises(DataError, match=r"no rows of m2, which plan 'plan' calls; it has m0, m1"):
        replay_plan(plan, recordings.recording(20, 2))
    with pytest.raises(DataError, match=r"fewer samples than the plan votes with: m0 \(2 of 5\)"):
        replay_plan(plan, recordings.recording(20, 3, 2))


def test_saving_nothing_is_not_called_a_saving():
    plan, recording = made()
    strong = dataclasses.replace(plan.cascade.stages[-1], accept="always")
    skipped = [dataclasses.replace(s, accept="skip") for s in plan.cascade.stages[:-1]]
    cascade = dataclasses.replace(plan.cascade, stages=(*skipped, strong))
    data = as_json(replay_plan(dataclasses.replace(plan, policy=cascade), recording))
    assert data["saving_against_strongest"]["significant"] is False
    assert "not significant" in printed(summarise(data))


def printed(renderable) -> str:
    console = Console(file=io.StringIO(), width=100)
    console.print(renderable)
    return " ".join(console.file.getvalue().split())  # type: ignore[attr-defined]


def test_questions_left_out_are_told_with_the_danger():
    table = recordings.table(120)
    kept = [not (r["question"] < "q0020" and r["model"] == "m2") for r in table.to_pylist()]
    recording = recordings.from_table(table.filter(kept))
    plan = make_plan(recording, MODELS, Promise(Cost.from_usd("0.0015"), 0.3))
    assert plan.source["left_out"] == 20
    assert "20 questions lack one of the models and were left out" in printed(explain(plan))
    data = as_json(replay_plan(plan, recording))
    assert (data["questions"], data["left_out"]) == (100, 20)
    assert "the promise fails" in printed(summarise(data))


def test_explanation_names_tree_certificate_and_baselines():
    plan, recording = made()
    text = printed(explain(plan))
    for part in (
        "cascade by agreement",
        "m2: vote of 5 samples, answer accepted",
        "costs more than 0.0015 USD with probability at most 0.3",
        "on average over calibrations",
        "160 calibration questions",
        "always m0",
        "random mix at equal cost",
        "oracle",
        "violation rate",
    ):
        assert part in text
    summary = printed(summarise(as_json(replay_plan(plan, recording))))
    assert "Over the budget of 0.0015 USD" in summary
    assert "its figures flatter the plan" in summary
