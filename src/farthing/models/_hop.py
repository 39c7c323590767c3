"""What it takes to ask an upstream over HTTP: a hop there, and its reply."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, Protocol

from yarl import URL

MAX_HEAD_BYTES = 64 * 2**10
KEEP_S = 15.0
"""Seconds for which a connection is kept that nobody uses."""

Fault = Literal["no connection in time", "unreachable", "timeout", "malformed", "cut"]


class HopError(Exception):
    """A call that got no reply, or not all of it.

    Attributes:
        fault: what happened.
        reason: more of it, where there is more to say.
        stale: whether the upstream closed a connection that had been idle, and has seen nothing
            of the request.
    """

    def __init__(self, fault: Fault, reason: str = "", *, stale: bool = False) -> None:
        self.fault: Fault = fault
        self.reason, self.stale = reason, stale
        super().__init__(f"{fault}: {reason}" if reason else fault)


class Reply(Protocol):
    """An upstream's reply, whose head has come; its methods raise HopError."""

    @property
    def status(self) -> int:
        """The status code."""
        ...

    @property
    def headers(self) -> Mapping[str, str]:
        """By name, in whatever case."""
        ...

    @property
    def content_type(self) -> str:
        """In lower case, without parameters."""
        ...

    @property
    def complete(self) -> bool:
        """Whether all of it has come, read or not."""
        ...

    async def read(self) -> bytes:
        """What is left of the body."""
        ...

    async def read_some(self) -> bytes:
        """What has come of the body since the last call; empty at its end."""
        ...

    def release(self) -> None:
        """Let others use the connection; it is closed unless the reply is complete."""
        ...


class Hop(Protocol):
    """A way to one upstream."""

    async def post(
        self,
        url: URL,
        headers: Mapping[str, str],
        body: bytes,
        *,
        total_s: float | None = None,
        read_s: float | None = None,
    ) -> Reply:
        """Ask, and wait for the head of the reply.

        Args:
            headers: beside those of every call, or in their place.
            total_s: seconds from now to the end of the reply.
            read_s: seconds between two pieces of it.

        Raises HopError, and ValueError for headers that cannot be sent.
        """
        ...

    async def aclose(self) -> None:
        """Close the connections, those in use too."""
        ...
