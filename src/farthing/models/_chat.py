"""OpenAI's chat format as an upstream speaks it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from farthing.core.request import Request
from farthing.core.response import Sample
from farthing.core.usage import Usage

decode = msgspec.json.Decoder().decode


OPENAI_HOSTS = (".openai.com", ".openai.azure.com")
"""Whose newer models take a limit on their tokens only by its newer name."""


def chat_fields(request: Request, model: str, *, host: str = "", **_: Any) -> dict[str, Any]:
    """The fields of a chat request to `model` on `host`."""
    fields: dict[str, Any] = {
        "model": model,
        "messages": [{"role": m.role, "content": m.content, **m.fields} for m in request.messages],
        **request.extra,
    }
    if request.n != 1:
        fields["n"] = request.n
    if request.temperature is not None:
        fields["temperature"] = request.temperature
    if request.max_tokens is not None and "max_completion_tokens" not in fields:
        newer = host.endswith(OPENAI_HOSTS)
        fields["max_completion_tokens" if newer else "max_tokens"] = request.max_tokens
    if request.seed is not None:
        fields["seed"] = request.seed
    if request.logprobs:
        fields["logprobs"] = True
    return fields


def content_text(content: Any) -> str:
    """The text of a message's or delta's content: a string, a list of parts, or nothing."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        parts = (part.get("text") for part in content if isinstance(part, dict))
        return "".join(part for part in parts if isinstance(part, str))
    return ""


@dataclass(slots=True)
class Logprobs:
    """Running mean and minimum of the log-probabilities of a sample's tokens."""

    total: float = 0.0
    least: float = 0.0
    tokens: int = 0

    def add(self, logprobs: Any) -> None:
        """Count a `logprobs` object of the wire; anything else is ignored."""
        content = logprobs.get("content") if isinstance(logprobs, dict) else None
        for token in content if isinstance(content, list) else ():
            value = token.get("logprob") if isinstance(token, dict) else None
            if isinstance(value, int | float):
                self.total += value
                self.least = min(self.least, value)
                self.tokens += 1

    @property
    def mean(self) -> float | None:
        """Natural logarithm, mean over the tokens; None without tokens."""
        return self.total / self.tokens if self.tokens else None

    @property
    def min(self) -> float | None:
        """Natural logarithm, least of the tokens; None without tokens."""
        return self.least if self.tokens else None


def read_samples(answer: Mapping[str, Any], usage: Usage | None) -> tuple[Sample, ...]:
    """The samples of a whole answer; ValueError when there are none to be read."""
    choices = answer.get("choices")
    if not isinstance(choices, list) or not choices:
        raise ValueError("it has no choices")
    samples = []
    for choice in choices:
        message = choice.get("message") if isinstance(choice, dict) else None
        if not isinstance(message, dict):
            raise ValueError("a choice has no message")
        logprobs = Logprobs()
        logprobs.add(choice.get("logprobs"))
        tokens = logprobs.tokens or None
        if len(choices) == 1 and usage is not None:
            tokens = usage.output_tokens
        samples.append(
            Sample(
                content_text(message.get("content")),
                finish_reason=choice.get("finish_reason"),
                mean_logprob=logprobs.mean,
                min_logprob=logprobs.min,
                output_tokens=tokens,
                fields={k: v for k, v in message.items() if k not in ("role", "content")},
            )
        )
    return tuple(samples)


def read_texts(answer: Mapping[str, Any], usage: Usage | None) -> tuple[Sample, ...]:
    """As `read_samples`, of an answer of `/completions`."""
    choices = answer.get("choices")
    if not isinstance(choices, list) or not choices:
        raise ValueError("it has no choices")
    samples = []
    for choice in choices:
        if not isinstance(choice, dict) or not isinstance(choice.get("text"), str):
            raise ValueError("a choice has no text")
        samples.append(Sample(choice["text"], finish_reason=choice.get("finish_reason")))
    return tuple(samples)
