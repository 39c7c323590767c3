"""Which upstream a call goes to."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farthing.core.errors import RestingError, UpstreamError
from farthing.core.protocols import ModelCard, Routed
from farthing.core.request import Message, Request
from farthing.core.response import Chunk, Response, Sample
from farthing.models.breaker import BreakerRule
from farthing.models.replicas import Upstreams, is_blamed

ASK = Request.ask("2 + 2?")


class Fake:
    """An upstream that answers when its gate is open, with `error` if it is set."""

    def __init__(self) -> None:
        self.card = ModelCard("m")
        self.gate, self.error, self.calls = asyncio.Event(), None, 0
        self.gate.set()

    async def complete(self, request: Request) -> Response:
        self.calls += 1
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        return Response("m", (Sample("4"),))

    async def stream(self, request: Request) -> AsyncIterator[Chunk]:
        self.calls += 1
        if isinstance(self.error, UpstreamError) and self.error.kind != "cut":
            raise self.error
        yield Chunk("4")
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        yield Chunk(finish_reason="stop")


def failure(kind: str = "unreachable", status: int | None = None) -> UpstreamError:
    return UpstreamError("no", model="m", kind=kind, status=status)


def upstreams(count: int = 3, **settings: Any) -> tuple[Upstreams, list[Fake]]:
    fakes = [Fake() for _ in range(count)]
    models = {f"u{number}": fake for number, fake in enumerate(fakes)}
    return Upstreams(models, **settings), fakes


def conversation(opening: str, turns: int = 0) -> Request:
    messages = [Message("system", "be brief"), Message("user", opening)]
    for turn in range(turns):
        messages += [Message("assistant", f"answer {turn}"), Message("user", f"and {turn}?")]
    return Request(tuple(messages))


async def under_way(model: Upstreams, requests: list[Request]) -> list[asyncio.Task[Response]]:
    tasks = []
    for request in requests:
        tasks.append(asyncio.ensure_future(model.complete(request)))
        await asyncio.sleep(0)
    return tasks


def test_it_is_routed() -> None:
    model, _ = upstreams()
    assert isinstance(model, Routed)
    assert (model.card.retries, model.card.name) == (2, "m")


@pytest.mark.parametrize("affinity", [0, 2])
async def test_calls_are_spread_by_what_is_under_way(affinity: float) -> None:
    model, fakes = upstreams(affinity=affinity)
    for fake in fakes:
        fake.gate.clear()
    requests = [conversation(str(i) if affinity == 0 else "same") for i in range(30)]
    tasks = await under_way(model, requests)
    counts = sorted(h.outstanding for h in model.health())
    if affinity == 0:
        assert counts == [10, 10, 10]
    else:
        assert sum(counts) == 30
        assert counts[-1] <= affinity * (counts[0] + 1)
        assert counts[-1] > 10, "a conversation keeps to its upstream as far as it may"
    for fake in fakes:
        fake.gate.set()
    await asyncio.gather(*tasks)
    assert [h.outstanding for h in model.health()] == [0, 0, 0]


async def test_ties_are_broken_at_random() -> None:
    model, fakes = upstreams(affinity=0)
    for _ in range(120):
        await model.complete(ASK)
    assert all(fake.calls > 15 for fake in fakes)


async def test_a_conversation_stays_where_its_prefix_is_cached() -> None:
    model, _ = upstreams(4)
    of: dict[str, set[str]] = {}
    for opening in map(str, range(40)):
        for turns in range(4):
            where = model.route(conversation(opening, turns)).label
            of.setdefault(opening, set()).add(where)
    assert all(len(where) == 1 for where in of.values())
    spread = Counter(next(iter(where)) for where in of.values())
    assert len(spread) == 4


async def test_few_conversations_move_when_an_upstream_is_taken_away() -> None:
    all_of_them = {str(n): upstreams(4)[0].route(conversation(str(n))).label for n in range(200)}
    fewer = {str(n): upstreams(3)[0].route(conversation(str(n))).label for n in range(200)}
    stayed = [n for n, label in all_of_them.items() if label != "u3"]
    assert all(fewer[n] == all_of_them[n] for n in stayed)
    assert 100 < len(stayed) < 200


@given(st.lists(st.sampled_from(["system", "user", "assistant", "tool"]), max_size=6), st.text())
def test_the_opening_is_what_later_turns_share(roles: list[str], text: str) -> None:
    first = Request(tuple(Message(role, text) for role in roles if role != "user"))
    opening = (*first.messages, Message("user", text))
    later = Request((*opening, Message("assistant", "x"), Message("user", "y")))
    assert Request(opening).opening_id() == later.opening_id()
    other = Request((*first.messages, Message("user", text + "!")))
    assert other.opening_id() != later.opening_id()


async def test_a_retry_goes_elsewhere() -> None:
    model, _ = upstreams(3)
    first = model.route(ASK).label
    second = model.route(ASK, {first}).label
    third = model.route(ASK, {first, second}).label
    assert {first, second, third} == {"u0", "u1", "u2"}
    assert model.has_other({first, second})
    assert not model.has_other({"u0", "u1", "u2"})
    assert model.route(ASK, {"u0", "u1", "u2"}).label == first


async def test_one_that_fails_is_left_alone_until_its_probe_succeeds() -> None:
    now = [0.0]
    model, fakes = upstreams(2, breaker=BreakerRule(failures=2, pause_s=10), clock=lambda: now[0])
    at = int(model.route(ASK).label[1])
    fakes[at].error = failure()
    for _ in range(2):
        with pytest.raises(UpstreamError):
            await model.complete(ASK)
    for _ in range(5):
        await model.complete(ASK)
    assert (fakes[at].calls, fakes[1 - at].calls) == (2, 5)
    sick = model.health()[at]
    assert (sick.state, sick.wait_s, sick.failures, sick.calls) == ("open", 10, 2, 2)
    now[0], fakes[at].error = 10, None
    assert model.health()[at].state == "half-open"
    fakes[at].gate.clear()
    probe = (await under_way(model, [ASK]))[0]
    await model.complete(ASK)
    assert fakes[at].calls == 3, "while it is probed, other calls go elsewhere"
    fakes[at].gate.set()
    await probe
    assert model.health()[at].state == "closed"


@pytest.mark.parametrize("count", [1, 2])
async def test_when_all_are_left_alone_nothing_is_called(count: int) -> None:
    now = [0.0]
    rule = BreakerRule(failures=1, pause_s=10)
    model, fakes = upstreams(count, breaker=rule, clock=lambda: now[0])
    for fake in fakes:
        fake.error = failure()
    for number in range(count):
        now[0] = float(number)
        with pytest.raises(UpstreamError):
            await model.complete(ASK)
    with pytest.raises(RestingError, match=r"it is tried again in \d+\.0 s") as caught:
        await model.complete(ASK)
    assert caught.value.kind == "unreachable"
    assert caught.value.retry_after_s == 10 - now[0]
    with pytest.raises(RestingError):
        [chunk async for chunk in model.stream(ASK)]
    assert sum(fake.calls for fake in fakes) == count


@pytest.mark.parametrize(
    ("error", "blamed"),
    [
        (failure("unreachable"), True),
        (failure("cut"), True),
        (failure("timeout"), True),
        (failure("malformed"), True),
        (failure("status", 500), True),
        (failure("status", 401), True),
        (failure("status", 429), None),
        (failure("status", 400), False),
        (failure("status", 404), False),
    ],
)
def test_what_speaks_against_an_upstream(error: UpstreamError, blamed: bool | None) -> None:
    assert is_blamed(error) is blamed


async def test_a_call_that_is_broken_off_says_nothing() -> None:
    model, fakes = upstreams(1, breaker=BreakerRule(failures=1))
    fakes[0].gate.clear()
    (task,) = await under_way(model, [ASK])
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    (health,) = model.health()
    assert (health.state, health.outstanding, health.failures) == ("closed", 0, 0)


async def test_streams_count_as_calls_and_their_cuts_as_failures() -> None:
    model, fakes = upstreams(1, breaker=BreakerRule(failures=2))
    assert [chunk.text async for chunk in model.stream(ASK)] == ["4", ""]
    fakes[0].gate.clear()
    stream = model.stream(ASK)
    await anext(stream)
    assert model.health()[0].outstanding == 1
    await stream.aclose()
    assert model.health()[0].outstanding == 0
    fakes[0].gate.set()
    fakes[0].error = failure("status", 503)
    with pytest.raises(UpstreamError):
        [chunk async for chunk in model.stream(ASK)]
    fakes[0].error = failure("cut")
    with pytest.raises(UpstreamError):
        [chunk async for chunk in model.stream(ASK)]
    (health,) = model.health()
    assert (health.calls, health.failures, health.outstanding) == (4, 2, 0)
    assert health.state == "closed", "the first piece of the last stream said that it works"
