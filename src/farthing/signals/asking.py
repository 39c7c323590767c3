"""Asking a model about an answer: what signals that are bought by a call share."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from farthing.core.errors import UnknownModelError
from farthing.core.protocols import Operation
from farthing.core.request import Message, Request
from farthing.core.response import Sample
from farthing.signals.column import Column
from farthing.signals.seen import Seen

_PLACES = re.compile(r"\{(question|answer)\}")


def about(request: Request, text: str, instruction: str) -> Request:
    """The request that asks about an answer, in place of the last user message.

    `instruction` has places {question} and {answer}. Tools and formats of the answer are left out.
    """
    filling = {"question": request.prompt, "answer": text}
    asked = _PLACES.sub(lambda place: filling[place[1]], instruction)
    place = max((i for i, m in enumerate(request.messages) if m.role == "user"), default=0)
    messages = (*request.messages[:place], Message("user", asked))
    return replace(
        request, messages=messages, n=1, logprobs=False, max_tokens=None, extra={}, raw=None,
        question="",
    )  # fmt: skip


async def buy_recorded(
    name: str,
    seen: Seen,
    samples: Sequence[Sample],
    request: Request,
    operation: Operation,
    node: str,
) -> Seen | None:
    """`seen` with the column as a recording sells it; None where the models are not recorded."""
    try:
        operation.card(f"{seen.model}#{name}")
    except UnknownModelError:
        return None
    return await Column(name, True).buy(seen, samples, request, operation, node)
