"""The breaker against a plain account of what it has seen, and by example."""

from __future__ import annotations

import logging

from hypothesis import given, settings
from hypothesis import strategies as st

from farthing.models.breaker import Breaker, BreakerRule


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def breaker(**rule) -> tuple[Breaker, Clock]:
    clock = Clock()
    return Breaker(BreakerRule(**rule), name="model 'm'", clock=clock), clock


def call(b: Breaker, failed: bool | None) -> None:
    assert b.is_ready
    b.end(b.begin(), failed)


def test_it_opens_after_failures_in_a_row_and_closes_by_a_probe(caplog) -> None:
    b, clock = breaker(failures=3, pause_s=10)
    with caplog.at_level(logging.WARNING):
        for failed in (True, True, False, True, True, None, True):
            assert b.state == "closed"
            call(b, failed)
        assert (b.state, b.is_ready, b.wait_s) == ("open", False, 10)
        clock.now += 4
        assert b.wait_s == 6
        clock.now += 6
        assert (b.state, b.is_ready, b.wait_s) == ("half-open", True, 0)
        probe = b.begin()
        assert (b.state, b.is_ready) == ("half-open", False)
        assert b.wait_s > 0
        b.end(probe, True)
        assert (b.state, b.wait_s) == ("open", 10)
        clock.now += 10
        call(b, None)
        assert b.is_ready, "a probe that says nothing is followed by another"
        call(b, False)
        assert (b.state, b.wait_s) == ("closed", 0)
    assert [record.getMessage() for record in caplog.records] == [
        "model 'm': 3 failed in a row; it is left alone for 10 s",
        "model 'm': it answers again",
    ]


def test_it_opens_when_a_share_of_the_calls_fails() -> None:
    b, _ = breaker(failures=100, share=0.5, calls=10)
    for failed in (True, False) * 4:
        call(b, failed)
    call(b, False)
    assert b.state == "closed"
    call(b, True)
    assert b.state == "open", "5 of 10"


def test_old_failures_do_not_count() -> None:
    b, clock = breaker(failures=100, share=0.5, calls=10, window_s=30)
    for _ in range(9):
        call(b, True)
    clock.now += 31
    call(b, True)
    assert b.state == "closed"


def test_calls_of_before_it_opened_change_nothing() -> None:
    b, clock = breaker(failures=1, pause_s=10)
    early = [b.begin(), b.begin()]
    call(b, True)
    b.end(early[0], False)
    assert b.state == "open"
    clock.now += 10
    probe = b.begin()
    b.end(early[1], True)
    assert not b.is_ready, "the probe is still under way"
    b.end(probe, False)
    assert b.state == "closed"


def test_zero_failures_turn_it_off() -> None:
    b, _ = breaker(failures=0)
    for _ in range(100):
        call(b, True)
    assert b.state == "closed"


STEPS = st.lists(
    st.one_of(
        st.just("begin"),
        st.tuples(st.integers(0, 5), st.sampled_from([True, False, None])),
        st.floats(0.1, 20),
    ),
    max_size=80,
)


@settings(max_examples=300)
@given(STEPS, st.integers(1, 4))
def test_whatever_happens(steps, failures) -> None:
    """It opens exactly when so many calls of one closed spell have failed in a row.

    Open, it lets none through until the pause is over, then one at a time; the probe decides.
    """
    b, clock = breaker(failures=failures, calls=1000, pause_s=10)
    under_way: list[tuple[int, int]] = []
    spell, row, is_open, until, probes = 0, 0, False, 0.0, 0
    for step in steps:
        if isinstance(step, float):
            clock.now += step
        elif step == "begin":
            assert b.is_ready == (not is_open or (clock.now >= until and not probes))
            if b.is_ready:
                under_way.append((b.begin(), spell))
                probes += is_open
        elif under_way:
            number, failed = step
            began, of = under_way.pop(number % len(under_way))
            b.end(began, failed)
            if of == spell and is_open:
                probes -= 1
                if failed is not None:
                    spell, row, is_open = spell + 1, 0, failed
                    until = clock.now + 10
            elif of == spell and failed is not None:
                row = row + 1 if failed else 0
                if row == failures:
                    spell, row, is_open, until = spell + 1, 0, True, clock.now + 10
        half = is_open and (probes or clock.now >= until)
        assert b.state == ("half-open" if half else "open" if is_open else "closed")
        if b.state != "half-open":
            assert b.wait_s == (until - clock.now if is_open else 0)
