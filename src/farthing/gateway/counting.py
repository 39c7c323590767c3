"""Anthropic's counting of tokens: asked of the upstream, which bills nothing for it."""

from __future__ import annotations

import asyncio

from aiohttp import web

from farthing.core.errors import RequestError
from farthing.gateway.calls import unknown_model
from farthing.gateway.endpoint import Endpoint, read
from farthing.gateway.messages import MESSAGES, read_messages
from farthing.gateway.service import Service

COUNT_TOKENS = Endpoint(
    "count_tokens",
    "/v1/messages/count_tokens",
    read_messages,
    headers=MESSAGES.headers,
    error=MESSAGES.error,
    streams=False,
)


async def count_tokens(http: web.Request, service: Service) -> web.Response:
    """`POST /v1/messages/count_tokens`: the upstream's own count, byte for byte.

    Nothing is booked, for nothing is generated and nothing costs. Raises RequestError for a plan
    or a model whose upstream cannot count: a guess would pass for a count.
    """
    async with asyncio.timeout(service.config.request_timeout_s):
        sent = {name: http.headers[name] for name in COUNT_TOKENS.headers if name in http.headers}
        call = read(COUNT_TOKENS, await http.read(), headers=sent)
        name = call.model
        if not service.may_use(name):
            raise unknown_model(service, name)
        if name in service.plans or not service.is_raw(name, COUNT_TOKENS.api):
            who = "plan" if name in service.plans else "model"
            raise RequestError(
                f"{who} {name!r} has nobody who counts its tokens; ask a model whose upstream is "
                "of Anthropic's shape",
                param="model",
                code="unsupported",
            )
        response = await service.models[name].complete(call.request)
    return web.Response(body=response.raw, content_type="application/json")
