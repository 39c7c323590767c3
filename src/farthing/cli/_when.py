"""Moments on the command line."""

from __future__ import annotations

from datetime import UTC, datetime

import typer


def moment(text: str) -> datetime:
    """An ISO date or time; one without a time zone is in UTC."""
    try:
        when = datetime.fromisoformat(text)
    except ValueError as error:
        raise typer.BadParameter(
            f"{text!r} is not an ISO date or time, such as 2026-01-31 or 2026-01-31T08:00Z"
        ) from error
    return when if when.tzinfo else when.replace(tzinfo=UTC)
