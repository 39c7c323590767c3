"""What an answer tells about its own cost."""

from __future__ import annotations

from typing import Any

from farthing.budgets import Operation
from farthing.core.errors import RequestError
from farthing.gateway.bypass import BypassedOperation
from farthing.gateway.certificates import AlarmedOperation

MAX_TAGS, MAX_LABEL = 16, 256


def farthing_json(operation: Operation, plan: str | None, answered_by: str) -> dict[str, Any]:
    """The object `farthing` of an answer.

    `cost_usd` is null while the cost of any attempt is unknown; `known_cost_usd` is the sum of
    the others; `stopped` is "cap" if the operation's cap ended it before the plan had decided,
    "context" if what it would have asked next was too long, "abstained" if it gave no answer.
    `alarm` is "widened" or "warned" if the plan's certificate was found not to hold, `bypass` true
    while plans are switched off.
    """
    basis = _basis(operation)
    told: dict[str, Any] = {
        "operation": operation.id,
        "plan": plan,
        "answered_by": answered_by,
        "attempts": len(operation.attempts),
        "cost_usd": None if basis == "unknown" else str(operation.spent),
        "cost_basis": basis,
        "known_cost_usd": str(operation.spent),
        "stopped": operation.stopped,
    }
    if isinstance(operation, BypassedOperation):
        told["bypass"] = True
    if isinstance(operation, AlarmedOperation):
        told["alarm"] = operation.alarm
    return told


def farthing_headers(
    operation: Operation, plan: str | None, answered_by: str | None, *, done: bool
) -> dict[str, str]:
    """The headers `x-farthing-*`; what it came to only once the operation is `done`."""
    headers = {"x-farthing-operation": operation.id}
    if plan is not None:
        headers["x-farthing-plan"] = plan
    if isinstance(operation, BypassedOperation):
        headers["x-farthing-bypass"] = "1"
    if isinstance(operation, AlarmedOperation):
        headers["x-farthing-alarm"] = operation.alarm
    if answered_by is not None:
        headers["x-farthing-answered-by"] = answered_by
    if done:
        headers["x-farthing-attempts"] = str(len(operation.attempts))
        if operation.stopped is not None:
            headers["x-farthing-stopped"] = operation.stopped
        if _basis(operation) != "unknown":
            headers["x-farthing-cost-usd"] = str(operation.spent)
    return headers


def _basis(operation: Operation) -> str:
    if any(attempt.cost is None for attempt in operation.attempts):
        return "unknown"
    bases = {a.response.usage_basis for a in operation.attempts if a.response is not None}
    return "estimated" if "estimated" in bases else "exact"


def read_tags(header: str | None) -> dict[str, str]:
    """The labels in a header `x-farthing-tags: name=value,name=value`; RequestError if wrong."""
    tags = {}
    for item in (header or "").split(","):
        name, equals, value = (part.strip() for part in item.partition("="))
        if not item.strip():
            continue
        if not (equals and name and value):
            raise _wrong("x-farthing-tags", "a list such as team=search,env=prod")
        tags[read_label("x-farthing-tags", name)] = read_label("x-farthing-tags", value)
    if len(tags) > MAX_TAGS:
        raise _wrong("x-farthing-tags", f"a list of at most {MAX_TAGS} labels")
    return tags


def read_label(header: str, value: str) -> str:
    """`value` if it is short and printable; RequestError if not."""
    if len(value) > MAX_LABEL or not value.isprintable():
        raise _wrong(header, f"printable and at most {MAX_LABEL} characters long")
    return value


def _wrong(header: str, wanted: str) -> RequestError:
    return RequestError(f"the header {header} must be {wanted}", param=header, code="invalid_value")
