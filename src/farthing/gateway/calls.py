"""A client's call, from admission to its answer, however it came in and goes out."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Protocol

from farthing.budgets import Operation
from farthing.core.errors import FarthingError, UnknownModelError
from farthing.core.response import Response
from farthing.gateway.budgeting import admit
from farthing.gateway.errors import cause
from farthing.gateway.metadata import farthing_headers, farthing_json
from farthing.gateway.service import ServedPlan, Service
from farthing.gateway.wire import ChatCall, StreamWriter, answer_json, check_plain_text
from farthing.ledger import Status

logger = logging.getLogger("farthing.gateway")

_DONE = b"[DONE]"
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


def checked(service: Service, call: ChatCall) -> ChatCall:
    """`call` as what it names can answer it; RequestError if nothing of the name can."""
    name = call.model
    if not service.may_use(name):
        raise unknown_model(service, name)
    if name in service.plans:
        check_plain_text(f"plan {name!r}", call.request, samples=False)
        return replace(call, request=replace(call.request, raw=None))
    if not service.is_raw(name):
        card = service.models[name].card
        check_plain_text(
            f"model {name!r}", call.request, samples=card.n, logprobs="logprobs" in card.shows
        )
    return call


def unknown_model(service: Service, name: str) -> UnknownModelError:
    """One error for what is not there and what the client's key may not use."""
    has = ", ".join(service.names) or "nothing"
    if service.caller is None:
        return UnknownModelError(f"no model or plan is called {name!r}; this gateway has {has}")
    whose = repr(service.caller.name)
    return UnknownModelError(f"the key {whose} may use no model or plan {name!r}; it has {has}")


@asynccontextmanager
async def admitted(
    service: Service, call: ChatCall, tags: Mapping[str, str], body: bytes
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


async def answer_whole(service: Service, call: ChatCall, operation: Operation) -> Answer:
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
    body = response.raw if plan is None else None
    if body is None:
        farthing = farthing_json(operation, name, answered_by)
        body = answer_json(call, response, operation.usage, farthing)
    return Answer(body, farthing_headers(operation, name, answered_by, done=True))


async def answer_stream(service: Service, call: ChatCall, operation: Operation, sink: Sink) -> None:
    """Answer `call` piece by piece into `sink`; everything is booked before its last piece."""
    plan = service.plans.get(call.model)
    if plan is None:
        await _stream_model(sink, call, operation)
    else:
        await _stream_plan(sink, service.config.keepalive_s, call, operation, plan)


async def _finish_plan(operation: Operation, response: Response) -> None:
    await operation.finish("ok", response, signal=response.samples[0].columns.get("signal"))


async def _stream_model(sink: Sink, call: ChatCall, operation: Operation) -> None:
    """Pass a model's answer on as it comes; its end is held back until it is booked."""
    sink.headers = farthing_headers(operation, None, call.model, done=False)
    writer = StreamWriter(call, operation.id)
    finished: dict[int, str] = {}
    tail: bytes | None = None
    async with aclosing(operation.stream(call.model, call.request, node="single")) as chunks:
        async for chunk in chunks:
            if chunk.raw is not None:
                tail = chunk.raw if _DONE in chunk.raw and not chunk.text else b""
                if chunk.raw and not tail:
                    await sink.write(chunk.raw)
                continue
            if chunk.text or chunk.tokens:
                await sink.write(writer.text(chunk.text, chunk.index, chunk.tokens))
            if chunk.finish_reason is not None:
                finished[chunk.index] = chunk.finish_reason
        await operation.finish("ok", operation.attempts[-1].response)
        if tail is None:
            farthing = farthing_json(operation, None, call.model)
            tail = writer.end(finished, operation.usage, farthing)
        await sink.close(tail)


async def _stream_plan(
    sink: Sink, keepalive_s: float, call: ChatCall, operation: Operation, plan: ServedPlan
) -> None:
    """Comments while the plan decides, then its answer.

    Headers go out with the first comment, and tell the cost only if the plan was faster.
    """
    name = plan.name
    sink.headers = farthing_headers(operation, name, None, done=False)
    deciding = asyncio.ensure_future(plan.policy.answer(call.request, operation))
    try:
        while not (await asyncio.wait({deciding}, timeout=keepalive_s))[0]:
            await sink.write(_ALIVE)
        response = deciding.result()
        await _finish_plan(operation, response)
        sink.headers = farthing_headers(operation, name, response.model, done=True)
        writer = StreamWriter(call, operation.id)
        for piece in writer.pieces(response.samples[0]):
            await sink.write(piece)
        finished = {0: response.samples[0].finish_reason or "stop"}
        farthing = farthing_json(operation, name, response.model)
        await sink.close(writer.end(finished, operation.usage, farthing))
    finally:
        deciding.cancel()
