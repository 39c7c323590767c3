"""A stream whose small classifiers learn to stand in for the model."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from farthing.budgets.operation import Operation
from farthing.core.money import Cost
from farthing.core.protocols import ModelCard
from farthing.core.request import Request
from farthing.core.response import Chunk, Response, Sample
from farthing.cost.prices import PriceBook
from farthing.models.draw import Draw, draw
from farthing.models.recording import from_table
from farthing.plan.replay import recorded_models
from farthing.policies.casebook import NOTE, Casebook
from farthing.policies.online import Online
from farthing.policies.registry import from_params, models_of

CLASSES = ("late", "broken", "praise", "other")


def items(n: int, seed: int = 0, shift: int | None = None) -> list[tuple[str, str]]:
    """Texts of a hundred words, of which each class has some of its own, and their classes.

    From the item `shift` on the classes' words are others.
    """
    rng = np.random.default_rng(seed)
    made = []
    for number in range(n):
        place = int(rng.integers(4))
        first = 25 * place + (400 if shift is not None and number >= shift else 0)
        own = rng.random(10) < 0.4
        chosen = np.where(own, rng.integers(first, first + 25, 10), rng.integers(0, 400, 10))
        made.append((" ".join(f"w{word}" for word in chosen), CLASSES[place]))
    return made


def stream(n: int, **settings: Any) -> Draw:
    rows = [
        {
            "question": f"q{number:06d}",
            "task": "mail",
            "prompt": text,
            "model": "large",
            "sample": 0,
            "answer": label,
            "reference": label,
            "cost_usd": 0.001,
        }
        for number, (text, label) in enumerate(items(n, **settings))
    ]
    return draw(from_table(pa.Table.from_pylist(rows), "made-up"), ["large"], 1)


def shares(policy: Online, drawn: Draw, *windows: tuple[int, int]) -> list[tuple[float, float]]:
    """Of each window of items the shares that are right, and that the model had to answer."""
    done = policy.decide(drawn)
    truth = drawn.recording.table["answer"].to_pylist()
    right = np.array([a == b for a, b in zip(done.answers, truth, strict=True)])
    return [
        (float(right[begin:end].mean()), float((done.rung[begin:end] == 2).mean()))
        for begin, end in windows
    ]


def test_learns_to_stand_in_for_the_model() -> None:
    drawn = stream(1500)
    [(right, asked)] = shares(Online("large", CLASSES, price=0.15), drawn, (1000, 1500))
    assert right > 0.93
    assert asked < 0.4
    assert shares(Online("large", CLASSES, price=0.0), drawn, (0, 1500)) == [(1.0, 1.0)]


def test_asks_the_model_again_when_traffic_shifts() -> None:
    drawn = stream(2200, shift=1500)
    before, after, later = shares(
        Online("large", CLASSES, price=0.15), drawn, (1300, 1500), (1500, 1700), (2000, 2200)
    )
    assert after[1] > before[1] + 0.08
    assert later[1] < after[1] - 0.08
    assert min(before[0], after[0], later[0]) > 0.92


async def answered(policy: Online, drawn: Draw, models: Any) -> list[tuple[int, str | None]]:
    got = []
    prompts = drawn.recording.table["prompt"].to_pylist()
    for question, prompt in zip(drawn.recording.questions, prompts, strict=True):
        operation = Operation(models, prices=PriceBook())
        response = await policy.answer(Request.ask(prompt, question=question), operation)
        got.append((operation.spent.pico, response.samples[0].answer))
    return got


async def test_decides_on_a_recording_as_it_answers_and_goes_on_from_its_state() -> None:
    drawn = stream(300)
    policy = Online("large", CLASSES, price=0.3)
    done = policy.decide(drawn)
    assert 0 < (done.rung == 2).sum() < 300
    expected = list(zip(done.cost.tolist(), done.answers, strict=True))
    models = recorded_models(drawn)
    halves = drawn.select(np.arange(150)), drawn.select(np.arange(150, 300))
    first = await answered(policy, halves[0], models)
    told = json.dumps({"kind": policy.kind, **policy.get_params()}, default=lambda a: a.tolist())
    params = json.loads(told)
    again = from_params(params.pop("kind"), params)
    assert isinstance(again, Online)
    assert models_of(again) == ("large",)
    assert first + await answered(again, halves[1], models) == expected


class Teacher:
    """Gives the class of a known text, after a while; keeps what it was asked."""

    card = ModelCard("large", price_source="test")

    def __init__(self, known: dict[str, str], prompt: Callable[[Request], str]) -> None:
        self.known, self.prompt = known, prompt
        self.asked: list[Request] = []

    async def complete(self, request: Request) -> Response:
        self.asked.append(request)
        await asyncio.sleep(0)
        said = f" {self.known[self.prompt(request)].upper()}\n"
        return Response("large", (Sample(said),), cost=Cost.from_usd("0.001"))

    async def stream(self, request: Request) -> AsyncIterator[Chunk]:
        raise NotImplementedError
        yield Chunk()


async def test_many_at_once_lose_nothing() -> None:
    known = dict(items(200))
    policy = Online("large", CLASSES, price=0.0)
    teacher = Teacher(known, lambda request: request.prompt)

    async def one(text: str) -> None:
        await policy.answer(Request.ask(text), Operation({"large": teacher}, prices=PriceBook()))

    await asyncio.gather(*(one(text) for text in known))
    state = policy.get_params()["state"]
    assert (state["seen"], state["learnt"]) == (200, 200)


async def test_a_casebook_shows_the_model_what_was_mistaken() -> None:
    known = dict(items(400))
    policy = Casebook("large", CLASSES, price=0.05)
    teacher = Teacher(known, lambda request: request.prompt)
    for text in known:
        operation = Operation({"large": teacher}, prices=PriceBook())
        await policy.answer(Request.ask(text), operation)
    cases = dict(policy.get_params()["state"]["cases"])
    assert 10 < len(cases) < len(teacher.asked)
    for text, told in cases.items():
        right, wrong = told.removesuffix(".").removeprefix("Right: ").split(". Wrong: ")
        assert known[text] == right != wrong
    shown = [r for r in teacher.asked if r.messages[0].role == "system"]
    assert len(shown) > 10
    for request in shown:
        notes = request.messages[0].text.splitlines()
        assert notes[0] == NOTE
        assert 1 <= (len(notes) - 1) // 2 <= 3
        assert all(line[2:] in known for line in notes[1::2])
    again = Casebook.from_params(
        json.loads(json.dumps(policy.get_params(), default=np.ndarray.tolist))
    )
    assert again.get_params()["state"]["cases"] == policy.get_params()["state"]["cases"]


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"answers": ("a",)}, "at least two"),
        ({"answers": ("a", "A")}, "each once"),
        ({"price": 2}, "price is a number from 0 to 1"),
        ({"explore": -1}, "explore is a share"),
    ],
)
def test_says_what_is_wrong_with_its_parameters(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Online(**{"model": "m", "answers": CLASSES, **settings})
