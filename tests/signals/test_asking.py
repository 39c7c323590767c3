"""Signals that are bought by calls: who is asked what, and what the answers are worth."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from farthing.budgets import Operation
from farthing.core.money import Cost
from farthing.core.protocols import ModelCard
from farthing.core.request import Message, Request
from farthing.core.response import Response, Sample
from farthing.cost import PriceBook
from farthing.signals.judge import Judge, read_grade
from farthing.signals.learned import Learned
from farthing.signals.learning import Logistic
from farthing.signals.seen import Codes, of_samples
from farthing.signals.signal import Signal
from farthing.signals.verification import Verification, verdict


class Says:
    """A model that says one thing after the other."""

    def __init__(self, name: str, *texts: str) -> None:
        self.card, self.texts, self.asked = ModelCard(name), iter(texts), list[Request]()

    async def complete(self, request: Request) -> Response:
        self.asked.append(request)
        return Response(self.card.name, (Sample(next(self.texts)),), cost=Cost(1))


REQUEST = Request(
    (Message("system", "Be short."), Message("user", "2 + {answer}?")),
    seed=5,
    max_tokens=3,
    extra={"tools": []},
)


async def bought(signal: Signal, *models: Says) -> tuple[float, Operation]:
    samples = [Sample("It is 4.", "4", True)]
    seen = of_samples("small", "2 + 2?", samples, Codes())
    operation = Operation({m.card.name: m for m in models}, prices=PriceBook())
    seen = await signal.buy(seen, samples, REQUEST, operation, "here")
    return float(signal.values([seen])[0]), operation


@pytest.mark.parametrize(
    ("texts", "share"),
    [
        (("Yes.", "no", "Yes, it is.", "yes"), 0.75),
        (("No", "No", "No", "No"), 0.0),
        (("Yes", "hm", "well", "no"), 0.5),
        (("hm", "hm", "hm", "hm"), -math.inf),
    ],
)
async def test_a_model_is_asked_about_its_own_answer(texts: tuple[str, ...], share: float) -> None:
    model = Says("small", *texts)
    value, operation = await bought(Verification(times=4), model)
    assert value == pytest.approx(share)
    assert {(a.model, a.kind, a.node) for a in operation.attempts} == {
        ("small", "judge", "here/verify")
    }
    assert sorted(r.seed or 0 for r in model.asked) == [5, 6, 7, 8]
    first = model.asked[0]
    assert (first.temperature, first.max_tokens, first.extra) == (1.0, None, {})
    assert [m.role for m in first.messages] == ["system", "user"]
    assert "2 + {answer}?" in first.prompt, "what the client writes is no place to fill"
    assert "Proposed answer:\nIt is 4." in first.prompt


async def test_verification_without_logarithms() -> None:
    plain = Verification(times=2, column="verified", logarithm=False)
    assert (await bought(plain, Says("small", "yes", "no")))[0] == 0.5


async def test_a_judge_grades() -> None:
    value, operation = await bought(Judge("large"), Says("small"), Says("large", "8/10"))
    assert value == 0.8
    assert [(a.model, a.kind, a.node) for a in operation.attempts] == [
        ("large", "judge", "here/judge")
    ]
    assert (await bought(Judge("large"), Says("large", "good")))[0] == -math.inf


async def test_a_scorer_buys_what_its_signals_need() -> None:
    one: Any = np.ones(1)
    scorer = Learned((), Logistic(one, one, one, 0.0), (Judge("large"),))
    assert scorer.bought == "judge_score"
    value, _ = await bought(scorer, Says("large", "10"))
    assert value == 0.5


async def test_what_a_recording_sells_is_not_asked_for() -> None:
    seller = Says("small#conf_raw", str(math.log(0.25)))
    value, operation = await bought(Verification(), Says("small"), seller)
    assert value == pytest.approx(0.25)
    assert [a.model for a in operation.attempts] == ["small#conf_raw"]


@pytest.mark.parametrize(
    ("text", "yes"),
    [
        ("Yes", True), ("NO.", False), ("That is not right.", False), ("It is wrong", False),
        ("The answer is correct.", True), ("incorrect", False), ("Nothing", None), ("", None),
    ],
)  # fmt: skip
def test_verdicts(text: str, yes: bool | None) -> None:
    assert verdict(text) is yes


@pytest.mark.parametrize(
    ("text", "grade"),
    [("8", 8.0), ("Grade: 7.5 / 10", 7.5), ("In 2024, 9", 9.0), ("-3", None), ("gpt4", None)],
)
def test_grades(text: str, grade: float | None) -> None:
    assert read_grade(text, 10.0) == grade
