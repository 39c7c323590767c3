"""From the events of a streamed answer to chunks."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from farthing.core.response import Chunk
from farthing.cost import UsageReader
from farthing.models._chat import Logprobs, content_text
from farthing.models._sse import Event

DONE = b"[DONE]"


class _Delta(msgspec.Struct):
    content: Any = None
    tool_calls: Any = None


class _Choice(msgspec.Struct):
    index: int | None = None
    delta: _Delta | None = None
    text: Any = None
    finish_reason: str | None = None
    logprobs: Any = None


class _ChunkEvent(msgspec.Struct):
    id: Any = None
    choices: list[_Choice] | None = None
    usage: Any = None
    error: Any = None
    model: Any = None
    timings: Any = None
    service_tier: Any = None


_decode = msgspec.json.Decoder(_ChunkEvent).decode


class StreamedError(Exception):
    """The upstream sent an error in the middle of its stream.

    Attributes:
        error: the error as sent.
    """

    def __init__(self, error: Any) -> None:
        self.error = error
        super().__init__("error event")


class ChunkReader:
    """Reads the events of one streamed answer.

    Attributes:
        usage: reads what the upstream tells about usage and service tier.
        done: whether `[DONE]` came.
        tail: its bytes.
        upstream_id: the upstream's identifier of the call, once it has given one.
    """

    def __init__(self, *, show_usage: bool) -> None:
        """`show_usage` is whether the client may see an event that holds nothing but usage."""
        self.usage = UsageReader()
        self.done = False
        self.tail = b""
        self.upstream_id: str | None = None
        self._show_usage = show_usage
        self._logprobs: dict[int, Logprobs] = {}
        self._open: dict[int, bool] = {}

    @property
    def complete(self) -> bool:
        """Whether the answer has come to its end, by `[DONE]` or by every sample's own."""
        return self.done or (bool(self._open) and not any(self._open.values()))

    def read(self, events: Iterable[Event]) -> list[Chunk]:
        """The chunks of `events`, as few as keep samples apart; nothing after `[DONE]`.

        Raises ValueError for an event that is no chunk, StreamedError for an error.
        """
        chunks: list[Chunk] = []
        texts: list[str] = []
        raws: list[bytes] = []
        calls: list[dict[str, Any]] = []
        index = 0

        def flush(finish: str | None = None) -> None:
            if texts or raws or finish:
                chunks.append(self._chunk(texts, raws, index, finish, calls))
                texts.clear()
                raws.clear()
                calls.clear()

        for data, raw in events:
            if data is None:
                raws.append(raw)
                continue
            if data.strip() == DONE:
                self.done, self.tail = True, raw
                break
            event = self._event(data)
            if not event.choices:
                hidden = isinstance(event.usage, dict) and not self._show_usage
                raws.append(b"" if hidden else raw)
            for choice in event.choices or ():
                if (choice.index or 0) != index:
                    flush()
                    index = choice.index or 0
                raws.append(raw)
                raw = b""
                self._note(choice, index, texts, calls)
                if choice.finish_reason:
                    flush(choice.finish_reason)
        flush()
        return chunks

    def _event(self, data: bytes) -> _ChunkEvent:
        try:
            event = _decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise ValueError(f"an event is no chunk: {error}") from error
        if event.error:
            raise StreamedError(event.error)
        if self.upstream_id is None and event.id and isinstance(event.id, str):
            self.upstream_id = event.id
        if event.usage is not None or event.timings is not None or event.service_tier is not None:
            self.usage.add(
                {
                    "usage": event.usage,
                    "timings": event.timings,
                    "service_tier": event.service_tier,
                    "model": event.model,
                }
            )
        return event

    def _note(
        self, choice: _Choice, index: int, texts: list[str], calls: list[dict[str, Any]]
    ) -> None:
        delta = choice.delta
        if delta is not None:
            if delta.content:
                texts.append(content_text(delta.content))
            if delta.tool_calls and isinstance(delta.tool_calls, list):
                calls += [call for call in delta.tool_calls if isinstance(call, dict)]
        elif choice.text and isinstance(choice.text, str):
            texts.append(choice.text)
        if choice.finish_reason:
            self._open[index] = False
        elif index not in self._open:
            self._open[index] = True
        if choice.logprobs:
            self._logprobs.setdefault(index, Logprobs()).add(choice.logprobs)

    def _chunk(
        self,
        texts: list[str],
        raws: list[bytes],
        index: int,
        finish: str | None,
        calls: list[dict[str, Any]],
    ) -> Chunk:
        text, raw, tool_calls = "".join(texts), b"".join(raws), tuple(calls)
        if not finish:
            return Chunk(text, index, raw=raw, upstream_id=self.upstream_id, tool_calls=tool_calls)
        logprobs = self._logprobs.get(index, Logprobs())
        return Chunk(
            text,
            index,
            finish,
            raw=raw,
            mean_logprob=logprobs.mean,
            min_logprob=logprobs.min,
            output_tokens=logprobs.tokens or None,
            upstream_id=self.upstream_id,
            tool_calls=tool_calls,
        )
