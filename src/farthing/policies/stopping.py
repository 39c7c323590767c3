"""What a policy answers when its operation's cap ends it before it has decided."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from farthing.core.errors import CapError
from farthing.core.protocols import Operation
from farthing.core.response import Response


async def or_best(
    deciding: Awaitable[Response], operation: Operation, best: Callable[[], Response | None]
) -> Response:
    """What `deciding` answers, or `best()` if the operation's cap refuses it a call.

    The operation is then marked as stopped. Where there is no best answer either, the CapError
    is raised.
    """
    try:
        return await deciding
    except CapError:
        response = best()
        if response is None:
            raise
        operation.stop("cap")
        return response
