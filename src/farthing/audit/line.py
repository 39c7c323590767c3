"""One call of a model, as a log tells it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Literal

from farthing.core.response import Basis
from farthing.core.usage import Usage

Status = Literal["ok", "failed", "cached"]


class LineError(Exception):
    """A line of a log that cannot be read; the text says why."""


@dataclass(slots=True)
class Line:
    """What one line of a log tells. Unknown is None, never zero.

    Attributes:
        number: of the line in its file, from 1; of the element or row where there are no lines.
        model: as the log names it.
        usage: tokens in disjoint leaves.
        basis: whether they are exact, estimated or unknown.
        claimed: what the log says the call cost, in USD.
        at: when the call began, in UTC.
        provider: who was called, as the log names it.
        service_tier: None for the standard one.
        status: "ok"; "failed"; or "cached", when a gateway's own cache answered and no vendor
            was called.
        retry: whether it repeats a call that failed.
        stream: whether the answer was streamed.
        prompt, answer: texts, all messages of the request in one.
        question: equal for equal requests, where the whole prompt is not told. None too for what
            was asked several times on purpose.
        temperature: asked for.
        seconds: how long the call took.
        calls: those within the answer that are billed each, by name.
        requests: how many calls the line adds up; 0 where it adds up some, but not how many.
        long_context: of a line that adds up: whether its calls are beyond the threshold from
            which vendors charge long prompts differently.
    """

    number: int
    model: str
    usage: Usage | None
    basis: Basis = "exact"
    claimed: Decimal | None = None
    at: datetime | None = None
    provider: str | None = None
    service_tier: str | None = None
    status: Status = "ok"
    retry: bool = False
    stream: bool | None = None
    prompt: str | None = None
    answer: str | None = None
    temperature: float | None = None
    seconds: float | None = None
    calls: Mapping[str, int] = field(default_factory=dict)
    requests: int = 1
    long_context: bool = False
    question: str | None = None


@dataclass(frozen=True, slots=True)
class Skipped:
    """A line that tells of no call, or cannot be read.

    Attributes:
        why: in words, without the line's own values, so that such lines can be counted.
        fault: whether it should have told of one.
    """

    number: int
    why: str
    fault: bool = True
