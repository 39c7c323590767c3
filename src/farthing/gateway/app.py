"""The web application: which address is answered by what."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any

from aiohttp import web

import farthing
from farthing.core.errors import FarthingError
from farthing.gateway.asking import CLIENT_LEFT, MEGABYTE, ask, authorization
from farthing.gateway.calls import entry, unknown_model
from farthing.gateway.counting import COUNT_TOKENS, count_tokens
from farthing.gateway.endpoint import Endpoint, openai_error
from farthing.gateway.endpoints import ENDPOINTS
from farthing.gateway.errors import (
    TooLargeError,
    UnreadError,
    cause,
    error_response,
    response_of,
    shape,
)
from farthing.gateway.fields import Fields, encode
from farthing.gateway.metrics import metrics_page
from farthing.gateway.openapi import page
from farthing.gateway.service import Service
from farthing.gateway.visits import visiting

SERVICE: web.AppKey[Service] = web.AppKey("service", Service)
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
ErrorShape = Callable[[Fields, int], dict[str, Any]]
Guarded = Callable[[web.Request, Service], Awaitable[web.StreamResponse]]


def create_app(service: Service) -> web.Application:
    """The application that serves `service`; the caller closes the service afterwards."""
    app = web.Application(
        client_max_size=int(service.config.max_body_mb * MEGABYTE), middlewares=[visiting(service)]
    )
    app[SERVICE] = service
    for endpoint in ENDPOINTS:
        app.router.add_post(endpoint.path, _asking(endpoint))
    app.router.add_post(COUNT_TOKENS.path, _guarded(count_tokens, COUNT_TOKENS.error))
    app.router.add_get("/v1/models", _guarded(models))
    app.router.add_get("/v1/models/{name:.+}", _guarded(model))
    app.router.add_get("/metrics", metrics)
    app.router.add_get("/healthz", health)
    app.router.add_get("/openapi.json", openapi)
    app.router.add_route("*", "/{path:.*}", unknown)
    return app


def json_response(value: Any, status: int = 200) -> web.Response:
    """`value` as JSON."""
    return web.Response(body=encode(value), status=status, content_type="application/json")


def _guarded(handler: Guarded, error_shape: ErrorShape = openai_error) -> Handler:
    """`handler` for those who may come in, its errors told in the shape `error_shape`.

    It is handed what its client may see of the service.
    """

    async def guarded(http: web.Request) -> web.StreamResponse:
        try:
            service = await http.app[SERVICE].admit(authorization(http.headers))
            return await handler(http, service)
        except ConnectionError:
            return web.Response(status=CLIENT_LEFT)
        except web.HTTPRequestEntityTooLarge:
            limit = http.app[SERVICE].config.max_body_mb
            return error_response(TooLargeError(limit), error_shape)
        except web.RequestPayloadError as error:
            return error_response(UnreadError(str(error)), error_shape)
        except Exception as error:
            return error_response(cause(error), error_shape)

    return guarded


def _asking(endpoint: Endpoint) -> Handler:
    """The handler of an endpoint that answers calls."""

    async def asked(http: web.Request) -> web.StreamResponse:
        exchange = _Exchange(http)
        told = await ask(exchange, http.app[SERVICE], endpoint)
        if told is not None:
            return response_of(told)
        assert exchange.response is not None
        return exchange.response

    return asked


class _Exchange:
    """See `Exchange`; a request that aiohttp has read.

    Attributes:
        response: what has been sent; None before its first piece.
    """

    def __init__(self, http: web.Request) -> None:
        self._http = http
        self.headers = http.headers
        self.response: web.StreamResponse | None = None

    @property
    def is_read(self) -> bool:
        """See `Exchange`."""
        return self._http.content.is_eof()

    async def body(self, most: int) -> bytes:
        """See `Exchange`."""
        limit = self._http.app[SERVICE].config.max_body_mb
        if (self._http.content_length or 0) > most:
            raise TooLargeError(limit)
        try:
            return await self._http.read()
        except web.HTTPRequestEntityTooLarge:
            raise TooLargeError(limit) from None
        except web.RequestPayloadError as error:
            raise UnreadError(str(error)) from error

    async def open(self, headers: Mapping[str, str]) -> None:
        """See `Exchange`."""
        self.response = web.StreamResponse(headers=headers)
        await self.response.prepare(self._http)

    async def write(self, data: bytes) -> None:
        """See `Exchange`."""
        assert self.response is not None
        await self.response.write(data)

    async def close(self, data: bytes) -> None:
        """See `Exchange`."""
        assert self.response is not None
        await self.response.write_eof(data)

    def abort(self) -> None:
        """See `Exchange`."""
        if self._http.transport is not None:
            self._http.transport.abort()


async def models(http: web.Request, service: Service) -> web.Response:
    """`GET /v1/models`: plans and models."""
    data = [entry(service, name) for name in service.names]
    return json_response({"object": "list", "data": data})


async def model(http: web.Request, service: Service) -> web.Response:
    """`GET /v1/models/NAME`."""
    name = http.match_info["name"]
    if not service.may_use(name):
        raise unknown_model(service, name)
    return json_response(entry(service, name))


async def metrics(http: web.Request) -> web.StreamResponse:
    """`GET /metrics`: for those who may come in, or for everybody with `metrics_open`."""
    if http.app[SERVICE].config.metrics_open:
        return await metrics_page(http.app[SERVICE])
    return await _guarded(lambda _, service: metrics_page(service))(http)


async def health(http: web.Request) -> web.Response:
    """`GET /healthz`: that the gateway runs, and whether it can book; it asks for no token."""
    ledger = http.app[SERVICE].ledger.state
    refusing = ledger == "refusing"
    told = {"status": "refusing" if refusing else "ok", "version": farthing.__version__}
    return json_response(told | {"ledger": ledger}, 503 if refusing else 200)


async def openapi(http: web.Request) -> web.Response:
    """`GET /openapi.json`: for everybody, but names only for those who may come in."""
    service, names = http.app[SERVICE], None
    with suppress(FarthingError):
        names = (await service.admit(authorization(http.headers))).names
    is_open = service.token is None and service.keys is None
    return json_response(page(names, is_open=is_open))


async def unknown(http: web.Request) -> web.Response:
    """Every other address."""
    posts = (endpoint.path for endpoint in (*ENDPOINTS, COUNT_TOKENS))
    known = (*posts, "/v1/models", "/metrics", "/healthz", "/openapi.json")
    status = 405 if http.path in known else 404
    what = f"{http.method} is not answered" if status == 405 else "there is nothing"
    message = f"{what} at {http.path}; this gateway has {', '.join(known)}"
    return json_response(shape(message, "invalid_request_error"), status)
