"""Past requests with what was answered, found again by their words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from farthing.core.request import Message, Request
from farthing.policies.pupils import FEATURES, words


class Memory:
    """The latest `most` pairs of texts; the nearest are those with the most words in common.

    Nearness is the cosine of hashed counts of words and pairs of words.
    """

    def __init__(self, most: int) -> None:
        """ValueError if `most` is not at least 1."""
        if most < 1:
            raise ValueError(f"a memory holds at least 1, not {most}")
        self.most = most
        self._pairs: list[tuple[str, str]] = []
        self._vectors = np.zeros((min(most, 64), FEATURES), np.float32)
        self._next = 0

    def __len__(self) -> int:
        return len(self._pairs)

    def add(self, text: str, answer: str) -> None:
        """Keep a pair, in place of the oldest if there are `most`."""
        place = self._next % self.most
        self._next += 1
        if place == len(self._pairs):
            self._pairs.append((text, answer))
            if place == len(self._vectors):
                room = min(self.most, 2 * place) - place
                self._vectors = np.pad(self._vectors, ((0, room), (0, 0)))
        else:
            self._pairs[place] = text, answer
        told = words(text)
        self._vectors[place] = 0.0
        self._vectors[place, told.places] = told.values

    def nearest(self, text: str, count: int) -> list[tuple[str, str]]:
        """At most `count` pairs that share a word, the nearest last."""
        if not self._pairs or count < 1:
            return []
        told = words(text)
        near = self._vectors[: len(self._pairs)][:, told.places] @ told.values
        order = np.argsort(near, kind="stable")[-count:]
        return [self._pairs[place] for place in order if near[place] > 0]

    def told(self) -> list[list[str]]:
        """The pairs, the oldest first."""
        first = self._next % self.most if len(self._pairs) == self.most else 0
        return [list(pair) for pair in (*self._pairs[first:], *self._pairs[:first])]

    def load(self, pairs: Sequence[Sequence[str]]) -> None:
        """Add pairs that `told` told; ValueError where one is none."""
        for text, answer in pairs:
            self.add(str(text), str(answer))


def with_examples(request: Request, pairs: Sequence[tuple[str, str]]) -> Request:
    """The request with pairs shown as turns of a conversation, before its first that is not system.

    Its identifier stays that of the request without them.
    """
    shown = [
        Message(role, text)
        for question, answer in pairs
        for role, text in (("user", question), ("assistant", answer))
    ]
    return _with(request, shown)


def with_notes(request: Request, notes: str) -> Request:
    """The request with a system message before its first message that is none."""
    return _with(request, [Message("system", notes)])


def _with(request: Request, more: Sequence[Message]) -> Request:
    messages = request.messages
    begin = next((i for i, m in enumerate(messages) if m.role != "system"), len(messages))
    told: dict[str, Any] = {"question": request.question_id(), "raw": None}
    return replace(request, messages=(*messages[:begin], *more, *messages[begin:]), **told)
