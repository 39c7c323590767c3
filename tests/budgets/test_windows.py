from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farthing.budgets.windows import SLICES, Clock, Spent, Window


def at(text):
    return datetime.fromisoformat(text).astimezone(UTC)


@pytest.mark.parametrize("text", ["day", "week", "month", "total", "24h", "90m", "30d", "45s"])
def test_parse_and_print(text):
    assert str(Window.parse(text)) == {"24h": "1d"}.get(text, text)


@pytest.mark.parametrize("text", ["", "year", "0h", "-1h", "1.5h", "24", "1w"])
def test_unknown_windows_are_refused(text):
    with pytest.raises(ValueError, match="want day, week, month, total or a length"):
        Window.parse(text)


@pytest.mark.parametrize("zone", ["Mars/Olympus", "../etc", ""])
def test_unknown_zones_are_refused(zone):
    with pytest.raises(ValueError, match="not an IANA time zone"):
        Window.parse("day", zone)


@pytest.mark.parametrize(
    ("window", "zone", "now", "start", "end"),
    [
        ("day", "UTC", "2026-03-01T12:00+00:00", "2026-03-01T00:00Z", "2026-03-02T00:00Z"),
        # 23 hours and 25 hours long
        ("day", "Europe/Berlin", "2026-03-29T12:00Z", "2026-03-28T23:00Z", "2026-03-29T22:00Z"),
        ("day", "Europe/Berlin", "2026-10-25T12:00Z", "2026-10-24T22:00Z", "2026-10-25T23:00Z"),
        # clocks skip midnight
        ("day", "America/Santiago", "2026-09-06T12:00Z", "2026-09-06T04:00Z", "2026-09-07T03:00Z"),
        ("week", "UTC", "2026-11-22T23:59Z", "2026-11-16T00:00Z", "2026-11-23T00:00Z"),
        ("month", "Asia/Tokyo", "2026-12-31T16:00Z", "2026-12-31T15:00Z", "2027-01-31T15:00Z"),
        ("month", "UTC", "2028-02-29T00:00Z", "2028-02-01T00:00Z", "2028-03-01T00:00Z"),
    ],
)
def test_calendar(window, zone, now, start, end):
    window = Window.parse(window, zone)
    assert window.start(at(now)) == at(start)
    assert window.end(at(now)) == at(end)


@given(
    st.datetimes(datetime(2000, 1, 1), datetime(2035, 1, 1)),
    st.sampled_from(["UTC", "Europe/Berlin", "America/Santiago", "Pacific/Apia", "Africa/Cairo"]),
    st.sampled_from(["day", "week", "month"]),
)
def test_windows_hold_now_and_meet(now, zone, kind):
    now, window = now.replace(tzinfo=UTC), Window.parse(kind, zone)
    start, end = window.start(now), window.end(now)
    assert start <= now < end
    assert window.start(end) == end
    assert window.end(end - timedelta(microseconds=1)) == end


def test_a_month_begins_anew():
    spent = Spent(Window.parse("month"))
    spent.add(5, at("2026-01-30T00:00Z"))
    assert spent.resets_at(at("2026-01-31T23:59Z")) == at("2026-02-01T00:00Z")
    assert spent.at(at("2026-01-31T23:59Z")) == 5
    assert spent.at(at("2026-02-01T00:00Z")) == 0
    # asked for an earlier time, the old window does not come back
    spent.add(7, at("2026-01-31T23:59Z"))
    assert spent.at(at("2026-01-30T00:00Z")) == 7


def test_a_total_never_resets():
    spent = Spent(Window())
    spent.add(5, at("2026-01-30T00:00Z"))
    assert spent.at(at("2096-01-30T00:00Z")) == 5
    assert spent.resets_at(at("2096-01-30T00:00Z")) is None


@given(st.lists(st.tuples(st.floats(0, 20), st.integers(0, 10**15)), max_size=60))
def test_rolling_forgets_no_sooner_than_its_length_and_little_later(steps):
    window = Window.parse("60s")
    spent, now, begin = Spent(window), 0.0, at("2026-01-01T00:00Z")
    added: list[tuple[float, int]] = []
    for wait, amount in steps:
        now += wait
        spent.add(amount, begin + timedelta(seconds=now))
        added.append((now, amount))
        found = spent.at(begin + timedelta(seconds=now))
        slack = 60 / SLICES + 1e-3
        assert found >= sum(a for t, a in added if t > now - 60 + 1e-3)
        assert found <= sum(a for t, a in added if t > now - 60 - slack)
    assert spent.at(begin + timedelta(seconds=now + 61)) == 0
    assert spent.resets_at(begin + timedelta(seconds=now + 61)) is None


def test_clock_never_goes_back():
    wall, ticks = [1000.0], [5.0]
    clock = Clock(lambda: wall[0], lambda: ticks[0])
    first = clock.now()
    wall[0], ticks[0] = 500.0, 7.0  # set back
    assert clock.now() == first + timedelta(seconds=2)
    wall[0], ticks[0] = 502.0, 9.0
    assert clock.now() == first + timedelta(seconds=4)
    wall[0] = 2000.0  # leaps ahead: believed
    assert clock.now().timestamp() == 2000
    assert clock.seconds() == 9.0
