from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
import pytest
import recordings

from farthing.core.errors import DataError
from farthing.core.money import Cost
from farthing.models.recording import from_table
from farthing.plan import Promise, make_plan, replay_plan
from farthing.plan.certify import (
    Answers,
    as_json,
    certify,
    labelled,
    model_answers,
    plan_answers,
)
from farthing.plan.labels import Label
from farthing.risk.prediction_powered import ppi_plus_mean


def one_model(y, judge):
    """A recording of one model's answers, right where `y` says so."""
    n = len(y)
    table = pa.table(
        {
            "question": [f"q{i:05d}" for i in range(n)],
            "model": ["m"] * n,
            "answer": ["a"] * n,
            "cost_usd": [1.0] * n,
            "judge": judge,
        }
    )
    return from_table(table, "made-up")


def labels_of(recording, y, chosen):
    return [
        Label(2 + i, recording.questions[q], float(y[q]), None, None) for i, q in enumerate(chosen)
    ]


@pytest.mark.parametrize("rate", [0.8, 0.95, 0.985])
def test_bounds_hold_as_often_as_they_say_with_a_judge_or_without(rate):
    """At 98.5 % the judge is mostly not made use of; the judge alone flatters."""
    rng = np.random.default_rng(1)
    trials, n, questions = 600, 120, 900
    over = {"none": 0, "judge": 0, "alone": 0}
    for _ in range(trials):
        y = (rng.random(questions) < rate).astype(float)
        judge = np.clip(0.6 + 0.35 * np.where(rng.random(questions) < 0.9, y, 1 - y), 0, 1)
        recording = one_model(y, judge)
        labels = labels_of(recording, y, range(n))
        answers = model_answers("m", recording)
        over["none"] += certify(answers, recording, labels).low > rate
        over["judge"] += certify(answers, recording, labels, judge="judge").low > rate
        part = judge + rng.normal(0, 1e-3, questions)
        over["alone"] += part.mean() - 1.645 * part.std() / math.sqrt(questions) > rate
    limit = 0.05 + 3 * math.sqrt(0.05 * 0.95 / trials)
    assert over["none"] / trials <= limit
    assert over["judge"] / trials <= limit + 0.005
    if rate == 0.8:
        assert over["alone"] / trials > 0.5  # the judge by itself flatters


def test_estimators_are_chosen_by_what_there_is():
    rng = np.random.default_rng(2)
    y = (rng.random(400) < 0.8).astype(float)
    recording = one_model(y, 0.3 + 0.5 * y + 0.1 * rng.random(400))
    answers = model_answers("m", recording)
    labels = labels_of(recording, y, range(100))

    def found(labels=labels, **more):
        return certify(answers, recording, labels, **more)

    exact, powered = found(), found(judge="judge")
    assert (exact.estimator, exact.guarantee, exact.judged) == ("binomial", "exact", 0)
    assert (powered.estimator, powered.guarantee) == ("PPI++", "asymptotic")
    assert (powered.labels, powered.judged) == (100, 300)
    assert powered.effective > 200
    assert powered.low > exact.low
    looked = found(sequential=True)
    assert looked.guarantee == "exact at all times"
    assert looked.low < exact.low
    both = found(judge="judge", sequential=True)
    assert (both.estimator, both.effective) == ("betting with a judge", None)
    halves = [Label(x.line, x.question, x.correct / 2, None, None) for x in labels]
    assert found(halves).estimator == "betting"
    assert found(halves).low < 0.5 * y[:100].mean() < found(halves).high
    few = found(labels[:29], judge="judge")
    assert few.estimator == "binomial"
    assert "takes 30 labels" in few.note
    right = [x for x in labels if x.correct][:60]
    assert "10 labels unlike" in found(right, judge="judge").note
    every = labels_of(recording, y, range(400))
    assert "no answers without" in found(every, judge="judge").note


def test_a_judge_that_hardly_ever_errs_is_left_aside_until_its_errors_are_seen():
    """PPI++ by itself is wrong too often: what it rests on are the few errors that it saw."""
    rng = np.random.default_rng(5)
    trials, n, questions, rate = 600, 60, 900, 0.85
    outside = {"certify": 0, "PPI++": 0}
    for _ in range(trials):
        y = (rng.random(questions) < rate).astype(float)
        judge = np.where(rng.random(questions) < 0.95, y, 1 - y)
        recording = one_model(y, judge)
        labels = labels_of(recording, y, range(n))
        found = certify(model_answers("m", recording), recording, labels, judge="judge")
        outside["certify"] += not found.low <= rate <= found.high
        low, high = ppi_plus_mean(y[:n], judge[:n], judge[n:]).interval(0.9)
        outside["PPI++"] += not low <= rate <= high
    limit = 0.1 + 3 * math.sqrt(0.1 * 0.9 / trials)
    assert outside["certify"] / trials <= limit
    assert outside["PPI++"] / trials > limit


def test_targets():
    y = np.tile([1.0, 1.0, 0.0, 1.0, 1.0], 120)
    recording = one_model(y, y * 0.5)
    answers = model_answers("m", recording)
    labels = labels_of(recording, y, range(150))
    verdicts = [certify(answers, recording, labels, target=t) for t in (0.6, 0.78, 0.95)]
    assert [found.verdict for found in verdicts] == ["met", "open", "missed"]
    assert verdicts[0].more_labels == verdicts[2].more_labels == 0
    assert verdicts[1].more_labels > 50
    assert certify(answers, recording, labels).verdict is None
    assert as_json(verdicts[1])["more_labels_basis"] == "modelled"


def test_unknown_judgements_count_as_the_mean():
    y = np.tile([1.0, 0.0, 1.0, 1.0], 50)
    judge = [None if i % 7 == 0 else 0.4 + 0.2 * v * (i % 3 > 0) for i, v in enumerate(y)]
    recording = one_model(y, judge)
    labels = labels_of(recording, y, range(60))
    found = certify(model_answers("m", recording), recording, labels, judge="judge")
    assert found.judged == 140
    assert found.low < 0.75 < found.high


def test_a_plans_answers_are_those_of_its_replay():
    recording = recordings.recording(80)
    plan = make_plan(
        recording,
        ["m0", "m1", "m2"],
        Promise(Cost.from_usd("0.002"), 0.3),
        samples=3,
    )
    answers = plan_answers(plan, recording, 5)
    done = replay_plan(plan, recording, seed=5)
    assert len(answers.rows) == 80
    taken = np.array(recording.table["correct"].to_pylist())[answers.rows]
    np.testing.assert_array_equal(taken, done.result.correct)
    models = np.array(recording.table["model"].to_pylist())[answers.rows]
    assert models.tolist() == [done.models[i] for i in done.result.answered]
    names = np.array(recording.table["question"].to_pylist())[answers.rows]
    assert names.tolist() == list(recording.questions)


def test_labels_of_other_answers():
    recording = recordings.recording(20, 2, 2)
    answers = model_answers("m1", recording)
    both = [
        Label(2, "q0003", 0.0, "m0", None),
        Label(3, "q0003", 1.0, "m1", 0),
        Label(4, "q0001", 1.0, None, None),
    ]
    at, y = labelled(answers, recording, both, "l.csv")
    assert at.tolist() == [3, 1]
    assert y.tolist() == [1.0, 1.0]
    for wrong, message in (
        ([Label(7, "q0003", 1.0, "m0", None)], "l.csv:7: .* which is sample 0 of m1"),
        ([Label(8, "q0003", 1.0, "m1", 1)], "l.csv:8: .* which is sample 0 of m1"),
        ([Label(9, "q9", 1.0, None, None)], "l.csv:9: question 'q9' is not in made-up"),
        ([*both, Label(5, "q0001", 1.0, "m1", None)], "l.csv:5: .* second time; first on line 4"),
    ):
        with pytest.raises(DataError, match=message):
            labelled(answers, recording, wrong, "l.csv")
    nothing = Answers("plan p", answers.rows[:5], 15)
    with pytest.raises(DataError, match="none of the labelled questions is answered by plan p"):
        labelled(nothing, recording, [Label(2, "q0010", 1.0, None, None)], "l.csv")


def test_judges_that_cannot_be_used():
    y = np.tile([1.0, 0.0], 30)
    recording = one_model(y, 10 * y)
    labels = labels_of(recording, y, range(40))
    answers = model_answers("m", recording)
    certify(answers, recording, labels, judge="judge")
    with pytest.raises(DataError, match="outside 0 to 1"):
        certify(answers, recording, labels, judge="judge", sequential=True)
    with pytest.raises(DataError, match="no column 'x'"):
        certify(answers, recording, labels, judge="x")
    with pytest.raises(DataError, match="want a number"):
        certify(answers, recording, labels, judge="answer")
