"""The web application: which address is answered by what."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from aiohttp import hdrs, web

import farthing
from farthing.core.errors import FarthingError, RequestError
from farthing.gateway.answering import answer
from farthing.gateway.calls import checked, entry, unknown_model
from farthing.gateway.counting import COUNT_TOKENS, count_tokens
from farthing.gateway.endpoint import Endpoint, openai_error, read
from farthing.gateway.endpoints import ENDPOINTS
from farthing.gateway.errors import cause, error_response, shape
from farthing.gateway.fields import Fields, encode
from farthing.gateway.metadata import read_label, read_tags
from farthing.gateway.metrics import metrics_page
from farthing.gateway.openapi import page
from farthing.gateway.service import Service
from farthing.gateway.visits import visiting

SERVICE: web.AppKey[Service] = web.AppKey("service", Service)
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
ErrorShape = Callable[[Fields, int], dict[str, Any]]
Guarded = Callable[[web.Request, Service], Awaitable[web.StreamResponse]]

MEGABYTE = 2**20
CLIENT_LEFT = 499


def create_app(service: Service) -> web.Application:
    """The application that serves `service`; the caller closes the service afterwards."""
    app = web.Application(
        client_max_size=int(service.config.max_body_mb * MEGABYTE), middlewares=[visiting(service)]
    )
    app[SERVICE] = service
    for endpoint in ENDPOINTS:
        app.router.add_post(endpoint.path, _guarded(_asking(endpoint), endpoint.error))
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
            service = await http.app[SERVICE].admit(_authorization(http))
            return await handler(http, service)
        except ConnectionError:
            return web.Response(status=CLIENT_LEFT)
        except web.HTTPRequestEntityTooLarge:
            limit = http.app[SERVICE].config.max_body_mb
            told = shape(
                f"the body is larger than max_body_mb = {limit:g}", "invalid_request_error"
            )
            return json_response(error_shape(told["error"], 413), 413)
        except web.RequestPayloadError as error:
            unread = RequestError(f"the body cannot be read: {error}")
            refusal = error_response(unread, told=error_shape)
            refusal.force_close()  # where the next request begins is not known
            return refusal
        except Exception as error:
            return error_response(cause(error), told=error_shape)

    return guarded


def _authorization(http: web.Request) -> str | None:
    """The header `Authorization`, or what Anthropic's clients send in its place."""
    sent, key = http.headers.get(hdrs.AUTHORIZATION), http.headers.get("x-api-key")
    return f"Bearer {key}" if sent is None and key is not None else sent


def _asking(endpoint: Endpoint) -> Guarded:
    """The handler of an endpoint that answers calls."""

    async def asked(http: web.Request, service: Service) -> web.StreamResponse:
        service.ledger.check()
        most, told = service.config.max_body_mb * MEGABYTE, http.content_length or 0
        if told > most:
            raise web.HTTPRequestEntityTooLarge(int(most), told)
        if http.content.is_eof():
            body = await http.read()
        else:
            async with asyncio.timeout(service.config.request_timeout_s):
                body = await http.read()
        sent = http.headers
        call = read(
            endpoint,
            body,
            question=read_label("x-farthing-question", sent.get("x-farthing-question", "")),
            session=read_label("x-farthing-session", sent.get("x-farthing-session", "")),
            headers={
                name: read_label(name, sent[name]) for name in endpoint.headers if name in sent
            },
        )
        tags = read_tags(sent.get("x-farthing-tags"))
        return await answer(http, service, checked(service, call), tags)

    return asked


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
        names = (await service.admit(_authorization(http))).names
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
