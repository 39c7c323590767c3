"""From an admitted call to the bytes of its answer."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager

from aiohttp import web

from farthing.budgets import Operation
from farthing.core.errors import FarthingError
from farthing.core.response import Response
from farthing.gateway.budgeting import admit
from farthing.gateway.errors import cause, error_body, error_response, log_error
from farthing.gateway.metadata import farthing_headers, farthing_json
from farthing.gateway.service import ServedPlan, Service
from farthing.gateway.wire import ChatCall, StreamWriter, answer_json, encode
from farthing.ledger import Status

logger = logging.getLogger("farthing.gateway")

_EVENT_STREAM = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-cache",
    "X-Accel-Buffering": "no",
}
LAST_WORDS_S = 5.0
_DONE = b"[DONE]"
_ALIVE = b": farthing is deciding\n\n"


async def answer(
    http: web.Request, service: Service, call: ChatCall, tags: Mapping[str, str]
) -> web.StreamResponse:
    """Answer `call`; everything it cost is booked before the answer is complete.

    When the client goes away, or `request_timeout_s` is over, calls under way are read to
    their end in the background and booked.
    """
    labels = service.labels(tags)
    admitted = await admit(service, call, labels, await http.read())
    if admitted is None:
        return await _answer(http, service, call, service.operation(call, labels), {})
    reservation = admitted.reservation
    try:
        operation = service.operation(call, labels, id=reservation.id, cap=reservation.cap)
    except BaseException:
        admitted.cancel()
        raise
    admitted.begin()
    try:
        return await _answer(http, service, call, operation, admitted.headers)
    finally:
        admitted.settle(operation)


async def _answer(
    http: web.Request,
    service: Service,
    call: ChatCall,
    operation: Operation,
    headers: Mapping[str, str],
) -> web.StreamResponse:
    """Answer `call` by `operation`; `headers` are sent with the answer."""
    plan = service.plans.get(call.model)
    try:
        if call.stream:
            client = _Stream(http, service.config.request_timeout_s, headers)
            if plan is None:
                return await _stream_model(client, call, operation)
            return await _stream_plan(client, service.config.keepalive_s, call, operation, plan)
        async with asyncio.timeout(service.config.request_timeout_s):
            if plan is None:
                whole = await _answer_model(call, operation)
            else:
                whole = await _answer_plan(call, operation, plan)
        whole.headers.update(headers)
        return whole
    except (asyncio.CancelledError, ConnectionError):
        service.drains.spawn(_book_failure(operation, "cancelled", None))
        raise
    except Exception as error:
        reason = cause(error)
        await _book_failure(operation, "failed", _told(reason))
        failed = error_response(reason, operation.id)
        failed.headers.update(headers)
        return failed


def _told(error: BaseException) -> str:
    return str(error) if isinstance(error, FarthingError) else type(error).__name__


async def _book_failure(operation: Operation, status: Status, error: str | None) -> None:
    try:
        await operation.finish(status, error=error)
    except FarthingError as unbooked:
        logger.error("operation %s: %s", operation.id, unbooked)


async def _answer_model(call: ChatCall, operation: Operation) -> web.Response:
    response = await operation.call(call.model, call.request, node="single")
    await operation.finish("ok", response)
    body = response.raw
    if body is None:
        body = answer_json(
            call, response, operation.usage, farthing_json(operation, None, call.model)
        )
    headers = farthing_headers(operation, None, call.model, done=True)
    return web.Response(body=body, content_type="application/json", headers=headers)


async def _answer_plan(call: ChatCall, operation: Operation, plan: ServedPlan) -> web.Response:
    response = await plan.policy.answer(call.request, operation)
    await _finish_plan(operation, response)
    name = plan.name
    farthing = farthing_json(operation, name, response.model)
    return web.Response(
        body=answer_json(call, response, operation.usage, farthing),
        content_type="application/json",
        headers=farthing_headers(operation, name, response.model, done=True),
    )


async def _finish_plan(operation: Operation, response: Response) -> None:
    await operation.finish("ok", response, signal=response.samples[0].columns.get("signal"))


async def _stream_model(
    client: _Stream, call: ChatCall, operation: Operation
) -> web.StreamResponse:
    """Pass a model's answer on as it comes; its end is held back until it is booked."""
    client.headers = farthing_headers(operation, None, call.model, done=False)
    writer = StreamWriter(call, operation.id)
    finished: dict[int, str] = {}
    tail: bytes | None = None
    async with (
        client.errors_as_events(operation),
        aclosing(operation.stream(call.model, call.request, node="single")) as chunks,
    ):
        async for chunk in chunks:
            if chunk.raw is not None:
                tail = chunk.raw if _DONE in chunk.raw and not chunk.text else b""
                if chunk.raw and not tail:
                    await client.write(chunk.raw)
                continue
            if chunk.text or chunk.tokens:
                await client.write(writer.text(chunk.text, chunk.index, chunk.tokens))
            if chunk.finish_reason is not None:
                finished[chunk.index] = chunk.finish_reason
        await operation.finish("ok", operation.attempts[-1].response)
        if tail is None:
            farthing = farthing_json(operation, None, call.model)
            tail = writer.end(finished, operation.usage, farthing)
        await client.close(tail)
    return client.response


async def _stream_plan(
    client: _Stream, keepalive_s: float, call: ChatCall, operation: Operation, plan: ServedPlan
) -> web.StreamResponse:
    """Comments while the plan decides, then its answer.

    Headers go out with the first comment, and tell the cost only if the plan was faster.
    """
    name = plan.name
    client.headers = farthing_headers(operation, name, None, done=False)
    deciding = asyncio.ensure_future(plan.policy.answer(call.request, operation))
    try:
        async with client.errors_as_events(operation):
            while not (await asyncio.wait({deciding}, timeout=keepalive_s))[0]:
                await client.write(_ALIVE)
            response = deciding.result()
            await _finish_plan(operation, response)
            client.headers = farthing_headers(operation, name, response.model, done=True)
            writer = StreamWriter(call, operation.id)
            for piece in writer.pieces(response.samples[0]):
                await client.write(piece)
            finished = {0: response.samples[0].finish_reason or "stop"}
            farthing = farthing_json(operation, name, response.model)
            await client.close(writer.end(finished, operation.usage, farthing))
    finally:
        deciding.cancel()
    return client.response


class _Stream:
    """A streamed answer whose headers go out with its first bytes.

    Attributes:
        headers: sent with the first bytes.
    """

    def __init__(self, http: web.Request, timeout_s: float, always: Mapping[str, str]) -> None:
        self.headers: dict[str, str] = {}
        self._always = always
        self._http, self._timeout_s = http, timeout_s
        self._response: web.StreamResponse | None = None

    async def write(self, data: bytes) -> None:
        """Send `data`, no faster than the client reads."""
        await (await self._open()).write(data)

    async def close(self, data: bytes) -> None:
        """End the answer with `data`."""
        await (await self._open()).write_eof(data)

    @property
    def response(self) -> web.StreamResponse:
        """What has been sent."""
        assert self._response is not None
        return self._response

    async def _open(self) -> web.StreamResponse:
        if self._response is None:
            self._response = web.StreamResponse(
                headers=_EVENT_STREAM | self.headers | dict(self._always)
            )
            await self._response.prepare(self._http)
        return self._response

    @asynccontextmanager
    async def errors_as_events(self, operation: Operation) -> AsyncIterator[None]:
        """Limits the time, and sends an error as an event where the headers are already out.

        Such an outcome is booked as failed. Other errors pass, as does a client that is gone.
        """
        try:
            async with asyncio.timeout(self._timeout_s):
                yield
        except ConnectionError:
            raise
        except Exception as error:
            if self._response is None:
                raise
            reason = cause(error)
            log_error(reason, operation.id)
            await _book_failure(operation, "failed", _told(reason))
            await self._end_with(reason)

    async def _end_with(self, error: BaseException) -> None:
        """End the answer with an error; a client that does not even read that is cut off."""
        try:
            async with asyncio.timeout(LAST_WORDS_S):
                await self.close(b"data: " + encode(error_body(error)) + b"\n\n")
        except TimeoutError:
            if self._http.transport is not None:
                self._http.transport.abort()
