"""What is known of a request that comes in beside what it asks."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Any

from aiohttp import web

if TYPE_CHECKING:
    from farthing.gateway.service import Service

BYPASS = "x-farthing-bypass"
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(slots=True)
class Visit:
    """A request that came in.

    Attributes:
        arrived: when its head had come, on the clock of `time.perf_counter`.
        bypass: what it says in the header `x-farthing-bypass`.
        traceparent: the trace that it belongs to, as W3C's Trace Context writes it.
        tracestate: what goes with that.
    """

    arrived: float
    bypass: str | None = None
    traceparent: str | None = None
    tracestate: str | None = None


current: ContextVar[Visit | None] = ContextVar("visit", default=None)
"""The request at hand."""


def visit_of(headers: Mapping[str, str], arrived: float) -> Visit:
    """The request with these headers."""
    told = headers.get
    return Visit(arrived, told(BYPASS), told("traceparent"), told("tracestate"))


def visiting(service: Service) -> Any:
    """The middleware that notes every request, keeps its time and counts its answer."""

    @web.middleware
    async def visited(request: web.Request, handler: Handler) -> web.StreamResponse:
        current.set(visit_of(request.headers, perf_counter()))
        connections, metrics = service.connections, service.metrics
        if connections is not None:
            connections.begin(request.transport, request.content.is_eof)
        try:
            answer = await handler(request)
            if metrics is not None:
                metrics.responded(answer.status)
            return answer
        finally:
            if connections is not None:
                connections.end(request.transport)

    return visited
