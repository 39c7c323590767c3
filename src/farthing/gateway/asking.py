"""Answering what is asked at an endpoint, from its headers to the answer's last byte."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from farthing.gateway.answering import answer
from farthing.gateway.calls import checked
from farthing.gateway.endpoint import Endpoint, read
from farthing.gateway.errors import cause, error_told
from farthing.gateway.exchange import Exchange, Told
from farthing.gateway.metadata import read_label, read_tags
from farthing.gateway.service import Service

MEGABYTE = 2**20
CLIENT_LEFT = 499
QUESTION, SESSION, TAGS = "x-farthing-question", "x-farthing-session", "x-farthing-tags"


async def ask(http: Exchange, front: Service, endpoint: Endpoint) -> Told | None:
    """The answer to a client of `front`; None if it has been sent piece by piece."""
    try:
        service = await front.admit(authorization(http.headers))
        service.ledger.check()
        return await _asked(http, service, endpoint)
    except ConnectionError:
        return Told(CLIENT_LEFT)
    except Exception as error:
        return error_told(cause(error), shaped=endpoint.error)


def authorization(headers: Mapping[str, str]) -> str | None:
    """The header `Authorization`, or what Anthropic's clients send in its place."""
    sent, key = headers.get("authorization"), headers.get("x-api-key")
    return f"Bearer {key}" if sent is None and key is not None else sent


async def _asked(http: Exchange, service: Service, endpoint: Endpoint) -> Told | None:
    most = int(service.config.max_body_mb * MEGABYTE)
    if http.is_read:
        body = await http.body(most)
    else:
        async with asyncio.timeout(service.config.request_timeout_s):
            body = await http.body(most)
    sent = http.headers
    call = read(
        endpoint,
        body,
        question=read_label(QUESTION, sent.get(QUESTION, "")),
        session=read_label(SESSION, sent.get(SESSION, "")),
        headers={name: read_label(name, sent[name]) for name in endpoint.headers if name in sent},
    )
    tags = read_tags(sent.get(TAGS))
    return await answer(http, service, checked(service, call), tags, body)
