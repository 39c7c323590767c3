"""What each signal says of samples, and that all are written down and read."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from recordings import recording
from scipy import stats

from farthing.core.errors import DataError, ParamError
from farthing.core.response import Sample
from farthing.models.draw import draw
from farthing.signals.agreement import Agreement
from farthing.signals.belief import Belief
from farthing.signals.beta import BetaMajority
from farthing.signals.column import Column
from farthing.signals.judge import Judge
from farthing.signals.learned import LOOKS, Learned
from farthing.signals.logprob import LogProb
from farthing.signals.mixed import Mixed, elect
from farthing.signals.registry import from_params
from farthing.signals.seen import Codes, Seen, of_draw, of_samples
from farthing.signals.self_report import SelfReport, stated_confidence
from farthing.signals.semantic import Semantic, normalised
from farthing.signals.signal import Signal
from farthing.signals.tfidf import Tfidf
from farthing.signals.verification import Verification


def seen(
    *answers: str | None, model: str = "m", codes: Codes | None = None, **known: float
) -> Seen:
    """What one model's samples look like that give these answers."""
    samples = [Sample(f"So it is {a}.", a, True, columns=known) for a in answers]
    return of_samples(model, "?", samples, Codes() if codes is None else codes)


def value(signal: Signal, *stages: Any) -> float:
    return float(signal.values(stages)[0])


def learnt() -> list[Signal]:
    """One of each kind; those that learn have learnt."""
    drawn = draw(recording(60, 2, 3), ["m0", "m1"], 3)
    stages = [of_draw(drawn, m, 3) for m in (0, 1)]
    right = [drawn.correct(m)[np.arange(60), s.chosen] for m, s in enumerate(stages)]
    encoder = Tfidf.fit(list(stages[0].prompts))
    check = Verification()
    return [
        Agreement(True),
        Belief.fit(check, [check.values(stages[:1])], right, [0.1, 1.0], 0.2),
        BetaMajority(),
        Column("mean_logprob"),
        Judge("m1", column="conf_raw"),
        Learned.fit(stages, right[1], LOOKS, signals=[Agreement()], encoder=encoder)[0],
        LogProb("min"),
        Mixed("verify"),
        SelfReport(),
        Semantic(encoder),
        Semantic(),
        check,
    ]


def test_all_are_written_down_and_read() -> None:
    drawn = draw(recording(40, 2, 3, seed=1), ["m0", "m1"], 3)
    both = [of_draw(drawn, m, 3) for m in (0, 1)]
    for signal in learnt():
        stages = both[:1] if signal.kind == "belief" else both
        told = {"kind": signal.kind, **signal.get_params()}
        again = from_params(json.loads(json.dumps(told, default=lambda v: v.tolist())))
        assert again.values(stages).tolist() == signal.values(stages).tolist(), signal.kind
        assert (again.bought, again.logprobs) == (signal.bought, signal.logprobs)


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ({"kind": "beta", "prior": 0}, "prior must be above 0"),
        ({"kind": "logprob", "statistic": "sum"}, "statistic is one of mean, min, q10"),
        ({"kind": "mixed", "form": "veto"}, "form is 'vote' or 'verify'"),
        ({"kind": "verification", "times": 0}, "times must be at least 1"),
        ({"kind": "judge", "model": "m", "scale": 0}, "scale must be above 0"),
        ({"kind": "learned", "looks": ["prompt"], "classifier": {"kind": "logistic", "bias": 0,
          "mean": [], "scale": [], "weights": []}}, "needs an encoder"),
    ],
)  # fmt: skip
def test_parameters_that_are_wrong(table: dict[str, Any], says: str) -> None:
    with pytest.raises(ParamError, match=says):
        from_params(table)


@given(st.lists(st.sampled_from(["a", "b", "c", None]), min_size=1, max_size=9))
def test_the_posterior_of_a_majority(answers: list[str | None]) -> None:
    told = [a for a in answers if a is not None]
    counts = sorted((told.count(a) for a in "abc"), reverse=True)
    want = stats.beta(counts[0] + 1, counts[1] + 1).sf(0.5) if told else 0.0
    assert value(BetaMajority(), seen(*answers)) == pytest.approx(want)


def test_more_votes_make_a_majority_surer() -> None:
    assert value(BetaMajority(), seen(*"aaa")) < value(BetaMajority(), seen(*"aaaaaaaaa"))
    assert value(BetaMajority(), seen(*"aaab")) > value(BetaMajority(), seen(*"aaabb"))
    codes = Codes()
    stages = seen(*"ab", codes=codes), seen(*"aa", codes=codes)
    assert value(BetaMajority(pooled=True), *stages) < value(BetaMajority(), *stages)
    assert value(BetaMajority(pooled=True), *stages) > 0.5


def test_answers_that_mean_the_same() -> None:
    assert value(Semantic(), seen("The Eiffel Tower", "eiffel tower.", "Louvre")) == 2 / 3
    assert value(Semantic(), seen(None, None)) == 0
    assert normalised("  An  apple, a day! ") == "apple day"


def test_outputs_that_are_alike() -> None:
    encoder = Tfidf.fit(["red green blue", "one two three", "red one", "green two"])
    near = value(Semantic(encoder), seen("red green", "red green", "blue red"))
    far = value(Semantic(encoder), seen("red green", "red green", "two three"))
    assert 1 > near > far >= 2 / 3


def test_log_probabilities_of_those_that_give_the_answer() -> None:
    columns = {"mean_logprob": np.array([[-1.0, -9.0, -2.0]])}
    stage = replace(seen("a", "b", "a"), columns=columns)
    assert value(LogProb(), stage) == -1.5
    assert value(LogProb("q10"), stage) == -math.inf
    assert value(LogProb("q10"), seen("a", logprob_q10=-3.0)) == -3.0


@pytest.mark.parametrize(
    ("signal", "message"),
    [
        (LogProb("q25"), r"model 'm0' has no value of 'logprob_q25' at all$"),
        (Column("never"), r"model 'm0' has no value of 'never' at all$"),
        (Judge("m1", column="never"), r"model 'm0' has no value of 'never' at all$"),
        (Verification(column="never"), r"of 'never' at all: self-verification on a recording"),
    ],
    ids=lambda told: getattr(told, "kind", None),
)
def test_what_nobody_recorded(signal: Signal, message: str) -> None:
    drawn = draw(recording(10, 1, 1), ["m0"], 1)
    with pytest.raises(DataError, match=message):
        signal.values([of_draw(drawn, 0, 1)])
    assert value(signal, seen("a")) == -math.inf


@pytest.mark.parametrize(
    ("text", "stated"),
    [
        ("It is 4.\nConfidence: 85 %", 0.85),
        ("confidence is 85%", 0.85),
        ("**Confidence:** 0.9", 0.9),
        ("Certainty: 7/10", 0.7),
        ("Confidence (0-100): 60", 0.6),
        ("Confidence: 60", 0.6),
        ("Confidence: 95/100.", 0.95),
        ("Confidence: 20 %. No: confidence: 30 %", 0.3),
        ("Confidence: 140 %", None),
        ("I am sure it is 85 %", None),
    ],
)
def test_confidence_in_words(text: str, stated: float | None) -> None:
    assert stated_confidence(text) == stated


def test_votes_of_several_models() -> None:
    codes = Codes()
    stages = [seen(*"aab", codes=codes), seen(*"bbb", codes=codes), seen(None, "c", codes=codes)]
    step, place, votes = elect(stages)
    assert (step[0], place[0], votes[0]) == (0, 2, 4.0)
    step, place, votes = elect(stages, [np.array([2.0]), np.array([0.5]), np.array([9.0])])
    assert (step[0], place[0], votes[0]) == (2, 1, 9.0)
    assert value(Mixed(), *stages) == 0.5
    assert value(Mixed("verify"), *stages) == 0
    assert value(Mixed("verify"), seen(*"bba", codes=codes), stages[1]) == pytest.approx(2 / 3)
    assert [int(v[0]) for v in elect([seen(None)])] == [0, 0, 0]
