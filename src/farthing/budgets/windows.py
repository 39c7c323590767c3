"""Windows of time over which a budget counts, and a clock that never turns back.

Amounts are integers of whatever the limit counts (picodollars, requests, tokens). Times are aware
datetimes.
"""

from __future__ import annotations

import re
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Literal, get_args
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

Calendar = Literal["day", "week", "month"]
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
SLICES = 240  # a rolling window forgets in steps of its length / SLICES


@dataclass(frozen=True, slots=True)
class Window:
    """Over what time a budget counts.

    Attributes:
        calendar: "day", "week" (from Monday) or "month", in `zone`; None if not by the calendar.
        rolling: length of a rolling window; None if it does not roll. With neither, the window
            is the budget's whole life.
        zone: IANA name of the time zone of a calendar window.
    """

    calendar: Calendar | None = None
    rolling: timedelta | None = None
    zone: str = "UTC"

    @classmethod
    def parse(cls, text: str, zone: str = "UTC") -> Window:
        """From "day", "week", "month", "total" or a length such as "24h", "90m", "30d".

        Raises ValueError, saying what is allowed, on anything else and on unknown time zones.
        """
        try:
            ZoneInfo(zone)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise ValueError(f"{zone!r} is not an IANA time zone such as Europe/Berlin") from error
        if text == "total":
            return cls(zone=zone)
        for calendar in get_args(Calendar):
            if text == calendar:
                return cls(calendar=calendar, zone=zone)
        if (found := re.fullmatch(r"(\d{1,9})([smhd])", text)) and int(found[1]):
            return cls(rolling=timedelta(seconds=int(found[1]) * UNITS[found[2]]), zone=zone)
        raise ValueError(
            f"window {text!r}: want day, week, month, total or a length such as 24h, 90m or 30d"
        )

    def __str__(self) -> str:
        if self.rolling is None:
            return self.calendar or "total"
        seconds = int(self.rolling.total_seconds())
        unit = next(unit for unit in "dhms" if seconds % UNITS[unit] == 0)
        return f"{seconds // UNITS[unit]}{unit}"

    @property
    def part(self) -> timedelta:
        """Length of the parts in which a rolling window forgets; zero if it does not roll."""
        return timedelta(0) if self.rolling is None else self.rolling / SLICES

    def start(self, now: datetime) -> datetime | None:
        """When the calendar window around `now` began, in UTC; None if not by the calendar."""
        return None if self.calendar is None else self._boundary(now, 0)

    def end(self, now: datetime) -> datetime | None:
        """When the calendar window around `now` ends, in UTC; None if not by the calendar."""
        return None if self.calendar is None else self._boundary(now, 1)

    def _boundary(self, now: datetime, later: int) -> datetime:
        zone = ZoneInfo(self.zone)
        day = now.astimezone(zone).date()
        if self.calendar == "day":
            day += timedelta(days=later)
        elif self.calendar == "week":
            day += timedelta(days=7 * later - day.weekday())
        else:
            month = day.month - 1 + later
            day = date(day.year + month // 12, month % 12 + 1, 1)
        # Local midnight. Where clocks skip it, the reading before the gap counts (PEP 495), which
        # is the same instant as the first one after it; where it comes twice, the first.
        return datetime(day.year, day.month, day.day, tzinfo=zone).astimezone(UTC)


class Clock:
    """Wall time that never goes back.

    When the wall clock is set back, time goes on from the latest reading at the pace of the
    monotonic clock until the wall clock has caught up. A clock that leaps forward is believed.

    Args:
        wall: seconds since the epoch.
        monotonic: seconds from any start.
    """

    def __init__(
        self,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._wall, self._monotonic = wall, monotonic
        self._latest, self._at = wall(), monotonic()

    def now(self) -> datetime:
        """The present time, in UTC; never before one returned earlier."""
        return self.read()[0]

    def read(self) -> tuple[datetime, float]:
        """`now` and `seconds` of one moment."""
        ticks, latest = self._monotonic(), self._latest
        if ticks > self._at:
            latest += ticks - self._at
        wall = self._wall()
        self._latest = latest = wall if wall > latest else latest
        self._at = ticks
        return datetime.fromtimestamp(latest, UTC), ticks

    def seconds(self) -> float:
        """Monotonic seconds, for durations."""
        return self._monotonic()


class Spent:
    """What was counted in the present window. Times given to it must not go back; if one does,
    it is read as the latest time given.

    Attributes:
        amount: the sum in the present window, as of the last call.
    """

    def __init__(self, window: Window) -> None:
        self.window = window
        self.amount = 0
        self._latest: datetime | None = None
        self._end: datetime | None = None
        self._slices: deque[tuple[datetime, int]] = deque()  # latest time in the slice, amount
        self._slice = window.part
        self._began: datetime | None = None  # of the latest slice

    def at(self, now: datetime) -> int:
        """The sum in the window around `now`."""
        if self._latest is not None and now < self._latest:
            now = self._latest
        self._latest = now
        if self.window.rolling is not None:
            while self._slices and self._slices[0][0] + self.window.rolling <= now:
                self.amount -= self._slices.popleft()[1]
        elif self.window.calendar is not None and (self._end is None or now >= self._end):
            if self._end is not None:
                self.amount = 0
            self._end = self.window.end(now)
        return self.amount

    def add(self, amount: int, now: datetime) -> None:
        """Count `amount`, not negative, at `now`."""
        self.at(now)
        assert self._latest is not None
        self.amount += amount
        if self.window.rolling is None:
            return
        began = self._began
        if self._slices and began is not None and self._latest - began < self._slice:
            self._slices[-1] = self._latest, self._slices[-1][1] + amount
        else:
            self._began = self._latest
            self._slices.append((self._latest, amount))

    def resets_at(self, now: datetime) -> datetime | None:
        """When the window begins anew (calendar), or its oldest amount leaves it (rolling).

        None where nothing will ever leave: a total, or a rolling window that is empty.
        """
        self.at(now)
        if self.window.rolling is not None:
            return self._slices[0][0] + self.window.rolling if self._slices else None
        return self._end
