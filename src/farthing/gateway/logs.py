"""The log: what went wrong, and on request a line for every operation; never what was asked."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

import msgspec

if TYPE_CHECKING:
    from farthing.gateway.watching import Story
    from farthing.ledger.rows import AttemptRow

Form = Literal["text", "json", "off"]

operations = logging.getLogger("farthing.operations")
_TEXT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


class JsonFormatter(logging.Formatter):
    """Every record as a JSON object on a line of its own."""

    def format(self, record: logging.LogRecord) -> str:
        """`time`, `level`, `logger`, `message`, and what the record brings in `told`."""
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line: dict[str, Any] = {"time": at, "level": record.levelname, "logger": record.name}
        told = getattr(record, "told", None)
        line |= {"message": record.getMessage()} if told is None else told
        if record.exc_info and record.exc_info[0] is not None:
            line["error"] = record.exc_info[0].__name__
            line["where"] = self.formatException(record.exc_info)
        return msgspec.json.encode(line).decode()


def configure(form: Form, level: str = "warning") -> None:
    """Log to standard error from `level` on; operations too, unless `form` is "off"."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter() if form == "json" else logging.Formatter(_TEXT))
    logging.basicConfig(handlers=[handler], level=level.upper(), force=True)
    operations.setLevel(logging.CRITICAL if form == "off" else logging.INFO)


class OperationLog:
    """Logs every operation when it ends: who asked what, at what cost; no prompt or answer."""

    def begun(self, story: Story) -> None:
        """Nothing to say yet."""

    def called(self, attempt: AttemptRow) -> None:
        """Told with its operation."""

    def ended(self, story: Story) -> None:
        """A line for an operation."""
        if not operations.isEnabledFor(logging.INFO):
            return
        told = line(story)
        text = " ".join(f"{name}={value}" for name, value in told.items() if value is not None)
        operations.info("%s", text, extra={"told": told})


def line(story: Story) -> dict[str, Any]:
    """What is logged of an operation; unknown is None."""
    operation, outcome = story.operation, story.outcome
    cost = story.cost
    return {
        "operation": operation.id,
        "requested": operation.requested,
        "plan": operation.plan,
        "answered_by": outcome.answered_by if outcome else None,
        "status": outcome.status if outcome else None,
        "stream": operation.stream,
        "key": operation.key,
        "attempts": len(story.attempts),
        "cost_usd": None if cost is None else str(cost),
        "latency_s": round(story.seconds, 4),
        "upstream_s": round(story.upstream_s, 4),
    }
