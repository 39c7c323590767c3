"""What holds for every policy that is learnt from a recording."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from recordings import recording

from farthing.budgets.operation import Operation
from farthing.core.request import Message, Request
from farthing.cost.prices import PriceBook
from farthing.models.draw import Draw, draw
from farthing.plan.replay import recorded_models
from farthing.policies.decisions import PRICES, Decisions, Learnt, rightness
from farthing.policies.registry import LEARNT, from_params

KINDS = sorted(LEARNT)


def halves(samples: int, seed: int = 0) -> tuple[Draw, Draw]:
    """Questions to learn from, and others to decide."""
    drawn = draw(recording(240, 3, samples, seed), ["m0", "m1", "m2"], samples)
    order = np.random.default_rng(seed).permutation(drawn.questions)
    return drawn.select(np.sort(order[:160])), drawn.select(np.sort(order[160:]))


def ladder(kind: str, learn: Draw) -> list[Any]:
    return LEARNT[kind].fit(learn, rightness(learn))


async def answers(policy: Learnt, drawn: Draw) -> Decisions:
    """What the policy does when each question is asked through an operation."""
    models = recorded_models(drawn)
    prompts = drawn.recording.table["prompt"].to_pylist()
    asked = [prompts[row] for row in drawn.rows[0][:, 0]]
    cost, calls, model, place = [], [], [], []
    texts = drawn.recording.table["answer"].to_pylist()
    for question, (name, prompt) in enumerate(zip(drawn.recording.questions, asked, strict=True)):
        operation = Operation(models, prices=PriceBook())
        response = await policy.answer(
            Request((Message("user", prompt),), question=name), operation
        )
        cost.append(operation.spent.pico)
        calls.append(len(operation.attempts))
        index = drawn.models.index(response.model)
        model.append(index)
        rows = drawn.rows[index][question]
        place.append(
            next(i for i, row in enumerate(rows) if texts[row] == response.samples[0].answer)
        )
    return Decisions(np.array(cost), np.array(model), np.array(place), np.array(calls))


def codes(drawn: Draw, decisions: Decisions) -> list[int]:
    """The answers given: samples with the same answer are the same."""
    return [
        int(drawn.answers[model][question, place])
        for question, (model, place) in enumerate(
            zip(decisions.model, decisions.place, strict=True)
        )
    ]


@pytest.mark.parametrize("samples", [1, 3])
@pytest.mark.parametrize("kind", KINDS)
async def test_decides_on_a_recording_as_it_answers(kind: str, samples: int) -> None:
    learn, other = halves(samples)
    rungs = ladder(kind, learn)
    for rung in (0, 5, 9, len(rungs) - 1):
        fast, slow = rungs[rung].decide(other), await answers(rungs[rung], other)
        assert fast.cost.tolist() == slow.cost.tolist()
        assert fast.model.tolist() == slow.model.tolist()
        assert fast.calls.tolist() == slow.calls.tolist()
        assert codes(other, fast) == codes(other, slow)


@pytest.mark.parametrize("kind", KINDS)
def test_goes_from_cheap_to_dear(kind: str) -> None:
    learn, _ = halves(3)
    rungs = ladder(kind, learn)
    assert len(rungs) == len(PRICES)
    memo: dict[object, Any] = {}
    costs = [float(rung.decide(learn, memo).cost.mean()) for rung in rungs]
    assert costs[0] < costs[-1]
    assert costs[0] <= min(costs) * 1.0001


@pytest.mark.parametrize("kind", KINDS)
def test_survives_being_written_down(kind: str) -> None:
    learn, other = halves(3)
    rung = ladder(kind, learn)[9]
    params = json.loads(json.dumps(rung.get_params(), default=lambda value: value.tolist()))
    again = from_params(kind, params)
    assert isinstance(again, Learnt)
    told, first = again.decide(other), rung.decide(other)
    assert told.cost.tolist() == first.cost.tolist()
    assert told.model.tolist() == first.model.tolist()


@pytest.mark.parametrize("kind", KINDS)
def test_names_the_models_it_asks(kind: str) -> None:
    learn, other = halves(3)
    for rung in ladder(kind, learn):
        used = {other.models[index] for index in rung.decide(other).model if index >= 0}
        assert used <= set(rung.asks)
