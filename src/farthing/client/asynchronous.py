"""The client for programs with an event loop."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, overload

import msgspec

from farthing.budgets import Operation
from farthing.client.events import Pipe, events
from farthing.client.objects import Answer, Chunk, Farthing, Model, ModelList
from farthing.core.errors import FarthingError, RequestError, UpstreamError
from farthing.gateway.build import open_service
from farthing.gateway.calls import (
    admitted,
    answer_stream,
    answer_whole,
    checked,
    entry,
    failures_booked,
    unknown_model,
)
from farthing.gateway.config import Config, load
from farthing.gateway.endpoint import Call, Endpoint, read
from farthing.gateway.metadata import farthing_json
from farthing.gateway.plain import EMBEDDINGS
from farthing.gateway.service import Service
from farthing.gateway.wire import CHAT

_decode = msgspec.json.Decoder(dict[str, Any]).decode


class AsyncClient:
    """Models and plans of a configuration, asked in this process as OpenAI's client asks.

    What the gateway does at its door is done here too: keys, budgets, limits of time, and every
    call booked in the ledger before its answer is complete. Errors are FarthingErrors. One
    client belongs to one event loop; it may be asked by many tasks at once.

        async with farthing.AsyncClient("farthing.toml") as client:
            answer = await client.chat.completions.create(
                model="large", messages=[{"role": "user", "content": "3 + 4 ="}]
            )
            print(answer.choices[0].message.content, answer.farthing.cost)

    Attributes:
        chat: has `completions.create`.
        embeddings: has `create`.
        models: has `list` and `retrieve`.
    """

    def __init__(
        self,
        config: str | Path | Config = "farthing.toml",
        *,
        plans: Sequence[str | Path] = (),
        key: str | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """Open what `config` describes.

        Args:
            config: the configuration file, or one that is loaded.
            plans: files of plans, beside those that it names.
            key: the token or key that the configuration asks clients for.
            tags: labels of all requests, for the ledger and for budgets.

        Raises ConfigError, PlanError or LedgerError for what cannot be opened.
        """
        if not isinstance(config, Config):
            config = load(config, plans=plans)
        elif plans:
            raise TypeError("plans go with a configuration that is not loaded yet")
        self._service = open_service(config)
        self._authorization = None if key is None else f"Bearer {key}"
        self._tags = dict(tags or {})
        self._streams: set[asyncio.Future[None]] = set()
        self._starting: asyncio.Future[None] | None = None
        self._switch: asyncio.Future[None] | None = None
        self._certificates: asyncio.Future[None] | None = None
        self._closed = False
        self.chat = AsyncChat(self)
        self.embeddings = AsyncEmbeddings(self)
        self.models = AsyncModels(self)

    @property
    def is_closed(self) -> bool:
        """Whether it was closed."""
        return self._closed

    async def aclose(self, seconds: float | None = None) -> int:
        """Wait for calls that are still billed, then close models and ledger.

        Answers that are still streamed are given up. Returns how many calls were cut off after
        `seconds` (`shutdown_s` of the configuration). Raises LedgerError if rows are left that
        could not be written.
        """
        if self._closed:
            return 0
        self._closed = True
        kept = (self._starting, self._switch, self._certificates)
        tasks = [task for task in (*self._streams, *kept) if task]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        service = self._service
        return await service.aclose(service.config.shutdown_s if seconds is None else seconds)

    async def __aenter__(self) -> Self:
        await self._start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def _start(self) -> None:
        if self._closed:
            raise FarthingError("this client is closed; make another")
        if self._starting is None:
            self._starting = asyncio.ensure_future(self._service.start())
        await asyncio.shield(self._starting)
        if self._switch is None and self._service.switch is not None:
            self._switch = asyncio.ensure_future(self._service.switch.keep())
        if self._certificates is None and self._service.certificates is not None:
            keeping = self._service.certificates.keep(self._service)
            self._certificates = asyncio.ensure_future(keeping)

    async def _seen(self) -> Service:
        """The service as the holder of the key sees it."""
        await self._start()
        return await self._service.admit(self._authorization)

    async def _call(
        self,
        endpoint: Endpoint,
        fields: Mapping[str, Any],
        *,
        tags: Mapping[str, str] | None,
        question: str,
        session: str,
    ) -> tuple[Service, Call, bytes, dict[str, str]]:
        service = await self._seen()
        service.ledger.check()
        try:
            body = msgspec.json.encode(
                {name: value for name, value in fields.items() if value is not None}
            )
        except TypeError as error:
            raise RequestError(f"the request is not JSON: {error}", code="invalid_json") from error
        call = read(endpoint, body, question=question, session=session)
        return service, checked(service, call), body, {**self._tags, **(tags or {})}

    async def _whole(self, endpoint: Endpoint, fields: Mapping[str, Any], **about: Any) -> Answer:
        service, call, body, tags = await self._call(endpoint, fields, **about)
        async with admitted(service, call, tags, body) as (operation, _):
            async with _in_time(service, call, operation):
                answer = await answer_whole(service, call, operation)
            told = _decode(answer.body)
            told.setdefault("farthing", farthing_json(operation, None, call.model))
        return Answer(told)

    async def _stream(
        self, endpoint: Endpoint, fields: Mapping[str, Any], **about: Any
    ) -> AsyncStream:
        service, call, body, tags = await self._call(endpoint, fields, **about)
        pipe, told = Pipe(), dict[str, Any]()

        async def write() -> None:
            async with admitted(service, call, tags, body) as (operation, _):
                async with _in_time(service, call, operation):
                    await answer_stream(service, call, operation, pipe)
                if call.model not in service.plans:  # the last chunk of a plan tells it itself
                    told.update(farthing_json(operation, None, call.model))

        task = asyncio.ensure_future(write())
        self._streams.add(task)
        task.add_done_callback(self._streams.discard)
        stream = AsyncStream(pipe, task, told)
        await stream.begin()
        return stream


@asynccontextmanager
async def _in_time(service: Service, call: Call, operation: Operation) -> AsyncGenerator[None]:
    """Limits the time of an answer, and books that it failed."""
    limit_s = service.config.request_timeout_s
    try:
        async with failures_booked(service, operation), asyncio.timeout(limit_s):
            yield
    except TimeoutError as late:
        raise UpstreamError(
            f"{call.model!r} took longer than request_timeout_s = {limit_s:g}",
            model=call.model,
            kind="timeout",
        ) from late


class AsyncStream:
    """A streamed answer: an asynchronous iterator of its chunks.

    An answer that is not read to its end is given up by `close`, or by leaving `async with`.
    """

    def __init__(self, pipe: Pipe, writer: asyncio.Task[None], told: dict[str, Any]) -> None:
        self._pipe, self._writer, self._told = pipe, writer, told
        self._ahead: deque[dict[str, Any]] = deque()

    @property
    def farthing(self) -> Farthing | None:
        """What the answer cost; None before its end."""
        return Farthing(self._told) if self._told else None

    async def begin(self) -> None:
        """Wait for the first chunk, or the error that comes instead of it."""
        await self._read()

    async def close(self) -> None:
        """Give the answer up; what it cost is booked."""
        self._writer.cancel()
        await asyncio.gather(self._writer, return_exceptions=True)

    async def _read(self) -> None:
        while not self._ahead:
            data = await self._pipe.read(self._writer)
            if data is None:
                return
            for event in events(data):
                self._told.update(event.get("farthing") or {})
                self._ahead.append(event)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Chunk:
        await self._read()
        if not self._ahead:
            raise StopAsyncIteration
        return Chunk(self._ahead.popleft())

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()


class AsyncChat:
    """Chat; `completions.create` asks."""

    def __init__(self, client: AsyncClient) -> None:
        self.completions = AsyncCompletions(client)


class AsyncCompletions:
    """Chat completions."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client

    @overload
    async def create(
        self,
        *,
        model: str,
        messages: Sequence[Mapping[str, Any]],
        stream: Literal[False] | None = None,
        tags: Mapping[str, str] | None = None,
        question: str = "",
        session: str = "",
        **fields: Any,
    ) -> Answer: ...

    @overload
    async def create(
        self,
        *,
        model: str,
        messages: Sequence[Mapping[str, Any]],
        stream: Literal[True],
        tags: Mapping[str, str] | None = None,
        question: str = "",
        session: str = "",
        **fields: Any,
    ) -> AsyncStream: ...

    async def create(
        self,
        *,
        model: str,
        messages: Sequence[Mapping[str, Any]],
        stream: bool | None = None,
        tags: Mapping[str, str] | None = None,
        question: str = "",
        session: str = "",
        **fields: Any,
    ) -> Answer | AsyncStream:
        """Ask a model or plan.

        Args:
            model: its name.
            messages: the conversation, oldest first, as OpenAI's client takes it.
            stream: whether the answer is wanted piece by piece.
            tags: labels of this request, beside the client's.
            question: an identifier of what is asked, for recordings.
            session: what plans that stick to a model go by.
            fields: the request's other fields; those that are None are left out.

        Raises what the gateway would answer with: RequestError for what cannot be asked,
        UnknownModelError, BudgetError, UpstreamError, LedgerError.
        """
        asked = {"model": model, "messages": list(messages), "stream": stream, **fields}
        about = {"tags": tags, "question": question, "session": session}
        if stream:
            return await self._client._stream(CHAT, asked, **about)
        return await self._client._whole(CHAT, asked, **about)


class AsyncEmbeddings:
    """Embeddings, of models whose upstream has them."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client

    async def create(
        self,
        *,
        model: str,
        input: str | Sequence[Any],
        tags: Mapping[str, str] | None = None,
        **fields: Any,
    ) -> Answer:
        """Ask a model for the embeddings of `input`; raises as a chat does."""
        asked = {"model": model, "input": input, **fields}
        return await self._client._whole(EMBEDDINGS, asked, tags=tags, question="", session="")


class AsyncModels:
    """What may be asked."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client

    async def list(self) -> ModelList:
        """The plans and models that the client's key may use."""
        service = await self._client._seen()
        return ModelList({"object": "list", "data": [entry(service, n) for n in service.names]})

    async def retrieve(self, model: str) -> Model:
        """One of them; UnknownModelError if there is none of that name."""
        service = await self._client._seen()
        if not service.may_use(model):
            raise unknown_model(service, model)
        return Model(entry(service, model))
