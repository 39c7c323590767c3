"""Any upstream that speaks OpenAI's formats or Anthropic's."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, Literal

import msgspec
from yarl import URL

from farthing.core.errors import ConfigError, RequestError, UpstreamError, UsageError
from farthing.core.money import Rates
from farthing.core.protocols import ModelCard
from farthing.core.request import Request
from farthing.core.response import Basis, Chunk, Response
from farthing.core.tracing import trace_headers
from farthing.core.usage import Usage
from farthing.cost import read_calls, read_service_tier, read_usage
from farthing.models._chat import decode
from farthing.models._chunks import StreamedError
from farthing.models._hop import Hop, HopError, Reply
from farthing.models._messages import MAX_TOKENS
from farthing.models._pool import Pool
from farthing.models._proxied import Proxied
from farthing.models._retry_after import read_retry_after
from farthing.models._sse import Event, EventParser
from farthing.models._wires import (
    SPOKEN,
    WIRES,
    Reader,
    Wire,
    plain_body,
    request_fields,
    stream_body,
)

logger = logging.getLogger(__name__)

_Told = tuple[Usage | None, Basis, dict[str, int]]

SHOWN_ERROR_BYTES = 64 * 2**10
_LAST_BYTES_S = 0.1
_ANTHROPIC_VERSION = "2023-06-01"


class HttpModel:
    """An upstream of OpenAI's shape or Anthropic's.

    A request that is a client's own bytes, in a format that the upstream speaks, is passed on as
    it is; any other is told in the upstream's first format.

    Connections are kept alive and shared by all calls; redirects are not followed. The key is
    sent to `base_url` alone and appears in no message.

    Attributes:
        card: name, rates and abilities.
    """

    def __init__(
        self,
        name: str,
        *,
        base_url: str,
        api: Literal["openai", "anthropic"] = "openai",
        model: str | None = None,
        key_env: str | None = None,
        headers: Mapping[str, str] | None = None,
        timeout_s: float = 120,
        connect_timeout_s: float = 10,
        n: bool = True,
        rates: Rates | None = None,
        stream_usage: bool = True,
        env_proxy: bool = False,
        on_disconnect: Literal["drain", "cancel"] = "drain",
        drain_timeout_s: float = 300,
        max_tokens: int = MAX_TOKENS,
    ) -> None:
        """An upstream, not yet connected.

        Args:
            name: Farthing's name for it.
            base_url: address up to and including the version, such as
                `https://api.openai.com/v1`.
            api: the shape of its formats.
            model: the upstream's name for the model; `name` if None.
            key_env: environment variable that holds the key, sent as bearer token, or to
                Anthropic's shape as `x-api-key`.
            headers: sent with every call.
            timeout_s: seconds for a whole answer; in a stream, between two pieces of it.
            connect_timeout_s: seconds to open a connection.
            n: whether one call can return several samples.
            rates: prices that take precedence over the price book.
            stream_usage: whether streams are asked for usage (`stream_options`).
            env_proxy: whether HTTP_PROXY, HTTPS_PROXY and NO_PROXY are obeyed.
            on_disconnect: what becomes of a call whose client leaves: "drain" reads its answer
                to the end, "cancel" closes its connection.
            drain_timeout_s: seconds for the rest of such an answer, before its connection is
                closed all the same.
            max_tokens: the limit on an answer that Anthropic's shape is told where the request
                has none.

        Raises ConfigError for an address that is none, or a variable that is not set.
        """
        url = URL(base_url.rstrip("/"))
        if url.scheme not in ("http", "https") or not url.host:
            raise ConfigError(f"{base_url!r} is not an http or https address", key="base_url")
        if url.user or url.password:
            raise ConfigError(
                "an address must not hold a user or password; use key_env or headers",
                key="base_url",
            )
        key = os.environ.get(key_env, "").strip() if key_env else ""
        if key_env and not key:
            raise ConfigError(f"environment variable {key_env} is not set", key="key_env")
        self.card = ModelCard(
            name,
            rates=rates,
            price_source="config" if rates else None,
            upstream_name=model or name,
            shows=frozenset({"text", "tools", *(("logprobs",) if api == "openai" else ())}),
            n=n and api == "openai",
            on_disconnect=on_disconnect,
            drain_timeout_s=drain_timeout_s,
        )
        self._shown_url, self._host, self._max_tokens = base_url, url.host, max_tokens
        base = base_url.rstrip("/")
        self._urls = {spoken: URL(base + WIRES[spoken].path) for spoken in SPOKEN[api]}
        self._first = SPOKEN[api][0]
        self._model, self._key_env = model or name, key_env
        self._headers = {"Accept-Encoding": "identity", "User-Agent": "farthing"}
        self._headers |= {"Content-Type": "application/json", **(headers or {})}
        if api == "anthropic":
            self._headers = {"anthropic-version": _ANTHROPIC_VERSION, **self._headers}
        if key and api == "anthropic":
            self._headers["x-api-key"] = key
        elif key:
            self._headers["Authorization"] = f"Bearer {key}"
        self._secrets = [value for value in (key, *(headers or {}).values()) if len(value) > 3]
        self._timeout_s, self._connect_timeout_s = timeout_s, connect_timeout_s
        self._stream_usage, self._env_proxy = stream_usage, env_proxy
        self._hop: Hop | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def __repr__(self) -> str:
        return f"HttpModel({self.card.name!r}, base_url={self._shown_url!r})"

    def speaks(self, api: str) -> bool:
        """Whether the upstream takes a client's own bytes in the format `api`."""
        return api in self._urls

    def check(self, request: Request) -> None:
        """RequestError for what the upstream cannot be told; nothing is sent."""
        self._fields(request)

    async def complete(self, request: Request) -> Response:
        """One call of the upstream; `raw` of the response are its bytes as received.

        They are left out where they are not of the request's format.

        Raises UpstreamError when it does not answer as it should, RequestError for several
        samples where it can only give one.
        """
        api, wire, fields = self._fields(request)
        start = time.perf_counter()
        try:
            upstream = await self._post(api, request, plain_body(fields), total_s=self._timeout_s)
            try:
                body = await upstream.read()
            finally:
                upstream.release()
        except HopError as error:
            raise self._failed(error) from error
        if upstream.status != 200:
            raise self._refused(upstream.status, body, upstream.headers)
        latency_s = time.perf_counter() - start
        try:
            answer = decode(body)
            if not isinstance(answer, dict):
                raise ValueError("it is not a JSON object")
            if answer.get("error"):
                raise self._refused(500, body)
            payload = {"usage": None, **answer}
            usage, basis, calls = self._usage(lambda: (*read_usage(payload), read_calls(payload)))
            samples = wire.read(answer, usage)
        except (msgspec.DecodeError, ValueError, RecursionError) as error:
            raise self._malformed(error) from error
        upstream_id = answer.get("id")
        return Response(
            self.card.name,
            samples,
            usage,
            basis,
            latency_s=latency_s,
            raw=body if api == request.api else None,
            upstream_id=upstream_id if isinstance(upstream_id, str) else None,
            service_tier=read_service_tier(answer),
            billed_calls=calls,
        )

    async def stream(self, request: Request) -> AsyncIterator[Chunk]:
        """One call of the upstream, piece by piece; usage comes with the last chunk.

        The `raw` of all chunks are the upstream's bytes as received, up to the end, such as
        `[DONE]`, but for the usage event where only Farthing asked for it; none where they are
        not of the request's format. Raises as `complete` does.
        """
        api, wire, fields = self._fields(request)
        if wire.reader is None:
            raise RequestError(f"/v1{wire.path} has no streams: leave 'stream' out", param="stream")
        ask_usage = wire.asks_usage and self._stream_usage
        body, asked = stream_body(fields, ask_usage=ask_usage)
        reader = wire.reader(show_usage=asked or not ask_usage)
        is_raw = api == request.api
        parser = EventParser()
        try:
            upstream = await self._post(api, request, body, read_s=self._timeout_s)
            try:
                if upstream.status != 200:
                    body = await upstream.read()
                    raise self._refused(upstream.status, body, upstream.headers)
                if upstream.content_type != "text/event-stream":
                    raise self._malformed(ValueError("it is not an event stream"))
                while data := await upstream.read_some():
                    for chunk in self._read(reader, parser.feed(data)):
                        yield chunk if is_raw else replace(chunk, raw=None)
                    if reader.done:
                        break
                else:
                    for chunk in self._read(reader, parser.close()):
                        yield chunk if is_raw else replace(chunk, raw=None)
                if reader.done and not upstream.complete:
                    await _read_to_end(upstream)
            finally:
                upstream.release()
        except HopError as error:
            raise self._failed(error) from error
        except ValueError as error:
            raise self._malformed(error) from error
        if not reader.complete:
            raise UpstreamError(
                f"model {self.card.name!r}: the upstream ended its stream before the answer was "
                "complete; try again",
                model=self.card.name,
                kind="cut",
            )
        usage, basis, calls = self._usage(lambda: (*reader.usage.read(), reader.usage.calls))
        yield Chunk(
            usage=usage,
            usage_basis=basis,
            raw=reader.tail if is_raw else None,
            last=True,
            service_tier=reader.usage.service_tier,
            billed_calls=calls,
        )

    async def aclose(self) -> None:
        """Close the connections; a later call opens new ones."""
        if self._hop is not None:
            await self._hop.aclose()
            self._hop = None

    def _fields(self, request: Request) -> tuple[str, Wire, dict[str, Any]]:
        """The format in which `request` is told, and its fields."""
        if request.n > 1 and not self.card.n:
            raise RequestError(
                f"model {self.card.name!r} gives one sample a call; ask with n = 1", param="n"
            )
        is_raw = request.raw is not None and request.api in self._urls
        api = request.api if is_raw else self._first
        wire = WIRES[api]
        settings = {"max_tokens": self._max_tokens} if api == "messages" else {"host": self._host}
        return api, wire, request_fields(request, wire, self._model, **settings)

    async def _post(self, api: str, request: Request, body: bytes, **limits: float) -> Reply:
        loop = asyncio.get_running_loop()
        if self._hop is None or self._loop is not loop:
            self._loop, self._hop = loop, self._way()
        own = request.headers if api == request.api else {}
        return await self._hop.post(self._urls[api], {**own, **trace_headers()}, body, **limits)

    def _way(self) -> Hop:
        if self._env_proxy:
            return Proxied(self._headers, connect_timeout_s=self._connect_timeout_s)
        url = self._urls[self._first]
        return Pool(url, self._headers, connect_timeout_s=self._connect_timeout_s)

    def _read(self, reader: Reader, events: Iterable[Event]) -> list[Chunk]:
        try:
            return reader.read(events)
        except StreamedError as sent:
            raise UpstreamError(
                f"model {self.card.name!r}: the upstream reported an error in its stream",
                model=self.card.name,
                kind="status",
                status=500,
                body=self._shown({"error": sent.error}),
            ) from sent

    def _usage(self, read: Callable[[], _Told]) -> _Told:
        """Usage and billed calls as told; counters that contradict each other leave it unknown."""
        try:
            return read()
        except UsageError as error:
            logger.warning("model %r: usage is unknown: %s", self.card.name, error)
            return None, "unknown", {}

    def _failed(self, error: HopError) -> UpstreamError:
        """The UpstreamError for what became of a call."""
        name, where = self.card.name, self._shown_url
        match error.fault:
            case "no connection in time":
                kind, text = "unreachable", f"{where} did not accept a connection in time"
            case "timeout":
                kind = "timeout"
                text = f"no answer within {self._timeout_s:g} s; raise timeout_s or try again"
            case "unreachable":
                kind = "unreachable"
                text = f"no connection to {where} ({error.reason}); check base_url and the upstream"
            case "malformed":
                kind, text = "malformed", "the upstream does not speak HTTP as it should"
                text += f" ({error.reason})" if error.reason else ""
            case _:
                kind = "cut"
                text = "the upstream closed the connection within its answer; try again"
        return UpstreamError(f"model {name!r}: {text}", model=name, kind=kind)

    def _refused(
        self, status: int, body: bytes, headers: Mapping[str, str] | None = None
    ) -> UpstreamError:
        """The UpstreamError for a status other than 200."""
        name, shown = self.card.name, None
        text = f"model {name!r}: the upstream answered with status {status}"
        if status in (401, 403):
            where = f"the key in {self._key_env}" if self._key_env else "key_env, which is not set"
            text += f"; check {where}"
        elif 300 <= status < 400:
            text += " (a redirect, which is not followed); check base_url"
        else:
            if status == 404:
                text += f"; check base_url and the model's name {self._model!r}"
            try:
                shown = self._shown(decode(body[:SHOWN_ERROR_BYTES]))
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                shown = None
        return UpstreamError(
            text,
            model=name,
            kind="status",
            status=status,
            body=shown,
            retry_after_s=read_retry_after(headers or {}),
        )

    def _malformed(self, error: Exception) -> UpstreamError:
        name = self.card.name
        return UpstreamError(
            f"model {name!r}: the upstream's answer cannot be read: {error}",
            model=name,
            kind="malformed",
        )

    def _shown(self, value: Any) -> Any:
        """An error object of the upstream without this model's secrets."""
        if isinstance(value, str):
            for secret in self._secrets:
                value = value.replace(secret, "***")
            return value
        if isinstance(value, list):
            return [self._shown(item) for item in value]
        if isinstance(value, dict):
            return {self._shown(key): self._shown(item) for key, item in value.items()}
        return value


async def _read_to_end(upstream: Reply) -> None:
    """Wait a moment for the end of a stream after `[DONE]`, so that the connection is reused."""
    try:
        async with asyncio.timeout(_LAST_BYTES_S):
            while await upstream.read_some():
                pass
    except TimeoutError:
        pass
