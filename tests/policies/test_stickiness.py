"""Sessions: where they begin, and what is remembered of them."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from farthing.budgets import Operation
from farthing.core.money import Cost
from farthing.core.protocols import ModelCard
from farthing.core.request import Message, Request
from farthing.core.response import Response, Sample
from farthing.cost import PriceBook
from farthing.policies import Cascade, Fallback, Single, Stage
from farthing.policies.sessions import Sessions
from farthing.policies.stickiness import Sticky, stick, unstick

CASCADE = Cascade((Stage("s", 2, 1.0), Stage("m", 2, 1.0), Stage("l")))


class Fake:
    """Agrees with itself unless the prompt is too hard for it."""

    def __init__(self, name: str, able: int) -> None:
        self.card, self.able, self.calls = ModelCard(name), able, 0

    async def complete(self, request: Request) -> Response:
        self.calls += 1
        hard = int(request.prompt) > self.able
        answer = str(self.calls) if hard else "same"
        return Response(self.card.name, (Sample(answer, answer, True),), cost=Cost(1))


def talk(*prompts: int, session: str = "") -> Request:
    messages = []
    for number, prompt in enumerate(prompts):
        if number:
            messages.append(Message("assistant", "so"))
        messages.append(Message("user", str(prompt)))
    return Request(tuple(messages), session=session)


class Table:
    def __init__(self, policy: Any) -> None:
        self.policy = policy
        self.models = {n: Fake(n, able) for n, able in (("s", 1), ("m", 2), ("l", 3))}

    async def ask(self, request: Request, key: str | None = None) -> tuple[str, str]:
        """Who answered, and who was asked."""
        operation = Operation(self.models, prices=PriceBook(), key=key)
        response = await self.policy.answer(request, operation)
        return response.model, "".join(dict.fromkeys(a.model for a in operation.attempts))


async def test_a_session_never_goes_back() -> None:
    table = Table(Sticky(CASCADE))
    assert await table.ask(talk(1, session="x")) == ("s", "s")
    assert await table.ask(talk(2, session="x")) == ("m", "sm")
    assert await table.ask(talk(1, session="x")) == ("m", "m")
    assert await table.ask(talk(3, session="x")) == ("l", "ml")
    assert await table.ask(talk(1, session="x")) == ("l", "l")
    assert await table.ask(talk(1, session="y")) == ("s", "s")


async def test_a_conversation_is_a_session_from_its_second_turn() -> None:
    table = Table(Sticky(CASCADE))
    assert await table.ask(talk(3)) == ("l", "sml")
    assert await table.ask(talk(3)) == ("l", "sml"), "the same question anew is no later turn"
    assert await table.ask(talk(3, 1)) == ("l", "l")
    assert await table.ask(talk(3, 1, 1)) == ("l", "l")
    assert await table.ask(talk(1, 1)) == ("s", "s"), "another conversation"


async def test_clients_with_different_keys_share_no_session() -> None:
    table = Table(Sticky(CASCADE))
    assert await table.ask(talk(3, session="x"), "one") == ("l", "sml")
    assert await table.ask(talk(1, session="x"), "two") == ("s", "s")
    assert await table.ask(talk(1, session="x"), "one") == ("l", "l")


async def test_without_it_every_turn_begins_at_the_first() -> None:
    table = Table(CASCADE)
    assert await table.ask(talk(3, session="x")) == ("l", "sml")
    assert await table.ask(talk(1, session="x")) == ("s", "s")


async def test_a_stage_has_the_same_node_wherever_a_session_begins() -> None:
    sticky, models = Sticky(CASCADE), Table(CASCADE).models
    nodes = []
    for prompt in (3, 1):
        operation = Operation(models, prices=PriceBook())
        await sticky.answer(talk(prompt, session="x"), operation)
        nodes.append({a.model: a.node for a in operation.attempts})
    assert nodes == [
        {"s": "cascade/0", "m": "cascade/1", "l": "cascade/2"},
        {"l": "cascade/2"},
    ]


async def test_stages_that_are_skipped_stay_so() -> None:
    table = Table(Sticky(Cascade((Stage("s", accept="skip"), Stage("m", 2, 1.0), Stage("l")))))
    assert await table.ask(talk(1, session="x")) == ("m", "m")
    assert await table.ask(talk(3, session="x")) == ("l", "ml")
    assert await table.ask(talk(1, session="x")) == ("l", "l")


async def test_cascades_within_fallbacks_are_sticky() -> None:
    policy = stick(Fallback((CASCADE, "l")))
    table = Table(policy)
    await table.ask(talk(2, session="x"))
    assert await table.ask(talk(1, session="x")) == ("m", "m")
    assert policy.get_params() == Fallback((CASCADE, "l")).get_params()


def test_what_is_made_sticky() -> None:
    sticky = stick(CASCADE)
    assert isinstance(sticky, Sticky)
    assert (unstick(sticky), sticky.kind, sticky.get_params()) == (
        CASCADE,
        "cascade",
        CASCADE.get_params(),
    )
    assert stick(Single("a")) == unstick(Single("a")) == Single("a")


@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(1, 3), st.floats(0, 30)), max_size=60),
    st.integers(1, 5),
)
def test_memory_is_bounded_in_number_and_time(steps: list[Any], most: int) -> None:
    now = 0.0
    sessions: Sessions[int] = Sessions(most, 60.0, clock=lambda: now)
    model: dict[int, tuple[int, float]] = {}
    for session, stage, passed in steps:
        now += passed
        sessions.set(str(session), stage)
        model.pop(session, None)
        model[session] = stage, now
        while len(model) > most:
            del model[next(iter(model))]
        assert len(sessions) <= most
        for each in range(10):
            known, at = model.get(each, (0, 0.0))
            want = known if known and now < at + 60 else None
            assert sessions.get(str(each)) == want
