import math
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farthing.models._retry_after import MOST_S, read_retry_after

NOW = datetime(2026, 5, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"Retry-After": "7"}, 7.0),
        ({"Retry-After": "0.5"}, 0.5),
        ({"Retry-After": " 3 "}, 3.0),
        ({"Retry-After": "-1"}, None),
        ({"Retry-After": "nan"}, None),
        ({"Retry-After": "inf"}, MOST_S),
        ({"Retry-After": "1e300"}, MOST_S),
        ({"Retry-After": "Fri, 31 Dec 9999 00:00:00 GMT"}, MOST_S),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": ""}, None),
        ({"Retry-After": "9", "retry-after-ms": "250"}, 0.25),
        ({"Retry-After": "9", "retry-after-ms": "x"}, 9.0),
    ],
)
def test_seconds(headers: dict[str, str], seconds: float | None) -> None:
    assert read_retry_after(headers) == seconds


@pytest.mark.parametrize(("ahead", "seconds"), [(90, 90.0), (-90, 0.0)])
def test_dates(ahead: int, seconds: float) -> None:
    date = format_datetime(NOW + timedelta(seconds=ahead), usegmt=True)
    assert read_retry_after({"Retry-After": date}, NOW.timestamp()) == seconds


@given(st.text())
def test_any_text_is_read_or_left_alone(text: str) -> None:
    seconds = read_retry_after({"Retry-After": text}, NOW.timestamp())
    assert seconds is None or (seconds >= 0 and math.isfinite(seconds))
