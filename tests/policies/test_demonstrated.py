"""Demonstrations of a teacher, and when they have paid."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from farthing.budgets.operation import Operation
from farthing.core.money import Cost
from farthing.core.protocols import ModelCard
from farthing.core.request import Message, Request
from farthing.core.response import Chunk, Response, Sample
from farthing.cost.prices import PriceBook
from farthing.policies.demonstrated import Demonstrated
from farthing.policies.memory import Memory


class Told:
    """Answers by a function of the request and of how often it was asked; keeps the requests."""

    def __init__(self, name: str, usd: str, say: Any) -> None:
        self.card = ModelCard(name, price_source="test")
        self.cost, self.say = Cost.from_usd(usd), say
        self.asked: list[Request] = []

    async def complete(self, request: Request) -> Response:
        self.asked.append(request)
        said = self.say(request, len(self.asked))
        return Response(self.card.name, (Sample(said, said, read=True),), cost=self.cost)

    async def stream(self, request: Request) -> AsyncIterator[Chunk]:
        raise NotImplementedError
        yield Chunk()


def imitates(request: Request, number: int) -> str:
    """The answer of a demonstration whose question begins as this one, else a new one each time."""
    begin = request.prompt.split()[0]
    for asked, answered in zip(request.messages, request.messages[1:], strict=False):
        if answered.role == "assistant" and asked.text.split()[0] == begin:
            return answered.text
    return f"guess {number}"


def models() -> dict[str, Told]:
    teacher = Told("dear", "0.01", lambda request, _: f"as to {request.prompt.split()[0]}")
    return {"cheap": Told("cheap", "0.001", imitates), "dear": teacher}


async def ask(policy: Demonstrated, of: dict[str, Told], text: str, **settings: Any) -> Operation:
    operation = Operation(of, prices=PriceBook(), **settings)  # type: ignore[arg-type]
    request = Request((Message("system", "be brief"), Message("user", text)))
    operation.answered = await policy.answer(request, operation)  # type: ignore[attr-defined]
    return operation


async def test_the_student_answers_once_it_was_shown() -> None:
    of, policy = models(), Demonstrated("cheap", "dear", warmup=2)
    for text in ("apples are red", "pears are green"):
        told = await ask(policy, of, text)
        assert told.answered.model == "dear"  # type: ignore[attr-defined]
    assert not of["cheap"].asked
    told = await ask(policy, of, "apples are what")
    assert told.answered.text == "as to apples"  # type: ignore[attr-defined]
    assert told.answered.model == "cheap"  # type: ignore[attr-defined]
    assert len(told.attempts) == 3
    roles = [message.role for message in of["cheap"].asked[0].messages]
    assert roles == ["system", "user", "assistant", "user", "assistant", "user"]
    assert of["cheap"].asked[0].messages[-3].text == "apples are red"  # the nearest is the last
    told = await ask(policy, of, "plums are what")  # the student guesses; after two it is clear
    assert [attempt.model for attempt in told.attempts] == ["cheap", "cheap", "dear"]
    again = Demonstrated.from_params(policy.get_params())
    told = await ask(again, of, "plums are sweet")
    assert told.answered.text == "as to plums"  # type: ignore[attr-defined]
    assert again.account.requests == 5


async def test_the_account_says_since_when_it_pays() -> None:
    of, policy = models(), Demonstrated("cheap", "dear", warmup=1)
    spent = Cost(0)
    history = []
    for text in ("a x", "b x", "c x", *["a y"] * 3):
        spent += (await ask(policy, of, text)).spent
        saved = policy.account.saved
        assert saved == Cost.from_usd("0.01") * policy.account.requests - spent
        history.append(str(saved))
    assert history == ["0", "-0.002", "-0.004", "0.003", "0.01", "0.017"]
    assert policy.account.paid_since == 4
    assert policy.account.taught == 3


async def test_a_cap_leaves_it_with_what_the_student_said() -> None:
    of, policy = models(), Demonstrated("cheap", "dear", warmup=0)
    told = await ask(policy, of, "plums", cap=Cost.from_usd("0.002"))
    assert told.stopped == "cap"
    assert told.answered.text == "guess 1"  # type: ignore[attr-defined]


def test_a_memory_forgets_the_oldest() -> None:
    memory = Memory(3)
    for word in ("one", "two", "three", "four"):
        memory.add(f"{word} of them", word)
    assert [answer for _, answer in memory.told()] == ["two", "three", "four"]
    assert memory.nearest("four", 2) == [("four of them", "four")]
    assert memory.nearest("nothing like it", 2) == []
    assert len(memory.nearest("them", 2)) == 2
    again = Memory(3)
    again.load(memory.told())
    assert again.told() == memory.told()


@pytest.mark.parametrize("settings", [{"samples": 1}, {"accept": 0.5}, {"kept": 0}])
def test_refuses_what_makes_no_sense(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"at least|above"):
        Demonstrated("a", "b", **settings)
