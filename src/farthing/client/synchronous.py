"""The client for programs without an event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, TypeVar, overload

import uvloop

from farthing.client.asynchronous import AsyncClient, AsyncStream
from farthing.client.objects import Answer, Chunk, Farthing, Model, ModelList
from farthing.core.errors import FarthingError
from farthing.gateway.config import Config

T = TypeVar("T")


class _Loop:
    """An event loop that runs in a thread of its own."""

    def __init__(self) -> None:
        self._loop = uvloop.new_event_loop()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="farthing-client", daemon=True
        )
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """What `work` returns or raises; when this thread is interrupted, it is cancelled."""
        if self._loop.is_closed():
            work.close()
            raise FarthingError("this client is closed; make another")
        running = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return running.result()
        except BaseException:
            running.cancel()
            raise

    def stop(self) -> None:
        """End the thread."""
        if not self._loop.is_closed():
            self.run(self._loop.shutdown_asyncgens())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()


class Client:
    """As `AsyncClient`, for programs without an event loop; any thread may ask.

        with farthing.Client("farthing.toml") as client:
            answer = client.chat.completions.create(
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
        """Open what `config` describes; arguments and errors are those of `AsyncClient`."""

        async def opened() -> AsyncClient:
            return await AsyncClient(config, plans=plans, key=key, tags=tags).__aenter__()

        self._loop = _Loop()
        try:
            self._client = self._loop.run(opened())
        except BaseException:
            self._loop.stop()
            raise
        self._closing = threading.Lock()
        self.chat = Chat(self._loop, self._client)
        self.embeddings = Embeddings(self._loop, self._client)
        self.models = Models(self._loop, self._client)

    def close(self, seconds: float | None = None) -> int:
        """Wait for calls that are still billed, then close models and ledger.

        Returns how many were cut off after `seconds` (`shutdown_s` of the configuration).
        Raises LedgerError if rows are left that could not be written.
        """
        with self._closing:
            if self._client.is_closed:
                return 0
            try:
                return self._loop.run(self._client.aclose(seconds))
            finally:
                self._loop.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class Stream:
    """A streamed answer: an iterator of its chunks.

    An answer that is not read to its end is given up by `close`, or by leaving `with`.
    """

    def __init__(self, loop: _Loop, stream: AsyncStream) -> None:
        self._loop, self._stream = loop, stream

    @property
    def farthing(self) -> Farthing | None:
        """What the answer cost; None before its end."""
        return self._stream.farthing

    def close(self) -> None:
        """Give the answer up; what it cost is booked."""
        self._loop.run(self._stream.close())

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Chunk:
        chunk = self._loop.run(_next(self._stream))
        if chunk is None:
            raise StopIteration
        return chunk

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


async def _next(stream: AsyncStream) -> Chunk | None:
    return await anext(stream, None)


class Chat:
    """Chat; `completions.create` asks."""

    def __init__(self, loop: _Loop, client: AsyncClient) -> None:
        self.completions = Completions(loop, client)


class Completions:
    """Chat completions."""

    def __init__(self, loop: _Loop, client: AsyncClient) -> None:
        self._loop, self._client = loop, client

    @overload
    def create(
        self,
        *,
        model: str,
        messages: Sequence[Mapping[str, Any]],
        stream: Literal[False] | None = None,
        **fields: Any,
    ) -> Answer: ...

    @overload
    def create(
        self,
        *,
        model: str,
        messages: Sequence[Mapping[str, Any]],
        stream: Literal[True],
        **fields: Any,
    ) -> Stream: ...

    def create(
        self,
        *,
        model: str,
        messages: Sequence[Mapping[str, Any]],
        stream: bool | None = None,
        **fields: Any,
    ) -> Answer | Stream:
        """Ask a model or plan; arguments and errors are those of `AsyncCompletions.create`."""
        create = self._client.chat.completions.create
        if not stream:
            whole: Answer = self._loop.run(create(model=model, messages=messages, **fields))
            return whole
        streamed = create(model=model, messages=messages, stream=True, **fields)
        return Stream(self._loop, self._loop.run(streamed))


class Embeddings:
    """Embeddings, of models whose upstream has them."""

    def __init__(self, loop: _Loop, client: AsyncClient) -> None:
        self._loop, self._client = loop, client

    def create(self, *, model: str, input: str | Sequence[Any], **fields: Any) -> Answer:
        """Ask a model for the embeddings of `input`; raises as a chat does."""
        asked = self._client.embeddings.create(model=model, input=input, **fields)
        return self._loop.run(asked)


class Models:
    """What may be asked."""

    def __init__(self, loop: _Loop, client: AsyncClient) -> None:
        self._loop, self._client = loop, client

    def list(self) -> ModelList:
        """The plans and models that the client's key may use."""
        return self._loop.run(self._client.models.list())

    def retrieve(self, model: str) -> Model:
        """One of them; UnknownModelError if there is none of that name."""
        return self._loop.run(self._client.models.retrieve(model))
