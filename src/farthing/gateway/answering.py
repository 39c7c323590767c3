"""From an admitted call to the bytes of its answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace

from farthing.budgets import Operation
from farthing.gateway.calls import (
    admitted,
    answer_stream,
    answer_whole,
    book_failure,
    failures_booked,
    told,
)
from farthing.gateway.endpoint import Call, Endpoint
from farthing.gateway.errors import cause, error_body, error_told, log_error, status_of
from farthing.gateway.exchange import Exchange, Told
from farthing.gateway.service import Service

_EVENT_STREAM = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-cache",
    "X-Accel-Buffering": "no",
}
LAST_WORDS_S = 5.0


async def answer(
    http: Exchange, service: Service, call: Call, tags: Mapping[str, str], body: bytes
) -> Told | None:
    """The answer to `call`, None if it was streamed.

    Everything it cost is booked before the answer is complete.

    When the client goes away, or `request_timeout_s` is over, calls under way are read to
    their end in the background and booked.
    """
    async with admitted(service, call, tags, body) as (operation, headers):
        try:
            async with failures_booked(service, operation):
                return await _answer(http, service, call, operation, headers)
        except ConnectionError:
            raise
        except Exception as error:
            failed = error_told(error, operation.id, call.endpoint.error)
            return replace(failed, headers={**failed.headers, **headers})


async def _answer(
    http: Exchange,
    service: Service,
    call: Call,
    operation: Operation,
    headers: Mapping[str, str],
) -> Told | None:
    """Answer `call` by `operation`; `headers` are sent with the answer."""
    timeout_s = service.config.request_timeout_s
    if call.stream:
        client = _Stream(http, call.endpoint, timeout_s, headers)
        async with client.errors_as_events(operation):
            await answer_stream(service, call, operation, client)
        return None
    async with asyncio.timeout(timeout_s):
        whole = await answer_whole(service, call, operation)
    return Told(200, whole.body, {**whole.headers, **headers})


class _Stream:
    """A streamed answer whose headers go out with its first bytes.

    Attributes:
        headers: sent with the first bytes.
    """

    def __init__(
        self, http: Exchange, endpoint: Endpoint, timeout_s: float, always: Mapping[str, str]
    ) -> None:
        self.headers: dict[str, str] = {}
        self._always = always
        self._http, self._endpoint, self._timeout_s = http, endpoint, timeout_s
        self._is_open = False

    async def write(self, data: bytes) -> None:
        """Send `data`, no faster than the client reads."""
        if not self._is_open:
            await self._open()
        await self._http.write(data)

    async def close(self, data: bytes) -> None:
        """End the answer with `data`."""
        if not self._is_open:
            await self._open()
        await self._http.close(data)

    async def _open(self) -> None:
        self._is_open = True
        await self._http.open(_EVENT_STREAM | self.headers | dict(self._always))

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
            if not self._is_open:
                raise
            reason = cause(error)
            log_error(reason, operation.id)
            await book_failure(operation, "failed", told(reason))
            await self._end_with(reason)

    async def _end_with(self, error: BaseException) -> None:
        """End the answer with an error; a client that does not even read that is cut off."""
        told = self._endpoint.error(error_body(error)["error"], status_of(error))
        try:
            async with asyncio.timeout(LAST_WORDS_S):
                await self.close(self._endpoint.error_event(told))
        except TimeoutError:
            self._http.abort()
