"""When a call is made again: the rule by itself."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farthing.budgets.retrying import FIRST_S, MOST_S, is_retried, retry_delay
from farthing.core.errors import RestingError, UpstreamError
from farthing.core.protocols import ModelCard


def failed(kind: str = "unreachable", status: int | None = None, after: float | None = None):
    return UpstreamError("no", model="m", kind=kind, status=status, retry_after_s=after)


@pytest.mark.parametrize(
    ("error", "again"),
    [
        (failed("unreachable"), True),
        (failed("cut"), True),
        (failed("timeout"), False),
        (failed("malformed"), False),
        *((failed("status", status), True) for status in (408, 429, 500, 502, 503, 504, 529)),
        *((failed("status", status), False) for status in (301, 400, 401, 403, 404, 409, 422)),
        (RestingError("no", model="m", retry_after_s=1), False),
    ],
)
def test_what_is_retried(error: UpstreamError, again: bool) -> None:
    assert is_retried(error) is again


@given(
    retries=st.integers(0, 30),
    done=st.integers(0, 40),
    draw=st.floats(0, 1),
    after=st.none() | st.floats(0, 1e6),
    most=st.floats(0, 1e6),
    elsewhere=st.booleans(),
)
def test_the_wait(retries, done, draw, after, most, elsewhere) -> None:
    card = ModelCard("m", retries=retries, retry_after_max_s=most)
    wait = retry_delay(card, failed(after=after), done, elsewhere=elsewhere, draw=draw)
    if done >= retries:
        assert wait is None
    elif elsewhere:
        assert wait == 0
    elif after is not None and after > most:
        assert wait is None
    else:
        assert wait is not None
        backoff = min(MOST_S, FIRST_S * 2**done)
        assert wait >= max(backoff / 2, after or 0)
        assert wait <= max(backoff, after or 0)


@given(done=st.integers(0, 10), draw=st.floats(0, 1))
def test_the_wait_never_shrinks_from_one_retry_to_the_next(done: int, draw: float) -> None:
    card = ModelCard("m", retries=20)
    waits = [retry_delay(card, failed(), n, draw=draw) for n in (done, done + 1)]
    assert waits[0] <= waits[1] <= MOST_S


def test_waits_are_spread() -> None:
    card = ModelCard("m", retries=1)
    assert len({retry_delay(card, failed(), 0) for _ in range(20)}) > 10
