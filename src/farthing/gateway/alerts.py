"""Telling people what they should know: a line in the log, and a webhook."""

from __future__ import annotations

import logging
from time import monotonic
from typing import Any

import aiohttp

from farthing.budgets import Drains
from farthing.budgets.reservations import Refusal

logger = logging.getLogger("farthing.gateway")

EVERY_S = 60.0
"""Seconds within which a budget is told once."""
_PATIENCE = aiohttp.ClientTimeout(total=10)


class Alerts:
    """Tells each soft budget that is exceeded at most once in `EVERY_S`, and alarms once.

    Args:
        webhook: an address that gets a JSON object by POST; None only logs.
    """

    def __init__(self, webhook: str | None = None) -> None:
        self._webhook = webhook
        self._told: dict[str, float] = {}

    def exceeded(self, warning: Refusal, drains: Drains) -> None:
        """A request was let through that does not fit. Does not wait: `drains` hold the post."""
        now = monotonic()
        if now - self._told.get(warning.name, -EVERY_S) < EVERY_S:
            return
        self._told[warning.name] = now
        logger.warning("%s; it is soft, the request is let through", warning.message)
        if self._webhook is not None:
            drains.spawn(_post(self._webhook, _json(warning)))

    def alarmed(self, told: dict[str, Any], drains: Drains) -> None:
        """A plan's certificate does not hold, which is logged already. Does not wait."""
        if self._webhook is not None:
            drains.spawn(_post(self._webhook, told))


async def _post(webhook: str, told: dict[str, Any]) -> None:
    try:
        async with (
            aiohttp.ClientSession(timeout=_PATIENCE) as session,
            session.post(webhook, json=told, allow_redirects=False) as answer,
        ):
            if answer.status >= 300:
                logger.warning("the webhook of budgets answered with status %d", answer.status)
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
        logger.warning("the webhook of budgets cannot be reached: %s", type(error).__name__)


def _json(warning: Refusal) -> dict[str, Any]:
    resets_at = warning.resets_at
    return {
        "event": "budget_exceeded",
        "budget": warning.name,
        "scope": warning.scope,
        "limit_usd": str(warning.limit),
        "spent_usd": str(warning.spent),
        "in_flight_usd": str(warning.in_flight),
        "resets_at": None if resets_at is None else resets_at.isoformat(timespec="seconds"),
        "message": warning.message,
    }
