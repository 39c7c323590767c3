"""A request for an answer over HTTP, whoever reads the requests: `door` or aiohttp."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Told:
    """A whole answer: JSON.

    Attributes:
        close: whether the connection is closed after it.
    """

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    close: bool = False


class Exchange(Protocol):
    """A request whose head has come, and the way to answer it piece by piece.

    All but `body` raise ConnectionError if the client is gone.
    """

    @property
    def headers(self) -> Mapping[str, str]:
        """By their names in lower case; of those sent twice, the first."""
        ...

    @property
    def is_read(self) -> bool:
        """Whether all of the body has come."""
        ...

    async def body(self, most: int) -> bytes:
        """The body, once all of it has come.

        Raises TooLargeError for more than `most` bytes, UnreadError for one that is not as told.
        """
        ...

    async def open(self, headers: Mapping[str, str]) -> None:
        """Begin an answer with status 200."""
        ...

    async def write(self, data: bytes) -> None:
        """Send a piece of it, no faster than the client reads."""
        ...

    async def close(self, data: bytes) -> None:
        """Send its last piece."""
        ...

    def abort(self) -> None:
        """Cut the client off."""
        ...
