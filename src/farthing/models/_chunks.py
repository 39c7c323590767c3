"""From the events of a streamed answer to chunks."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from farthing.core.response import Chunk
from farthing.models._chat import Logprobs, content_text, decode
from farthing.models._sse import Event

DONE = b"[DONE]"


class StreamedError(Exception):
    """The upstream sent an error in the middle of its stream.

    Attributes:
        body: the event as sent.
    """

    def __init__(self, body: dict[str, Any]) -> None:
        self.body = body
        super().__init__("error event")


class ChunkReader:
    """Reads the events of one streamed answer.

    Attributes:
        usage: the upstream's last usage object, as sent; None before.
        done: whether `[DONE]` came.
        tail: its bytes.
    """

    def __init__(self, *, show_usage: bool) -> None:
        """`show_usage` is whether the client may see an event that holds nothing but usage."""
        self.usage: dict[str, Any] | None = None
        self.done = False
        self.tail = b""
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
        for event in events:
            if self.done:
                break
            for chunk in self._event(event):
                last = chunks[-1] if chunks else None
                if last and last.index == chunk.index and not last.finish_reason:
                    chunks[-1] = _joined(last, chunk)
                else:
                    chunks.append(chunk)
        return chunks

    def _event(self, event: Event) -> list[Chunk]:
        if event.data is None:
            return [Chunk(raw=event.raw)]
        if event.data.strip() == DONE:
            self.done, self.tail = True, event.raw
            return []
        try:
            value = decode(event.data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise ValueError(f"an event is not JSON: {error}") from error
        if not isinstance(value, dict):
            raise ValueError("an event is not a JSON object")
        if value.get("error"):
            raise StreamedError(value)
        usage = value.get("usage")
        if isinstance(usage, dict):
            self.usage = usage
        choices = value.get("choices")
        if not choices or not isinstance(choices, list):
            hidden = isinstance(usage, dict) and not self._show_usage
            return [Chunk(raw=b"" if hidden else event.raw)]
        chunks = [self._choice(choice, event.raw) for choice in choices[:1]]
        return chunks + [self._choice(choice, b"") for choice in choices[1:]]

    def _choice(self, choice: Any, raw: bytes) -> Chunk:
        if not isinstance(choice, dict):
            raise ValueError("a choice is not a JSON object")
        index = choice.get("index") or 0
        delta = choice.get("delta")
        text = content_text(delta.get("content")) if isinstance(delta, dict) else ""
        finish = choice.get("finish_reason")
        self._open[index] = not finish and self._open.get(index, True)
        if choice.get("logprobs"):
            self._logprobs.setdefault(index, Logprobs()).add(choice["logprobs"])
        if not finish:
            return Chunk(text, index, raw=raw)
        logprobs = self._logprobs.get(index, Logprobs())
        return Chunk(
            text,
            index,
            finish,
            raw=raw,
            mean_logprob=logprobs.mean,
            min_logprob=logprobs.min,
            output_tokens=logprobs.tokens or None,
        )


def _joined(first: Chunk, second: Chunk) -> Chunk:
    return Chunk(
        first.text + second.text,
        first.index,
        second.finish_reason,
        raw=(first.raw or b"") + (second.raw or b""),
        mean_logprob=second.mean_logprob,
        min_logprob=second.min_logprob,
        output_tokens=second.output_tokens,
    )
