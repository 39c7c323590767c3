"""How long an upstream asks to be left alone."""

from __future__ import annotations

import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

MOST_S = 86_400.0 * 365


def read_retry_after(headers: Mapping[str, str], now: float | None = None) -> float | None:
    """Seconds until the upstream wants to be asked again; None if it does not say so legibly.

    `retry-after-ms` goes before `Retry-After`, which holds seconds or an HTTP date. More than a
    year is a year. `now` is in seconds since 1970, for tests.
    """
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    told = headers.get("Retry-After")
    seconds = _number(told)
    if seconds is not None or told is None:
        return seconds
    try:
        date = parsedate_to_datetime(told)
        return min(MOST_S, max(0.0, date.timestamp() - (time.time() if now is None else now)))
    except (TypeError, ValueError, OverflowError):
        return None


def _number(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return min(value, MOST_S) if value >= 0 else None
