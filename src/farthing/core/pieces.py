"""A sample put together from the pieces in which it was streamed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from farthing.core.response import Chunk, Sample, TokenLogprob


class Pieces:
    """The pieces of one sample, as far as they have come."""

    __slots__ = ("_calls", "_end", "_texts", "_tokens")

    def __init__(self) -> None:
        self._texts: list[str] = []
        self._tokens: list[TokenLogprob] = []
        self._calls: list[Mapping[str, Any]] = []
        self._end: Chunk | None = None

    def add(self, chunk: Chunk) -> None:
        """Take a chunk of this sample."""
        if chunk.text:
            self._texts.append(chunk.text)
        if chunk.tokens:
            self._tokens += chunk.tokens
        if chunk.tool_calls:
            self._calls += chunk.tool_calls
        if chunk.finish_reason is not None:
            self._end = chunk

    def sample(self) -> Sample:
        """The sample so far; without a `finish_reason` if it has not come to its end."""
        end = self._end or Chunk()
        if end.sample is not None:
            return end.sample
        return Sample(
            "".join(self._texts),
            finish_reason=end.finish_reason,
            mean_logprob=end.mean_logprob,
            min_logprob=end.min_logprob,
            output_tokens=end.output_tokens,
            tokens=tuple(self._tokens) or None,
            fields={"tool_calls": _joined(self._calls)} if self._calls else {},
        )


def _joined(pieces: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The whole tool calls of a sample from their pieces in a stream, as in OpenAI's chat."""
    calls: dict[Any, dict[str, Any]] = {}
    for piece in pieces:
        told = piece.get("function")
        function = told if isinstance(told, Mapping) else {}
        call = calls.setdefault(piece.get("index"), {"id": None, "type": "function"})
        whole = call.setdefault("function", {"name": None, "arguments": ""})
        for name in ("id", "type"):
            call[name] = piece.get(name) or call[name]
        whole["name"] = function.get("name") or whole["name"]
        if isinstance(function.get("arguments"), str):
            whole["arguments"] += function["arguments"]
    return list(calls.values())
