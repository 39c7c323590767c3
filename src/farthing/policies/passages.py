"""Of a long document only the passages that have to do with the question are sent."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from farthing.core.protocols import Operation
from farthing.core.request import Message, Request
from farthing.core.response import Response
from farthing.models.recording import Floats

GAP = "\n[...]\n"
_WORD = re.compile(r"\w+")
_TAGGED = re.compile(r"<document>(.*?)</document>", re.DOTALL | re.IGNORECASE)
_PARAGRAPH = re.compile(r"\n\s*\n")


@dataclass(frozen=True, slots=True)
class Passages:
    """Cuts the document in a request into passages, and asks the model with the best few.

    The document is what stands between `<document>` and `</document>` in the last message of the
    user, or else all of that message but its last paragraph; the rest is the question. A
    document that is no longer than what would be kept is sent as it is.

    Source: Intra-Document Cascading: Learning to Select Passages for Neural Document Ranking
    (Hofstaetter, Mitra, Zamani, Craswell & Hanbury, 2021). There a small network, taught by the
    large one, scores passages; here BM25 does (Robertson & Walker, 1994), with the passages of
    the document itself as its collection.

    Attributes:
        model: its name.
        keep: how many passages are sent.
        words: how long a passage is.
        overlap: how many words it shares with the one before.
    """

    kind: ClassVar[str] = "passages"

    model: str
    keep: int = 4
    words: int = 120
    overlap: int = 20

    def __post_init__(self) -> None:
        if self.keep < 1:
            raise ValueError("keep must be at least 1")
        if not 0 <= self.overlap < self.words:
            raise ValueError("overlap must be less than words")

    @property
    def asks(self) -> tuple[str, ...]:
        """The model."""
        return (self.model,)

    async def answer(self, request: Request, operation: Operation) -> Response:
        """The model's answer to the request with less of the document."""
        return await operation.call(self.model, self.shorten(request), node=self.kind, final=True)

    def shorten(self, request: Request) -> Request:
        """The request with the best passages of its document, in their order."""
        messages = list(request.messages)
        last = max((i for i, m in enumerate(messages) if m.role == "user"), default=-1)
        if last < 0 or not isinstance(content := messages[last].content, str):
            return request
        begin, end = _document(content)
        passages = cut(content[begin:end], self.words, self.overlap)
        if len(passages) <= self.keep:
            return request
        worth = scores(content[:begin] + " " + content[end:], passages)
        kept = np.sort(np.argsort(-worth, kind="stable")[: self.keep])
        less = GAP.join(passages[place] for place in kept)
        text = content[:begin] + GAP + less + GAP + content[end:]
        messages[last] = Message(messages[last].role, text, messages[last].fields)
        return replace(request, messages=tuple(messages), question=request.question_id(), raw=None)

    def get_params(self) -> dict[str, Any]:
        """The constructor's parameters."""
        return {
            "model": self.model,
            "keep": self.keep,
            "words": self.words,
            "overlap": self.overlap,
        }

    @classmethod
    def from_params(cls, params: dict[str, Any]) -> Passages:
        """The policy with these parameters."""
        return cls(**params)


def cut(document: str, words: int, overlap: int) -> list[str]:
    """The document in pieces of so many words, each with the last `overlap` of the one before."""
    found = list(re.finditer(r"\S+", document))
    if not found:
        return []
    step = words - overlap
    begins = range(0, max(1, len(found) - overlap), step)
    return [
        document[found[i].start() : found[min(i + words, len(found)) - 1].end()] for i in begins
    ]


def scores(question: str, passages: Sequence[str], k1: float = 1.2, b: float = 0.75) -> Floats:
    """BM25 of each passage for a question, shape (passages,)."""
    wanted = set(_WORD.findall(question.lower()))
    counts = [Counter(_WORD.findall(passage.lower())) for passage in passages]
    lengths = np.array([max(1, count.total()) for count in counts], float)
    relative = k1 * (1 - b + b * lengths / lengths.mean()) if len(counts) else lengths
    total = np.zeros(len(counts))
    for word in sorted(wanted):
        often = np.array([count[word] for count in counts], float)
        holding = int((often > 0).sum())
        rarity = np.log(1 + (len(counts) - holding + 0.5) / (holding + 0.5))
        total += rarity * often * (k1 + 1) / (often + relative)
    return total


def _document(text: str) -> tuple[int, int]:
    """Where the document in a text begins and ends."""
    tagged = _TAGGED.search(text)
    if tagged is not None:
        return tagged.span(1)
    breaks = list(_PARAGRAPH.finditer(text.rstrip()))
    return (0, breaks[-1].start()) if breaks else (0, 0)
