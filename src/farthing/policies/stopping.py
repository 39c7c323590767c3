"""What a policy answers that ends without an accepted answer."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable

from farthing.core.errors import CapError, RequestError
from farthing.core.protocols import Operation
from farthing.core.response import Response, Sample

ABSTAINED = "No answer is given: none is likely enough to be right."


async def or_best(
    deciding: Awaitable[Response], operation: Operation, best: Callable[[], Response | None]
) -> Response:
    """What `deciding` answers; or `best()` if the operation's cap refuses it a call, or if what it
    would ask has outgrown a model's context window.

    The operation is then marked as stopped. Where there is no best answer either, the error is
    raised.
    """
    try:
        return await deciding
    except (CapError, RequestError) as error:
        if isinstance(error, RequestError) and error.code != "context_length_exceeded":
            raise
        response = best()
        if response is None:
            raise
        operation.stop("cap" if isinstance(error, CapError) else "context")
        return response


def abstained(model: str, signal: float, operation: Operation) -> Response:
    """What says that the policy gives no answer, because `model` was so unsure of its own.

    The operation is marked as stopped, and the sample's `finish_reason` is "abstained".
    """
    operation.stop("abstained")
    sample = Sample(
        ABSTAINED,
        read=True,
        finish_reason="abstained",
        columns={"signal": signal if math.isfinite(signal) else None},
        fields={"refusal": ABSTAINED},
    )
    return Response(model, (sample,))
