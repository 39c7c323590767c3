"""What is remembered from one request of a session to the next."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

from farthing.core.protocols import Operation
from farthing.core.request import Request

T = TypeVar("T")

MOST_SESSIONS, SESSION_S = 100_000, 3600.0


class Sessions(Generic[T]):
    """Something for each of the latest `most` sessions, for `seconds` after it was set.

    Args:
        clock: in seconds.
    """

    def __init__(
        self,
        most: int = MOST_SESSIONS,
        seconds: float = SESSION_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._most, self._seconds, self._clock = most, seconds, clock
        self._known: OrderedDict[str, tuple[T, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._known)

    def get(self, session: str) -> T | None:
        """What was set; None for a session that is not known, or no more."""
        known = self._known.get(session)
        if known is None:
            return None
        value, until = known
        if until <= self._clock():
            del self._known[session]
            return None
        return value

    def set(self, session: str, value: T) -> None:
        """Remember `value` of `session`, as the latest."""
        self._known[session] = value, self._clock() + self._seconds
        self._known.move_to_end(session)
        if len(self._known) > self._most:
            self._known.popitem(last=False)


def session_of(request: Request, operation: Operation) -> str:
    """The session of a request: as the client names it, else that of its conversation's opening.

    Clients with different keys share none.
    """
    named = f"={request.session}" if request.session else request.opening_id()
    return f"{operation.key or ''}/{named}"


def goes_on(request: Request) -> bool:
    """Whether a request may be a session's second."""
    return bool(request.session) or any(m.role == "assistant" for m in request.messages)
