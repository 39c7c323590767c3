"""Errors in OpenAI's shape, and the HTTP status of each."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from aiohttp import hdrs, web

from farthing.budgets.reservations import Refusal
from farthing.core.errors import (
    BudgetError,
    FarthingError,
    LedgerAwayError,
    LedgerError,
    RequestError,
    UnknownModelError,
    UpstreamError,
)
from farthing.gateway.exchange import Told

logger = logging.getLogger("farthing.gateway")

PASSED_ON = frozenset({400, 404, 409, 413, 422, 429})
PATIENCE_S = 60
"""A longer Retry-After is ignored by OpenAI's clients."""
_UPSTREAM_STATUS = {"timeout": 504}
_TYPES = {
    401: "authentication_error",
    402: "budget_error",
    403: "permission_error",
    429: "rate_limit_error",
}


class AccessError(RequestError):
    """A client that did not send the token."""


class ForbiddenError(RequestError):
    """A client that asks for what only an admin may."""


class TooLargeError(RequestError):
    """A body that is larger than `max_body_mb`."""

    def __init__(self, limit: float) -> None:
        super().__init__(f"the body is larger than max_body_mb = {limit:g}")


class UnreadError(RequestError):
    """A body that is not as its headers say: where the next request begins is not known."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"the body cannot be read: {reason}")


class BudgetRefusedError(BudgetError):
    """A request that does not fit a budget; nothing was called."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal

    @property
    def headers(self) -> dict[str, str]:
        """What the refusal says, for programs."""
        refusal = self.refusal
        headers = {
            "x-farthing-budget-name": refusal.name,
            "x-farthing-budget-limit-usd": str(refusal.limit),
            "x-farthing-budget-spent-usd": str(refusal.spent),
            "x-farthing-budget-in-flight-usd": str(refusal.in_flight),
        }
        if refusal.resets_at is not None:
            headers["x-farthing-budget-resets-at"] = refusal.resets_at.isoformat(timespec="seconds")
        wait = refusal.retry_after_s
        if wait is not None:
            headers[hdrs.RETRY_AFTER] = str(wait)
        if wait is None or wait > PATIENCE_S:
            headers["x-should-retry"] = "false"  # OpenAI's clients would ask again at once
        return headers


def cause(error: BaseException) -> BaseException:
    """The first error of a group of errors, else the error itself."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def status_of(error: BaseException) -> int:
    """The HTTP status that tells a client of `error`."""
    match error:
        case UpstreamError(kind="status", status=int(status)) if status in PASSED_ON:
            return status
        case UpstreamError():
            return _UPSTREAM_STATUS.get(error.kind, 502)
        case AccessError():
            return 401
        case ForbiddenError():
            return 403
        case UnknownModelError():
            return 404
        case TooLargeError():
            return 413
        case RequestError():
            return 400
        case BudgetRefusedError():
            return 429
        case BudgetError():
            return 402
        case LedgerError():
            return 503
        case TimeoutError():
            return 504
    return 500


def error_body(error: BaseException) -> dict[str, Any]:
    """What a client is told of `error`; an upstream's own error object is passed on."""
    status = status_of(error)
    match error:
        case UpstreamError(kind="status", body={"error": Mapping() as told}) if status in PASSED_ON:
            return {"error": dict(told)}
        case UpstreamError():
            return shape(str(error), "upstream_error", code=f"upstream_{error.kind}")
        case RequestError():
            return shape(str(error), _type(status), param=error.param, code=error.code)
        case BudgetRefusedError():
            return shape(str(error), "insufficient_quota", code="budget_exceeded")
        case TimeoutError():
            return shape("the request took longer than request_timeout_s", "server_error")
        case FarthingError():
            return shape(str(error), _type(status))
    return shape("an error within the gateway; its log tells more", "server_error")


def shape(
    message: str, type: str, *, param: str | None = None, code: str | None = None
) -> dict[str, Any]:
    """An error object as OpenAI's clients read it."""
    return {"error": {"message": message, "type": type, "param": param, "code": code}}


def _type(status: int) -> str:
    return _TYPES.get(status, "invalid_request_error" if status < 500 else "server_error")


def error_told(
    error: BaseException,
    operation: str | None = None,
    shaped: Callable[[Mapping[str, Any], int], dict[str, Any]] | None = None,
) -> Told:
    """The answer that tells a client of `error`, which is logged.

    `shaped` makes its body of the error object and the status, if not as OpenAI's endpoints.
    """
    log_error(error, operation)
    status = status_of(error)
    headers = {"x-farthing-operation": operation} if operation else {}
    if status == 401:
        headers[hdrs.WWW_AUTHENTICATE] = "Bearer"
    if isinstance(error, BudgetRefusedError):
        headers |= error.headers
    if isinstance(error, UpstreamError) and error.retry_after_s is not None:
        headers[hdrs.RETRY_AFTER] = str(math.ceil(error.retry_after_s))
        if error.retry_after_s > PATIENCE_S:
            headers["x-should-retry"] = "false"
    if isinstance(error, LedgerAwayError):
        headers[hdrs.RETRY_AFTER] = "1"
    elif isinstance(error, LedgerError):
        headers["x-should-retry"] = "false"  # OpenAI's clients would pay again
    body = error_body(error)
    shown = msgspec.json.encode(shaped(body["error"], status) if shaped else body)
    return Told(status, shown, headers, close=isinstance(error, UnreadError))


def error_response(
    error: BaseException,
    shaped: Callable[[Mapping[str, Any], int], dict[str, Any]] | None = None,
) -> web.Response:
    """As `error_told`, for aiohttp."""
    return response_of(error_told(error, shaped=shaped))


def response_of(told: Told) -> web.Response:
    """An answer for aiohttp."""
    response = web.Response(
        body=told.body,
        status=told.status,
        headers=told.headers,
        content_type="application/json" if told.body else None,
    )
    if told.close:
        response.force_close()
    return response


def log_error(error: BaseException, operation: str | None = None) -> None:
    """Log an error without what was asked or answered."""
    where = f"operation {operation}: " if operation else ""
    if isinstance(error, RequestError | BudgetRefusedError | LedgerAwayError):
        return
    if isinstance(error, FarthingError):
        logger.warning("%s%s", where, error)
        return
    trace, frames = error.__traceback__, []
    while trace is not None:
        frames.append(f"{trace.tb_frame.f_code.co_qualname}:{trace.tb_lineno}")
        trace = trace.tb_next
    logger.error("%s%s in %s", where, type(error).__name__, " > ".join(frames))
