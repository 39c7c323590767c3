"""A client's call, from admission to its answer, however it came in and goes out."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any, Protocol

from farthing.budgets import Operation
from farthing.core.errors import FarthingError, RequestError, UnknownModelError
from farthing.core.request import Request
from farthing.core.response import Chunk, Response
from farthing.gateway.budgeting import admit
from farthing.gateway.endpoint import Call, Writer, pieces
from farthing.gateway.errors import cause
from farthing.gateway.metadata import farthing_headers, farthing_json
from farthing.gateway.service import ServedPlan, Service
from farthing.gateway.shortcuts import form_of
from farthing.gateway.wire import check_can
from farthing.ledger import Status

logger = logging.getLogger("farthing.gateway")

_ALIVE = b": farthing is deciding\n\n"


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer: JSON, and the headers `x-farthing-*`."""

    body: bytes
    headers: dict[str, str]


class Sink(Protocol):
    """Where the events of a streamed answer go.

    Attributes:
        headers: known by the first write; what is set later is for nobody.
    """

    headers: dict[str, str]

    async def write(self, data: bytes) -> None:
        """Hand on `data`, no faster than it is taken."""
        ...

    async def close(self, data: bytes) -> None:
        """Hand on `data`, the last."""
        ...


def checked(service: Service, call: Call) -> Call:
    """`call` as what it names can answer it; RequestError if nothing of the name can."""
    name = call.model
    if not service.may_use(name):
        raise unknown_model(service, name)
    plan = service.plans.get(name)
    if plan is None and service.is_raw(name, call.request.api):
        return call
    who = f"model {name!r}" if plan is None else f"plan {name!r}"
    request = _translated(who, call)
    cards = [service.models[model].card for model in (plan.models if plan else (name,))]
    check_can(
        who,
        request,
        samples=plan is None and cards[0].n,
        logprobs=plan is None and "logprobs" in cards[0].shows,
        tools=all("tools" in card.shows for card in cards),
    )
    for card in cards:
        service.check(card.name, request)
    return replace(call, request=request)


def _translated(who: str, call: Call) -> Request:
    """The request as a chat request; RequestError if it cannot be told so."""
    endpoint, asked = call.endpoint, call.request
    if endpoint.translate is None:
        raise RequestError(
            f"{who} does not answer at {endpoint.path}; ask a model whose upstream does",
            param="model",
            code="unsupported",
        )
    request = asked if endpoint.api == "chat" else endpoint.translate(call.fields)
    return replace(
        request, question=asked.question, session=asked.session, raw=None, api="chat", headers={}
    )


def _writer(call: Call, operation: Operation) -> Writer:
    assert call.endpoint.writer is not None
    return call.endpoint.writer(call, operation.id)


def unknown_model(service: Service, name: str) -> UnknownModelError:
    """One error for what is not there and what the client's key may not use."""
    has = ", ".join(service.names) or "nothing"
    form = form_of(name)
    if form is not None:
        has += f"; the name is to be {form}"
    if service.caller is None:
        return UnknownModelError(f"no model or plan is called {name!r}; this gateway has {has}")
    whose = repr(service.caller.name)
    return UnknownModelError(f"the key {whose} may use no model or plan {name!r}; it has {has}")


def entry(service: Service, name: str) -> dict[str, Any]:
    """A model or plan as OpenAI's list of models tells of it."""
    served = service.plans.get(name)
    told: dict[str, Any] = {"kind": "model"}
    if served:
        told = {"kind": "plan", "models": list(served.models)}
    return {
        "id": name,
        "object": "model",
        "created": service.started,
        "owned_by": "farthing",
        "farthing": told,
    }


@asynccontextmanager
async def admitted(
    service: Service, call: Call, tags: Mapping[str, str], body: bytes
) -> AsyncIterator[tuple[Operation, dict[str, str]]]:
    """An operation for `call`, and headers that go with its answer.

    What it cost is charged at the end; calls that are then still under way are read to their
    end in the background and booked. Raises BudgetRefusedError if it does not fit a budget.
    """
    labels = service.labels(tags)
    place = await admit(service, call, labels, body)
    if place is None:
        yield service.operation(call, labels), {}
        return
    reservation = place.reservation
    try:
        operation = service.operation(call, labels, id=reservation.id, cap=reservation.cap)
    except BaseException:
        place.cancel()
        raise
    place.begin()
    try:
        yield operation, place.headers
    finally:
        place.settle(operation)


@asynccontextmanager
async def failures_booked(service: Service, operation: Operation) -> AsyncIterator[None]:
    """Books the outcome of an operation that is cancelled or fails; the cause is raised."""
    try:
        yield
    except (asyncio.CancelledError, GeneratorExit, ConnectionError):
        service.drains.spawn(book_failure(operation, "cancelled", None))
        raise
    except Exception as error:
        reason = cause(error)
        await book_failure(operation, "failed", told(reason))
        if reason is error:
            raise
        raise reason from error


def told(error: BaseException) -> str:
    """What the ledger is told of `error`: no more than its kind, if it may quote a prompt."""
    return str(error) if isinstance(error, FarthingError) else type(error).__name__


async def book_failure(operation: Operation, status: Status, error: str | None) -> None:
    """Book that `operation` failed or was cancelled; a ledger that cannot be written is logged."""
    try:
        await operation.finish(status, error=error)
    except FarthingError as unbooked:
        logger.error("operation %s: %s", operation.id, unbooked)


async def answer_whole(service: Service, call: Call, operation: Operation) -> Answer:
    """Answer `call` in one piece; everything it cost is booked by then."""
    plan = service.plans.get(call.model)
    if plan is None:
        response = await operation.call(call.model, call.request, node="single")
        await operation.finish("ok", response)
        name, answered_by = None, call.model
    else:
        response = await plan.policy.answer(call.request, operation)
        await _finish_plan(operation, response)
        name, answered_by = plan.name, response.model
    body = response.raw if call.request.raw is not None else None
    if body is None:
        farthing = farthing_json(operation, name, answered_by)
        body = _writer(call, operation).whole(response, operation.usage, farthing)
    return Answer(body, farthing_headers(operation, name, answered_by, done=True))


async def answer_stream(service: Service, call: Call, operation: Operation, sink: Sink) -> None:
    """Answer `call` piece by piece into `sink`; everything is booked before its last piece."""
    plan = service.plans.get(call.model)
    if plan is None:
        await _stream_model(sink, call, operation)
    else:
        await _stream_plan(sink, service.config.keepalive_s, call, operation, plan)


async def _finish_plan(operation: Operation, response: Response) -> None:
    await operation.finish("ok", response, signal=response.samples[0].columns.get("signal"))


async def _stream_model(sink: Sink, call: Call, operation: Operation) -> None:
    """Pass a model's answer on as it comes; its end is held back until it is booked."""
    sink.headers = farthing_headers(operation, None, call.model, done=False)
    writer = None if call.request.raw is not None else _writer(call, operation)
    tail = b""
    async with aclosing(operation.stream(call.model, call.request, node="single")) as chunks:
        async for chunk in chunks:
            data = (chunk.raw or b"") if writer is None else writer.chunk(chunk)
            if writer is None and chunk.last:
                tail = data
            elif data:
                await sink.write(data)
        await operation.finish("ok", operation.attempts[-1].response)
        if writer is not None:
            tail = writer.end(operation.usage, farthing_json(operation, None, call.model))
        await sink.close(tail)


async def _stream_plan(
    sink: Sink, keepalive_s: float, call: Call, operation: Operation, plan: ServedPlan
) -> None:
    """Comments while the plan decides, then its answer, live if it is a final call's.

    Headers go out with the first comment, and tell the cost only if the plan was faster.
    """
    name, writer = plan.name, _writer(call, operation)
    turn, live = asyncio.Lock(), False
    sink.headers = farthing_headers(operation, name, None, done=False)

    async def show(chunk: Chunk) -> None:
        nonlocal live
        data = writer.chunk(replace(chunk, tokens=None))
        async with turn:
            if not live:
                live, answered_by = True, operation.attempts[-1].model
                sink.headers = farthing_headers(operation, name, answered_by, done=False)
            if data:
                await sink.write(data)

    operation.live = show
    deciding = asyncio.ensure_future(plan.policy.answer(call.request, operation))
    try:
        while not (await asyncio.wait({deciding}, timeout=keepalive_s))[0]:
            async with turn:
                if not live:
                    await sink.write(_ALIVE)
        response = deciding.result()
        await _finish_plan(operation, response)
        if not live:
            sink.headers = farthing_headers(operation, name, response.model, done=True)
            for chunk in pieces(response.samples[0]):
                if data := writer.chunk(chunk):
                    await sink.write(data)
        farthing = farthing_json(operation, name, response.model)
        await sink.close(writer.end(operation.usage, farthing))
    finally:
        deciding.cancel()
